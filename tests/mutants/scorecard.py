"""The verdicts on mutants: made, counted, and written down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory

from tests.mutants.mutant import Inapplicable, Mutant
from tests.mutants.scratch import FAILED, PASSED, Tree

CAUGHT, SURVIVED, INAPPLICABLE, BROKEN = "caught", "survived", "could not be applied", "broken"
"""`broken`: its tests could not be run, with the bug or without it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant: one of the four, the test that caught it or why it is no catch."""

    mutant: Mutant
    outcome: str
    by: str
    seconds: float


Say = Callable[[Verdict], None]


def judged(mutants: Sequence[Mutant], jobs: int, say: Say) -> list[Verdict]:
    """Tries each mutant in a copy of the tree, `jobs` at a time; in the order of the catalogue."""
    lock = threading.Lock()
    good: set[str] = set()
    with TemporaryDirectory(prefix="mutants") as folder:
        # Servers that tests start run as another user, who must come through.
        Path(folder).chmod(0o755)
        trees: SimpleQueue[Tree] = SimpleQueue()
        for number in range(jobs):
            place = Path(folder) / str(number)
            place.mkdir()
            trees.put(Tree(place))

        def judge(mutant: Mutant) -> Verdict:
            tree = trees.get()
            try:
                verdict = _judge(tree, mutant, good)
            finally:
                trees.put(tree)
            with lock:
                say(verdict)
            return verdict

        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(judge, mutants))


def _judge(tree: Tree, mutant: Mutant, good: set[str]) -> Verdict:
    begun = time.monotonic()
    outcome, by = _outcome(tree, mutant, good)
    return Verdict(mutant, outcome, by, time.monotonic() - begun)


def _outcome(tree: Tree, mutant: Mutant, good: set[str]) -> tuple[str, str]:
    """What became of it; `good` are tests that are known to pass without any bug."""
    try:
        with tree.having(mutant):
            ran = tree.run(mutant.tests)
    except Inapplicable as error:
        return INAPPLICABLE, str(error)
    if ran.code == PASSED:
        return SURVIVED, "its tests pass"
    if ran.code != FAILED or not ran.failures:
        return BROKEN, "\n".join(ran.out.splitlines()[-20:])
    # A test that fails without the bug as well has caught nothing.
    by = ran.failures[0]
    if by not in good and tree.run([by]).code != PASSED:
        return BROKEN, f"{by} fails without the bug too"
    good.add(by)
    return CAUGHT, by


def counted(verdicts: Iterable[Verdict]) -> str:
    """How many were caught of how many, in one line."""
    outcomes = [verdict.outcome for verdict in verdicts]
    others = [f"{outcomes.count(o)} {o}" for o in (SURVIVED, INAPPLICABLE, BROKEN) if o in outcomes]
    return ", ".join([f"{outcomes.count(CAUGHT)} of {len(outcomes)} mutants caught", *others])


def page(verdicts: Sequence[Verdict], day: str) -> str:
    """The scorecard as a page."""
    lines = [
        "# Mutants",
        "",
        "Bugs of the kind people really write, each a single edit (`tests/mutants/catalogue/`),",
        "put into a copy of the tree one at a time: the tests must fail. A test counts as having",
        "caught one only if it passes without the bug. `make mutants` tries all of them and writes",
        "this page; stopped, or after a change, it tries those that are not known to be caught as",
        "they are now (`ARGS=--fresh`: all). A survivor means a missing test.",
        "",
        f"{day}: **{counted(verdicts)}**.",
        "",
        "| mutant | models | file | caught by |",
        "|---|---|---|---|",
    ]
    for verdict in verdicts:
        mutant = verdict.mutant
        by = f"`{verdict.by.split('/', 1)[-1]}`" if verdict.outcome == CAUGHT else verdict.outcome
        by = by.replace("|", r"\|")
        lines.append(f"| {mutant.name} | {mutant.models} | `{mutant.file}` | {by} |")
    return "\n".join(lines) + "\n"
