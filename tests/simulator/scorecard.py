"""What came of the cases of a sweep: kept as they end, and written down as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.simulator.points import POINTS


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A case that was run: by what it is known in its sweep, what it was, how it ended.

    `drawn` is how many were drawn until one had all of its kills; `met` are its points.
    """

    key: str
    text: str
    met: list[str]
    complaints: list[str]
    unfired: list[str]
    looks: int
    seconds: float
    drawn: int = 1

    @property
    def has_passed(self) -> bool:
        return not self.complaints and not self.unfired

    @property
    def verdict(self) -> str:
        return "; ".join([*self.complaints, *(f"never met: {arm}" for arm in self.unfired)]) or "ok"


class Journal:
    """A file with a line for each case that ended, so that a sweep goes on where it was stopped.

    A case that failed is run again.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self.path = path
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if fresh:
            self.path.unlink(missing_ok=True)
        text = self.path.read_text() if self.path.exists() else ""
        # A sweep that was killed may have left half a line.
        lines = text.splitlines()[: text.count("\n")]
        all_done = [msgspec.json.decode(line, type=Done) for line in lines]
        self.done = {done.key: done for done in all_done if done.has_passed}

    def add(self, done: Done) -> None:
        """Keeps it, in the file as well."""
        self.done[done.key] = done
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(done) + b"\n")


def page(cases: Sequence[Done], seed: int, day: str) -> str:
    """The scorecard of a whole sweep."""
    pairs = [case for case in cases if case.key.startswith("pair")]
    singly = [case for case in cases if not case.key.startswith("pair")]
    passed = sum(case.has_passed for case in cases)
    points = {point for case in singly for point in case.met}
    redrawn = sum(case.drawn - 1 for case in cases)
    looks = sum(case.looks for case in cases)
    lines = [
        "# Crash points",
        "",
        "In each case a history of the simulator, with every awkward order and with rewinds, goes",
        "through real processes. They are killed (`SIGKILL`) at named points and started again;",
        "commands in the midst of arriving events, and once more when all have come. In the end",
        "the log is compared with the history, and all tables with its final state; all the while",
        "another connection looks whether every counter is exact and the log without a gap. A case",
        "whose kill never happened has failed. `make sweep` runs all of them and writes this page;",
        "stopped, it goes on where it was. Some cases again:",
        "`make sweep ARGS=\"--only 'daemon at apply.moved'\"`, or `--only 'pair 7'`.",
        "",
        f"{day}, seed {seed}: **{passed} of {len(cases)} cases passed**; {len(points)} of "
        f"{len(POINTS)} points singly, in {len(singly)} cases; {len(pairs)} random pairs; "
        f"{redrawn} drawn anew, since a kill never came; {looks:,} looks from outside.",
        "",
        "| point | killed | cases | what recovery must do |",
        "|---|---|---|---|",
    ]
    for name, point in POINTS.items():
        count = sum(name in case.met for case in cases)
        lines.append(f"| `{name}` | {point.process} | {count} | {point.recovery} |")
    if passed < len(cases):
        lines += ["", "## Failed", ""]
        lines += [
            f"- {case.key}: {case.text}: {case.verdict}" for case in cases if not case.has_passed
        ]
    lines += ["", "## Pairs", "", *(f"- {case.key}: {case.text}" for case in pairs)]
    return "\n".join(lines) + "\n"
