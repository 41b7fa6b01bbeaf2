"""`replay`: a range of the log over again, without harm."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import asyncpg
from cyclopts import Parameter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from projector import schema
from projector.commands.heal import print_patch
from projector.committing import read_checkpoint
from projector.declare import Aggregate, Declaration, Projection
from projector.environment import COMMON, Common, declared, opened, settings
from projector.errors import UsageError
from projector.heal import HEAL_SETTINGS
from projector.mend import Mender, Patch
from projector.moments import offset_at
from projector.output import console, errors, print_json
from projector.registry import chosen as chosen_names
from projector.replay import Replay

LISTED_MAX = 100_000
"""How many changes, and how many counters, JSON lists; it has the number of all."""


async def replay(
    name: str,
    /,
    *,
    since: Annotated[str, Parameter(name="--from")],
    to: str | None = None,
    common: Common = COMMON,
) -> None:
    """Put right all that a range of the log touches: every account with an event there, over its
    whole life up to the checkpoint. Changes nothing where nothing is wrong; lists what it changed.

    Parameters
    ----------
    name
        The projection.
    since
        The first offset, or a moment such as 2026-07-04T12:30:00Z.
    to
        The last offset, or a moment; none: the projection's checkpoint.
    """
    chosen = settings()
    declarations = declared()
    chosen_names([name], declarations)
    projection = _table(name, declarations)
    async with opened(common, chosen) as database:
        connection = await database.first_connect("replay", **HEAL_SETTINGS)
        try:
            await schema.check(connection, declarations)
            mender = Mender(declarations, chosen.schema, [name], owned=False)
            span = await _span(connection, projection, since, to)
            work = Replay(mender, projection, span)
            done = Done()
            with _bar(name, span) as show:
                async for patch in work.run(connection, show):
                    done.add(patch)
                    if not common.json:
                        print_patch(patch)
        finally:
            await connection.close()
    if common.json:
        print_json(
            {
                "projection": name,
                "from": span.start,
                "to": span.stop - 1,
                "events": work.events,
                "accounts": work.accounts,
                "changed": done.changed,
                "changes": done.changes,
                "counters": done.counters,
                "letters": done.letters,
            }
        )
        return
    verdict = f"{done.changed:,} changes" if done.changed else "nothing to change"
    console.print(
        f"{name}, offsets {span.start:,} to {span.stop - 1:,}: {work.events:,} events of "
        f"{work.accounts:,} accounts; {verdict}.",
        soft_wrap=True,
    )


class Done:
    """What a replay did, as far as it is listed."""

    def __init__(self) -> None:
        self.changed = 0
        self.changes: list[object] = []
        self.counters: list[object] = []
        self.letters: list[object] = []

    def add(self, patch: Patch) -> None:
        """Adds what one transaction did."""
        self.changed += patch.differences + len(patch.letters)
        for kept, new in (
            (self.changes, patch.changes),
            (self.counters, patch.counters),
            (self.letters, patch.letters),
        ):
            kept.extend(new[: LISTED_MAX - len(kept)])


def _table(name: str, declarations: list[Declaration]) -> Projection:
    for declaration in declarations:
        if declaration.name == name and isinstance(declaration, Projection):
            return declaration
        if declaration.name == name and isinstance(declaration, Aggregate):
            counted = sorted({count.of.name for count in declaration.counters.values()})
            raise UsageError(
                f"{name} is an aggregate and has no events of its own; replay what it counts "
                f"({', '.join(counted)}), or run: projector heal --all-differences"
            )
    raise UsageError(f"no projection is named {name}")


async def _span(
    connection: asyncpg.Connection, projection: Projection, since: str, to: str | None
) -> range:
    """The offsets to be replayed, none beyond the checkpoint."""
    checkpoint = await read_checkpoint(connection, projection)
    first = max(await offset_at(connection, since), 1)
    last = checkpoint if to is None else await offset_at(connection, to, last=True)
    if to is not None and last < first - 1:
        raise UsageError(f"--to {to} (offset {last}) is before --from {since} (offset {first})")
    return range(first, max(min(last, checkpoint), first - 1) + 1)


@contextmanager
def _bar(name: str, span: range) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal's standard error; told the offset reached."""
    columns = (
        TextColumn("replay {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(
        *columns, console=errors, transient=True, disable=not sys.stderr.isatty()
    ) as progress:
        task = progress.add_task(name, total=len(span))
        yield lambda offset: progress.update(task, completed=offset - span.start + 1)
