"""What is asked of a rebuild, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from projector.compare import Comparison


@dataclass(frozen=True, slots=True)
class Options:
    """How to rebuild: how many projections at once, and where to stop."""

    jobs: int = 8
    dry_run: bool = False
    keep_old: bool = False
    restart: bool = False


@dataclass(slots=True)
class Outcome:
    """What a rebuild did: what was compared at which offsets, and whether it is live now."""

    names: list[str]
    events: int = 0
    seconds: float = 0.0
    compared: list[str] = field(default_factory=list)
    comparison: Comparison = field(default_factory=Comparison)
    swapped: bool = False
