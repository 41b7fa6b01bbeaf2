"""`python -m projector.healthy`: asks the daemon of this machine for `/health`; exits with 0 or 1.

For containers: it is quick, imports nothing of the engine, and needs no token.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Final

ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
SECONDS_MAX: Final = 5.0


def health(environment: Mapping[str, str]) -> tuple[bool, str]:
    """Whether the daemon says that its loops get on, and what it says."""
    listen = environment.get("PROJECTOR_STATUS_LISTEN", "127.0.0.1:7780")
    host, _, port = listen.rpartition(":")
    connection = HTTPConnection(f"{ANYWHERE.get(host, host)}:{port}", timeout=SECONDS_MAX)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        return answer.status == 200, answer.read(100).decode(errors="replace").strip()
    except (OSError, HTTPException) as error:
        return False, f"no answer at {listen}: {error}"
    finally:
        connection.close()


if __name__ == "__main__":
    healthy, said = health(os.environ)
    sys.stdout.write(f"{said}\n")
    sys.exit(0 if healthy else 1)
