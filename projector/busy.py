"""Busy keys: records with more than one event, of removed accounts, or with a rival for a claim.

Their rows are taken out of what was loaded, and their events are noted: what they come to is for
`settle`. A key too many among them costs time and nothing else.
"""

from __future__ import annotations

import asyncio
from typing import Final

import asyncpg

from events.crashpoints import crash_point
from projector import shadow
from projector.declare import Projection
from projector.home import Home, listed, quoted

NOTE_REPEATED: Final = "INSERT INTO {busy} SELECT uri FROM {base} GROUP BY uri HAVING count(*) > 1"
# A create that makes no row, and another that made one: which was last is for `settle`.
NOTE_ROWLESS: Final = """
INSERT INTO {busy} SELECT uri FROM {base} JOIN (SELECT DISTINCT uri FROM {rowless}) AS r USING (uri)
"""
NOTE_REMOVED: Final = """
INSERT INTO {busy} SELECT uri FROM {base}
WHERE split_part(uri, '/', 3) IN (SELECT did FROM {removed})
"""
NOTE_RIVALS: Final = """
INSERT INTO {busy} SELECT b.uri FROM {base} AS b JOIN (
    SELECT {claim} FROM {base} GROUP BY {claim} HAVING count(*) > 1) AS c USING ({claim})
"""
TAKE_OUT: Final = """
DELETE FROM {table} AS b USING (SELECT DISTINCT uri FROM {busy}) AS o WHERE b.{key} = o.uri
"""
NOTE_EVENTS: Final = """
CREATE TABLE {events} AS SELECT log_offset FROM {removed} UNION ALL
SELECT log_offset FROM projector.event_log
WHERE kind = 'commit' AND collection IN ({collections}) AND EXISTS (
    SELECT FROM {busy} AS b WHERE b.uri = 'at://' || did || '/' || collection || '/' || rkey)
"""
NOTED_FROM: Final = """
UPDATE projector.build SET noted_from = (
    SELECT coalesce(max(end_offset), 1) FROM projector.log_archive)
WHERE name = $1
"""
AT_END: Final = """
UPDATE projector.checkpoint SET log_offset = (SELECT through_offset FROM projector.build
    WHERE name = $1)
WHERE projection = $1
"""


async def take_out_busy(
    connection: asyncpg.Connection,
    beside: asyncpg.Connection,
    projection: Projection,
    home: Home,
    memory_mib: int,
) -> None:
    """Notes all busy keys, takes their rows out of the table, and notes their events.

    The two long searches run side by side, over both connections.
    """
    table = projection.table
    names = {
        "base": home.base(table),
        "busy": shadow.busy(home),
        "rowless": shadow.rowless(home),
        "removed": shadow.removed(home),
        "events": shadow.busy_events(home),
        "claim": listed(table.unique or ()),
        "collections": ", ".join(f"'{name}'" for name in projection.collections),
    }
    searches = [(connection, NOTE_REPEATED), *([(beside, NOTE_RIVALS)] if table.unique else [])]
    await asyncio.gather(
        *(_note(where, step.format(**names), memory_mib) for where, step in searches)
    )
    crash_point("rebuild.noted")  # Recovery: what is noted twice is noted all the same.
    async with connection.transaction():
        await _remember(connection, memory_mib)
        await connection.execute(NOTE_REMOVED.format(**names))
        await connection.execute(NOTE_ROWLESS.format(**names))
        for name, key in keyed_tables(projection, home):
            await connection.execute(TAKE_OUT.format(table=name, key=key, **names))
        await connection.execute(NOTE_EVENTS.format(**names))
        # Asked last: a partition that the statement before did not see any more is among them.
        await connection.execute(NOTED_FROM, home.name)
        for index in (f"{names['busy']} (uri)", f"{names['events']} (log_offset)"):
            await connection.execute(f"CREATE INDEX ON {index}")
        await connection.execute(f"ANALYZE {names['busy']}")
        await connection.execute(AT_END, home.name)
        await shadow.enter(connection, home, shadow.KEYS)
    crash_point("rebuild.loaded")  # Recovery: goes on with the keys.


def keyed_tables(projection: Projection, home: Home) -> list[tuple[str, str]]:
    """The projection's table and its child tables, each with its column of the records' uris."""
    children = [(home.child(c), quoted(c.columns[0])) for c in projection.every_child]
    return [(home.base(projection.table), "uri"), *children]


async def _note(connection: asyncpg.Connection, statement: str, memory_mib: int) -> None:
    async with connection.transaction():
        await _remember(connection, memory_mib)
        await connection.execute(statement)


async def _remember(connection: asyncpg.Connection, memory_mib: int) -> None:
    await connection.execute(f"SET LOCAL work_mem = '{memory_mib}MB'")
