"""The catalogue of mutants, by what they are bugs of."""

from __future__ import annotations

from typing import Final

from tests.mutants.catalogue import (
    children,
    counts,
    derived,
    fold,
    log,
    sources,
    tables,
    tools,
    verdicts,
)
from tests.mutants.mutant import Mutant

MUTANTS: Final[tuple[Mutant, ...]] = (
    *log.MUTANTS,
    *sources.MUTANTS,
    *fold.MUTANTS,
    *tables.MUTANTS,
    *counts.MUTANTS,
    *children.MUTANTS,
    *derived.MUTANTS,
    *verdicts.MUTANTS,
    *tools.MUTANTS,
)
