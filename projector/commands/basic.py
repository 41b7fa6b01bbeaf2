"""`init`, `status`, `settings`: look at the database, and make it ready."""

from __future__ import annotations

from typing import Annotated, Final

from cyclopts import Parameter

from projector import schema
from projector.attach import Findings
from projector.attach import attach as attached
from projector.database import masked
from projector.environment import (
    COMMON,
    Common,
    accompanied,
    declared,
    declared_of_any_kind,
    opened,
    settings,
)
from projector.errors import SchemaMismatch
from projector.output import console, print_json, status_tables, table
from projector.settings import shown as shown_settings
from projector.surroundings import Streams, look_once

TOLD: Final = ("differences", "making", "notes", "waiting")
"""What `init --attach --json` tells of its findings."""


async def init(
    *,
    attach: Annotated[bool, Parameter(negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Create or migrate the engine's tables, and create the tables of all projections.

    Parameters
    ----------
    attach
        Use tables that are there already, such as those that the AppView's own migrations made.
        They are compared with what is needed, column by column; missing tables and indexes are
        made; where anything else differs it is said, and nothing is done. Projections whose tables
        have rows wait for `projector rebuild`.
    """
    chosen = settings()
    async with opened(common, chosen, create=True) as database:
        connection = await database.first_connect("init")
        try:
            if attach:
                found = await attached(
                    connection, declared(), accompanied(), chosen.schema,
                    partition_events=chosen.partition_events,
                )  # fmt: skip
            else:
                found = Findings()
                found.done = await schema.create(
                    connection, declared_of_any_kind(), chosen.schema, companions=accompanied(),
                    partition_events=chosen.partition_events,
                )  # fmt: skip
        finally:
            await connection.close()
        if common.json:
            told: dict[str, object] = {"database": masked(database.url), "done": found.done}
            if attach:
                told |= {name: getattr(found, name) for name in TOLD}
            print_json(told)
        elif found.differences:
            console.print("\n".join(found.differences), soft_wrap=True)
        else:
            lines = [f"created {line}" for line in (*found.making, *found.done)]
            lines += [f"note: {line}" for line in found.notes]
            console.print("\n".join((*lines, f"{masked(database.url)} is ready.")), soft_wrap=True)
        if found.differences:
            raise SchemaMismatch(
                f"the tables in {chosen.schema} do not fit, as listed; change them, or name "
                "another --schema: nothing was done"
            )


async def status(*, common: Common = COMMON) -> None:
    """Show the log's head, and of each projection and source where it is and how far behind."""
    chosen = settings()
    declarations = declared_of_any_kind()
    async with opened(common, chosen) as database:
        connection = await database.first_connect("status")
        try:
            await schema.check(connection, ())
            streams = Streams(chosen.stream_group, chosen.stream_entries_max)
            found = await look_once(connection, declarations, streams)
        finally:
            await connection.close()
    if common.json:
        print_json({"sentence": found.sentence, **_fields(found)})
    else:
        for part in status_tables(found):
            console.print(part)


def show_settings(*, common: Common = COMMON) -> None:
    """List every setting: flag, variable, default, value in force, meaning."""
    rows = shown_settings(settings())
    if common.json:
        keys = ("flag", "variable", "default", "value", "meaning")
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
    else:
        console.print(table("settings", ("flag", "variable", "default", "value", "meaning"), rows))


def _fields(value: object) -> dict[str, object]:
    names: tuple[str, ...] = getattr(value, "__struct_fields__", ())
    return {name: getattr(value, name) for name in names}
