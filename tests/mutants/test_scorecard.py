"""The command tells a bug that is caught from one that is not, and from an edit that is void."""

from __future__ import annotations

from dataclasses import replace

from tests.mutants.catalogue import MUTANTS
from tests.mutants.scorecard import (
    BROKEN,
    CAUGHT,
    INAPPLICABLE,
    SURVIVED,
    Verdict,
    counted,
    judged,
    page,
)

REAL = ("fold-same-rev-decides", "wire-nesting-limit-off")


def test_verdicts() -> None:
    """Two bugs of the catalogue for real; then one that is none, and two that cannot be tried."""
    real = [m for m in MUTANTS if m.name in REAL]
    fold = next(m for m in real if m.name == "fold-same-rev-decides")
    harmless = replace(fold, name="harmless", new=fold.old + "            # Nothing.\n")
    gone = replace(fold, name="gone", old="no such text")
    untested = replace(
        fold, name="untested", tests=("tests/mutants/test_missing_fold.py::nothing",)
    )
    said: list[Verdict] = []
    verdicts = judged([*real, harmless, gone, untested], 1, said.append)
    assert said == verdicts
    outcomes = [verdict.outcome for verdict in verdicts]
    assert outcomes == [CAUGHT] * len(REAL) + [SURVIVED, INAPPLICABLE, BROKEN]
    assert all("::" in verdict.by for verdict in verdicts[: len(REAL)])
    told = "2 of 5 mutants caught, 1 survived, 1 could not be applied, 1 broken"
    assert counted(verdicts) == told
    assert f"**{told}**" in page(verdicts, "2026-01-01")
