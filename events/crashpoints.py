"""Named crash points: where a test ends this process at once, to prove that nothing is lost.

Off unless PROJECTOR_CRASH_AT names one (`name` or `name:3` for its third hit): then a hit is a
comparison of two texts, and otherwise of a name with None.
"""

from __future__ import annotations

import os
import signal
from typing import Final

VARIABLE: Final = "PROJECTOR_CRASH_AT"


def _armed(text: str) -> tuple[str | None, int]:
    name, _, hit = text.partition(":")
    return name or None, int(hit or 1)


_name, _hits_left = _armed(os.environ.get(VARIABLE, ""))


def crash_point(name: str) -> None:
    """Ends the process by SIGKILL where this point is armed and has been hit often enough.

    What recovery must do after each is said where it is called.
    """
    global _hits_left  # noqa: PLW0603
    if _name != name:
        return
    _hits_left -= 1
    if _hits_left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
