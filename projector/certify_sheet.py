"""The sheet that `certify` prints: a line a check, and for each that failed why, and what repeats
it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from rich.table import Table
from rich.text import Text

from projector.output import table

ABOUT: Final = {
    "declaration": "the columns and claims that the engine needs are declared",
    "rows": "each record makes a row that fits the table, or is refused",
    "odd records": "odd values anywhere make a row or a refusal, nothing else is raised",
    "pure": "a record makes the same row twice; the code asks no clock, chance or network",
    "tables": "the DDL makes what is declared, and may run again",
    "stored": "Postgres takes every row",
    "one window": "a whole history in one transaction",
    "torn windows": "windows of random sizes, with repeats among the events",
    "repeats": "the source rewinds, everything since comes again: not a byte changes",
    "reordering": "accounts in another order among each other: the same rows",
    "kills": "connections lost after any statement, between effect and checkpoint too",
    "takeover": "two owners apply the same windows side by side",
    "daemons": "two daemons, one standing by, while events come",
    "rebuild": "built anew from the log, equal row by row, and swapped in",
    "pure, later": "the same rows once more: the clock has moved on",
}
"""Every check in its order, and what it tries."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the sheet: what was tried of a projection, and why it failed.

    `seed` repeats a failure of a trial; None where chance has no part in it.
    """

    projection: str
    name: str
    passed: bool
    detail: str = ""
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is tried: so many histories, of so many events, beginning with a seed; with records
    of a file, or of the log through an offset."""

    seed: int
    rounds: int
    events: int
    records: Path | None = None
    through: int | None = None


def sheet_json(checks: Sequence[Check], plan: Plan) -> dict[str, object]:
    """The sheet for programs."""
    return {
        "passed": all(check.passed for check in checks),
        "seed": plan.seed, "rounds": plan.rounds, "events": plan.events,
        "records": str(plan.records) if plan.records else None, "through": plan.through,
        "checks": checks,
    }  # fmt: skip


def sheet_lines(checks: Sequence[Check], plan: Plan) -> Iterator[Table | Text]:
    """The sheet for people: a table, what failed, and what was not tried because of it."""
    rows = [
        (check.projection, check.name, ABOUT[check.name], "pass" if check.passed else "FAIL")
        for check in checks
    ]
    yield table("certificate", ("projection", "check", "what it tries", "result"), rows)
    for check in checks:
        if not check.passed:
            seed = "" if check.seed is None else f" (seed {check.seed})"
            yield Text(f"{check.projection}, {check.name}{seed}: {check.detail}", style="red")
    for projection in dict.fromkeys(check.projection for check in checks):
        tried = {check.name for check in checks if check.projection == projection}
        if rest := [name for name in ABOUT if name not in tried]:
            yield Text(f"{projection}: not tried, as a check before failed: {', '.join(rest)}")
    if all(check.passed for check in checks):
        yield Text(
            f"passed: {len(checks)} checks, {plan.rounds} histories of {plan.events} events each, "
            f"from seed {plan.seed}.",
            style="bold green",
        )


def complaint(failed: Sequence[Check], checks: int, plan: Plan) -> str:
    """How many checks failed, and the command that repeats the first that chance had a part in."""
    first = next((check for check in failed if check.seed is not None), failed[0])
    words = ["projector", "certify", first.projection]
    if first.seed is not None:
        words += ["--seed", str(first.seed), "--rounds", "1", "--events", str(plan.events)]
    if plan.records is not None:
        words += ["--records", str(plan.records)]
    if plan.through is not None:
        words += ["--through", str(plan.through)]
    which = "" if len(failed) == 1 else f" that of {first.name}"
    return f"{len(failed)} of {checks} checks failed; {shlex.join(words)} repeats{which or ' it'}"
