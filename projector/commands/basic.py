"""`init`, `status`, `settings`: look at the database, and make it ready."""

from __future__ import annotations

from projector import schema
from projector.database import masked
from projector.environment import COMMON, Common, declared_of_any_kind, opened, settings
from projector.output import console, print_json, status_tables, table
from projector.settings import shown as shown_settings
from projector.surroundings import Streams, look_once


async def init(*, common: Common = COMMON) -> None:
    """Create or migrate the engine's tables, and create the tables of all projections."""
    chosen = settings()
    async with opened(common, chosen, create=True) as database:
        connection = await database.first_connect("init")
        try:
            done = await schema.create(
                connection,
                declared_of_any_kind(),
                chosen.schema,
                partition_events=chosen.partition_events,
            )
        finally:
            await connection.close()
        if common.json:
            print_json({"database": masked(database.url), "done": done})
            return
        for line in done:
            console.print(f"created {line}")
        console.print(f"{masked(database.url)} is ready.", soft_wrap=True)


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
