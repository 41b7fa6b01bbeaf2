"""Copies of the tree in which a bug is put, a test is run, and the bug is taken out again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutant import ROOT, Mutant

LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "build", "dist", "projector-d*"
)
TEST_SECONDS_MAX = 90
RUN_SECONDS_MAX = 600
FAILED, PASSED = 1, 0
"""Exit codes of pytest; any other means that it could not run the tests."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run of tests ended: pytest's exit code, and what it printed."""

    code: int
    out: str

    @property
    def failures(self) -> list[str]:
        """The tests that failed, as pytest names them in its summary."""
        lines = [line.split(" - ")[0] for line in self.out.splitlines() if "::" in line]
        return [line.split(" ", 1)[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]


class Tree:
    """A copy of the tree, with the shared data beside it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "tree"
        shutil.copytree(ROOT, self.root, ignore=LEFT_OUT)
        if (ROOT.parent / "shared").is_dir():
            (folder / "shared").symlink_to(ROOT.parent / "shared")

    @contextmanager
    def having(self, mutant: Mutant) -> Iterator[None]:
        """The tree with the bug in it. Raises `Inapplicable`."""
        path = self.root / mutant.file
        right, wrong = path.read_text(), mutant.mutated(self.root)
        path.write_text(wrong)
        try:
            yield
        finally:
            path.write_text(right)

    def run(self, tests: Sequence[str]) -> Ran:
        """Runs tests until one fails."""
        # First in the path of every child too, before the tree that is installed; and compiled
        # anew each time, since an edit within a second may leave size and time as they were.
        environment = {
            **os.environ, "PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        command = [
            sys.executable, "-m", "pytest", "-q", "-x", "--tb=no", "-p", "no:cacheprovider",
            "-p", "tests.mutants.quick", "-p", "no:randomly", f"--timeout={TEST_SECONDS_MAX}",
            *tests,
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, cwd=self.root, env=environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=RUN_SECONDS_MAX,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Ran(FAILED, f"FAILED {tests[0]} - not over after {RUN_SECONDS_MAX} s")
        return Ran(done.returncode, done.stdout.decode(errors="replace"))
