"""`doctor`: looks at everything around the program that is often wrong."""

from __future__ import annotations

from typing import Final

from rich.markup import escape

from projector.database import masked
from projector.doctor.examine import examine
from projector.doctor.finding import Finding
from projector.environment import COMMON, Common, declared, opened, settings
from projector.errors import CheckFailed
from projector.output import console, print_json

MARKS: Final = {
    "bad": "[bold red]bad [/]",
    "warn": "[bold yellow]warn[/]",
    "note": "[cyan]note[/]",
    "good": "[green]good[/]",
}


async def doctor(source: str | None = None, /, *, common: Common = COMMON) -> None:
    """Look at the server, its settings, disk and clock, our rights and our state, and the source.

    Each finding has a line of cause and a line of cure. Ends with 1 where anything is bad, or worth
    a warning. Nothing is changed; what is measured takes a few seconds.

    Parameters
    ----------
    source
        What is to be ingested, such as jetstream; none: the live sources that the database knows.
    """
    chosen = settings()
    async with opened(common, chosen) as database:
        found = await examine(database, declared(), chosen, source)
        place = masked(database.url)
    wrong = sum(finding.is_wrong for finding in found)
    if common.json:
        print_json({"database": place, "wrong": wrong, "findings": found})
    else:
        console.print(f"[bold]{escape(place)}[/]", soft_wrap=True)
        for finding in found:
            _print(finding)
    if wrong:
        things = "thing is" if wrong == 1 else "things are"
        raise CheckFailed(f"{wrong} {things} wrong; the lines above name each with its cure")


def _print(finding: Finding) -> None:
    head = f"{MARKS[finding.severity]} {finding.area}: {escape(finding.cause)}"
    console.print(head, soft_wrap=True)
    if finding.cure:
        console.print(f"     [bold]{escape(finding.cure)}[/]", soft_wrap=True)
