"""What is known of mutants from before, so that a run goes on where it was stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.mutants.mutant import Inapplicable, Mutant
from tests.mutants.scorecard import CAUGHT, Verdict


class Line(msgspec.Struct, frozen=True):
    """A mutant that was caught: `of` is the digest of the file with the bug, and of its tests."""

    name: str
    of: str
    by: str
    seconds: float


class Journal:
    """A file with a line for each mutant that was caught. Who changes a file of ours, the bug or
    the choice of tests has the mutant tried again."""

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self.path = path
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if fresh:
            self.path.unlink(missing_ok=True)
        text = self.path.read_text() if self.path.exists() else ""
        # A run that was killed may have left half a line.
        lines = text.splitlines()[: text.count("\n")]
        self._lines = {line.name: line for line in (_read(text) for text in lines)}

    def known(self, mutants: Sequence[Mutant]) -> list[Verdict]:
        """Those that need not be tried again."""
        found = [(m, self._lines.get(m.name)) for m in mutants]
        return [Verdict(m, CAUGHT, line.by, line.seconds)
                for m, line in found if line is not None and line.of == digest(m)]  # fmt: skip

    def add(self, verdict: Verdict) -> None:
        """Keeps it, where the mutant was caught."""
        if verdict.outcome != CAUGHT:
            return
        mutant = verdict.mutant
        line = Line(mutant.name, digest(mutant), verdict.by, round(verdict.seconds, 1))
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")


def _read(text: str) -> Line:
    return msgspec.json.decode(text, type=Line)


def digest(mutant: Mutant) -> str:
    """What a verdict is about; empty where the bug does not apply any more."""
    try:
        parts = (mutant.mutated(), *mutant.tests)
    except Inapplicable:
        return ""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
