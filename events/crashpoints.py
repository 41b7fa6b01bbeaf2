"""Named crash points: where a test ends this process at once, to prove that nothing is lost.

Off unless PROJECTOR_CRASH_AT names one (`name` or `name:3` for its third hit): then a hit is a
comparison of two texts, and otherwise of a name with nothing.
"""

from __future__ import annotations

import os
import signal
from itertools import count
from typing import Final

VARIABLE: Final = "PROJECTOR_CRASH_AT"

_name, _, _hit = os.environ.get(VARIABLE, "").partition(":")
_last_hit: Final = int(_hit or 1)
_hits: Final = count(1)


def crash_point(name: str) -> None:
    """Ends the process by SIGKILL where this point is armed and has been hit often enough.

    What recovery must do after each is said where it is called.
    """
    if _name == name and next(_hits) >= _last_hit:
        os.kill(os.getpid(), signal.SIGKILL)
