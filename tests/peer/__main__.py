"""`python -m tests.peer`: compares with the AppView itself, as it is published.

`compare` fills one database by the AppView's own indexer and one by `projector`, and asks both the
same. `schema` and `scenarios` write anew what is kept of the peer in the repository.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from projector.embedded_postgres import EmbeddedPostgres
from projector.errors import ProjectorError
from tests.peer import play, schema
from tests.peer.compare import compare
from tests.peer.fill import fill
from tests.peer.ours import fill_by_projector
from tests.peer.population import everyday
from tests.peer.process import migrate
from tests.peer.servers import server
from tests.support.own_server import make_database


def main() -> int:
    """Does what is asked; 0 when nothing differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.peer", description=__doc__)
    whats = ["compare", "schema", "scenarios"]
    parser.add_argument("what", nargs="?", default="compare", choices=whats)
    parser.add_argument("--events", type=Path, help="Jetstream lines [a small network of ours]")
    parser.add_argument("--init", nargs="*", default=[], metavar="OPTION",
                        help="given to `projector init`, without the dashes")  # fmt: skip
    given = parser.parse_args()
    try:
        with server() as postgres:
            return asyncio.run(_run(given, postgres))
    except ProjectorError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


async def _run(given: argparse.Namespace, postgres: EmbeddedPostgres) -> int:
    if given.what == "schema":
        schema.keep(await schema.peer_schema(await make_database(postgres, "fresh")))
        return 0
    if given.what == "scenarios":
        play.keep(await play.play_all(await make_database(postgres, "scenarios")))
        return 0
    events = given.events.read_bytes().splitlines() if given.events else everyday()
    return await _compare(postgres, events, [f"--{option}" for option in given.init])


async def _compare(postgres: EmbeddedPostgres, events: list[bytes], init: list[str]) -> int:
    theirs = await make_database(postgres, "theirs")
    ours = await make_database(postgres, "ours")
    said = await fill(theirs, events)
    print(f"the peer took {len(events) - len(said.refused)} of {len(events)} events")
    # Its servers need all tables of the schema, also those that the firehose never fills.
    await migrate(ours)
    await fill_by_projector(ours, events, *init)
    result = await compare(theirs, ours, events)
    print("\n".join(result.lines()))
    return 1 if result.differing else 0


if __name__ == "__main__":
    sys.exit(main())
