"""`python -m tests.peer`: compares with the AppView itself."""

from __future__ import annotations

import argparse
import asyncio
import sys

from projector.errors import ProjectorError
from tests.peer.schema import keep, peer_schema
from tests.peer.servers import server


def main() -> int:
    """Does what is asked; 0 when nothing differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.peer", description=__doc__)
    parser.add_argument("what", nargs="?", default="compare", choices=["compare", "schema"])
    given = parser.parse_args()
    try:
        return asyncio.run(_run(given))
    except ProjectorError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


async def _run(given: argparse.Namespace) -> int:
    with server() as postgres:
        keep(await peer_schema(postgres.url()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
