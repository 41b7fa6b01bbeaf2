"""Guards that fail today, and why; each is to be mended in the statement, not here."""

from __future__ import annotations

from typing import Final

from tests.support.harness import CLAIMING

CROWD: Final = "every loser of a claim is listed again when its holder changes, however many wait"
KNOWN: Final = {
    **{f"{projection.name}: relist_groups of a crowd": CROWD for projection in CLAIMING},
}
