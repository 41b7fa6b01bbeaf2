"""Rebuilds in this process, and what is left of them in the database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from projector.as_of import AsOf
from projector.database import Database
from projector.declare import Declaration
from projector.rebuild import Rebuild
from projector.rebuilding import Options, Outcome
from projector.settings import Settings
from tests.support.engine import DECLARATIONS

SETTINGS = Settings(rebuild_share=1.0)
EVERYTHING = tuple(d.name for d in DECLARATIONS)

# Schemas, checkpoints, feeds, deltas, letters and builds that only a rebuild makes.
LEFT = """
SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname LIKE 'projector\\_%'
UNION ALL SELECT 'checkpoint ' || projection FROM projector.checkpoint WHERE projection LIKE '%@%'
UNION ALL SELECT 'feed ' || projection || aggregate FROM projector.feed
    WHERE projection LIKE '%@%' OR aggregate LIKE '%@%'
UNION ALL SELECT 'delta ' || projection || aggregate FROM projector.outbox
    WHERE projection LIKE '%@%' OR aggregate LIKE '%@%'
UNION ALL SELECT 'letter ' || projection FROM projector.dead_letter WHERE projection LIKE '%@%'
UNION ALL SELECT 'build ' || name FROM projector.build ORDER BY 1
"""


async def rebuild(
    database: Database,
    *names: str,
    declarations: Sequence[Declaration] = DECLARATIONS,
    settings: Settings = SETTINGS,
    **options: Any,
) -> Outcome:
    """Rebuilds, by default everything."""
    rebuilding = Rebuild(
        database, declarations, settings, names=names or [d.name for d in declarations],
        options=Options(**options), show=lambda *_: None,
    )  # fmt: skip
    return await asyncio.wait_for(rebuilding.run(), 240)


async def as_of(
    database: Database,
    offset: int,
    into: str,
    *names: str,
    declarations: Sequence[Declaration] = DECLARATIONS,
) -> int:
    """Builds tables as they were at an offset, by default all."""
    building = AsOf(
        database, declarations, SETTINGS, names=names or EVERYTHING, into=into,
        show=lambda *_: None,
    )  # fmt: skip
    return await asyncio.wait_for(building.run(offset), 240)


async def left_behind(database: Database) -> list[str]:
    """What there is of rebuilds beside the live tables."""
    connection = await database.connect("test left")
    try:
        return [row[0] for row in await connection.fetch(LEFT)]
    finally:
        await connection.close()


async def execute(database: Database, *statements: str) -> None:
    """Does something by hand."""
    connection = await database.connect("test by hand")
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def value(database: Database, query: str, *values: object) -> Any:
    """The answer to a question."""
    connection = await database.connect("test asks")
    try:
        return await connection.fetchval(query, *values)
    finally:
        await connection.close()
