"""A mutant: one edit of one file, what it models, and the tests that must catch it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Inapplicable(Exception):
    """The text to be replaced is not there, or more than once: the catalogue is out of date."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One bug: in `file` the text `old`, which is there exactly once, becomes `new`.

    `models` is what somebody would have done wrong and what would come of it; `tests` are the node
    ids that must fail, the fastest that do.
    """

    name: str
    models: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def mutated(self, root: Path = ROOT) -> str:
        """The file's text with the bug in it. Raises `Inapplicable`."""
        path = root / self.file
        text = path.read_text() if path.is_file() else ""
        found = text.count(self.old)
        if found != 1:
            raise Inapplicable(f"{self.name}: {self.file} has its text {found} times, not once")
        return text.replace(self.old, self.new)
