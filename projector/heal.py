"""Heal: accounts, or all that an audit found, put right one transaction an account."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Final

import asyncpg

from projector.aggregate import AUDIT_SECONDS_MAX, Difference
from projector.counters import Keys, Watched, disordered, parts
from projector.database import APPLY_SETTINGS
from projector.declare import Derived
from projector.derived import Refresher, audit, touch
from projector.differences import ROW, children_of
from projector.mend import MENDED, Mender, Patch
from projector.patch import Values
from projector.statements import live

ACCOUNTS_MAX: Final = 50
"""How many accounts are read from the log at once."""
KEYS_MAX: Final = 10_000
"""How many keys of a counter are put right in one transaction."""
ROUNDS_MAX: Final = 1_000
"""How often keys are looked for, each time so many of every counter."""

HEAL_SETTINGS: Final = {
    **APPLY_SETTINGS,
    # What is mended stays so, and an account with millions of rows takes its time.
    "synchronous_commit": "on",
    "idle_in_transaction_session_timeout": "10min",
}

FOUND: Final = "SELECT DISTINCT did FROM projector.finding ORDER BY did"


async def found_accounts(connection: asyncpg.Connection) -> list[str]:
    """The accounts of which an audit found something."""
    return [row[0] for row in await connection.fetch(FOUND)]


async def heal(
    connection: asyncpg.Connection, mender: Mender, dids: Iterable[str], *, dry_run: bool
) -> AsyncIterator[Patch]:
    """Mends accounts, each in a transaction of its own; yields what was done about each.

    With `dry_run` only looks, and yields what would be done.
    """
    for part in parts(list(dict.fromkeys(dids)), ACCOUNTS_MAX):
        lives = await mender.lives(connection, part)
        for did in part:
            one = lives.only([did])
            patch = await mender.look(connection, one)
            if not dry_run and patch.differences:
                patch = await mender.mend(connection, one)
            elif not dry_run:
                await connection.execute(MENDED, [did], mender.names)
            yield patch


async def heal_counters(
    connection: asyncpg.Connection,
    looking: asyncpg.Connection,
    mender: Mender,
    shown: Sequence[Patch] = (),
    *,
    dry_run: bool,
) -> AsyncIterator[Patch]:
    """Mends every counter that is not what its rows say; `looking` is a connection for queries over
    whole tables, which need other plans.

    With `dry_run` without those that patches `shown` before would put right with their rows.
    """
    known = _moved(mender, shown)
    for _ in range(ROUNDS_MAX):
        keys: Keys = {
            watched: await disordered(looking, watched, KEYS_MAX, AUDIT_SECONDS_MAX)
            for watched in mender.watched
        }
        if dry_run:
            keys = {w: [key for key in keys[w] if key not in known[w]] for w in keys}
        if not any(keys.values()):
            return
        lives = await mender.lives(connection, ())
        if dry_run:
            yield await mender.look(connection, lives, keys)
            return
        patch = await mender.mend(connection, lives, keys)
        if not patch.differences:
            return  # Somebody else was there first.
        yield patch


async def heal_derived(
    connection: asyncpg.Connection,
    looking: asyncpg.Connection,
    tables: Sequence[Derived],
    schema: str,
    *,
    dry_run: bool,
) -> list[Difference]:
    """Makes anew what derived tables have of records of which they are not as they must be; returns
    those. `looking` is a connection for queries over whole tables.

    With `dry_run` only looks.
    """
    found: list[Difference] = []
    for table in tables:
        refresher = Refresher(table, live(table, schema))
        for _ in range(ROUNDS_MAX):
            wrong = await audit(looking, [table], schema, KEYS_MAX)
            found += wrong
            if dry_run or not wrong:
                break
            async with connection.transaction():
                await touch(connection, table, [difference.key for difference in wrong])
            while (await refresher.merge(connection)).rows:
                pass
    return found


def _moved(mender: Mender, patches: Sequence[Patch]) -> dict[Watched, set[str]]:
    """The keys whose number of rows the patches change."""
    moved: dict[Watched, set[str]] = {watched: set() for watched in mender.watched}
    for change in (change for patch in patches for change in patch.changes):
        for watched, keys in moved.items():
            if change.part == ROW and change.projection == watched.count.of.name:
                cells = (change.has or {}, change.must or {})
                keys |= {key for row in cells for key in _keys(watched, row)}
    return moved


def _keys(watched: Watched, values: Values) -> Iterator[str]:
    """The keys that what is shown of a row counts for."""
    count = watched.count
    rows = [values]
    if count.child is not None:
        columns, cell = count.of.child(count.child).columns, values.get(count.child)
        rows = [dict(zip(columns, row, strict=True)) for row in children_of(cell) or ()]
    return (row[count.by] for row in rows if row.get(count.by))
