"""Swap: what was built takes the place of what is live, in one short transaction.

Whoever calls has locked the checkpoints of the projections, and of all that feed the aggregates,
and brought what was built to them. Readers keep their names: one that waits for the lock finds the
new table when it gets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg

from projector import shadow
from projector.declare import AccountProjection, Aggregate, Declaration, Derived, Fed, Projection
from projector.errors import UsageError
from projector.home import Home, listed, quoted
from projector.statements import live

EXISTS: Final = "SELECT to_regclass($1) IS NOT NULL"
# Views and the like hold on to the table itself, not to its name.
DEPENDENTS: Final = """
SELECT DISTINCT r.ev_class::regclass::text
FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid
WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = $1::text::regclass
    AND r.ev_class <> d.refobjid
"""
GRANTS: Final = """
SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
    AS who, a.privilege_type AS what, a.is_grantable AS further
FROM pg_class AS c, aclexplode(c.relacl) AS a WHERE c.oid = $1::text::regclass
"""
# Of columns that number themselves: the live table's, and that of the new one.
SEQUENCES: Final = """
SELECT s.live, s.new FROM pg_attribute AS a, LATERAL (
    SELECT pg_get_serial_sequence($1, attname) AS live, pg_get_serial_sequence($2, attname) AS new
) AS s
WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped
    AND s.live IS NOT NULL AND s.new IS NOT NULL
"""
OWNER: Final = """
SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class WHERE oid = $1::text::regclass
"""
INDEXES: Final = """
SELECT i.relname AS name, pg_get_indexdef(i.oid) AS definition,
    quote_ident(n.nspname) || '.' || quote_ident(t.relname) AS of
FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid
JOIN pg_class AS t ON t.oid = x.indrelid JOIN pg_namespace AS n ON n.oid = t.relnamespace
WHERE x.indrelid = $1::text::regclass
"""
MOVE_CHECKPOINT: Final = """
INSERT INTO projector.checkpoint (projection, version, log_offset)
SELECT $1, version, log_offset FROM projector.checkpoint WHERE projection = $2
ON CONFLICT (projection) DO UPDATE
SET version = excluded.version, log_offset = excluded.log_offset, edits = checkpoint.edits + 1,
    updated_at = now()
"""
KEEP_CHECKPOINT: Final = """
INSERT INTO projector.checkpoint (projection, version, log_offset)
SELECT $2, version, log_offset FROM projector.checkpoint WHERE projection = $1
"""
KEEP_LETTERS: Final = """
INSERT INTO projector.dead_letter (projection, log_offset, stage, reason, error, attempts)
SELECT $2, log_offset, stage, reason, error, attempts FROM projector.dead_letter
WHERE projection = $1
"""
LETTERS: Final = (
    # Those of events that the new tables have as letters too stay as they are.
    """
    DELETE FROM projector.dead_letter WHERE projection = $1 AND log_offset NOT IN (
        SELECT log_offset FROM projector.dead_letter WHERE projection = $2)
    """,
    """
    DELETE FROM projector.dead_letter WHERE projection = $2 AND log_offset IN (
        SELECT log_offset FROM projector.dead_letter WHERE projection = $1)
    """,
    "UPDATE projector.dead_letter SET projection = $1 WHERE projection = $2",
)
FEEDERS: Final = "SELECT DISTINCT projection FROM projector.feed WHERE aggregate = $1"
UNFEED: Final = "DELETE FROM projector.feed WHERE aggregate = $1"
REFEED: Final = "UPDATE projector.feed SET aggregate = $1 WHERE aggregate = $2"
RENAME_FEEDER: Final = "UPDATE projector.feed SET projection = $1 WHERE projection = $2"
FEEDS_CHANGED: Final = """
UPDATE projector.checkpoint SET edits = edits + 1 WHERE projection = ANY($1::text[])
"""
DROP_DELTAS: Final = "DELETE FROM projector.outbox WHERE aggregate = $1"
RENAME_DELTAS: Final = "UPDATE projector.outbox SET aggregate = $1 WHERE aggregate = $2"
RENAME_ORIGIN: Final = "UPDATE projector.outbox SET projection = $1 WHERE projection = $2"
FORGET: Final = (
    "DELETE FROM projector.checkpoint WHERE projection = $1",
    "DELETE FROM projector.build WHERE name = $1",
)


async def check_dependents(
    connection: asyncpg.Connection, declarations: Sequence[Declaration], schema: str
) -> None:
    """Raises `UsageError` where a view reads one of the tables: it would go on reading the old."""
    for declaration in declarations:
        if views := await views_of(connection, declaration, schema):
            raise UsageError(
                f"{', '.join(views)} reads {live_table(declaration, schema)} and would go on "
                "reading the old table; drop it first, and make it again afterwards"
            )


async def views_of(
    connection: asyncpg.Connection, declaration: Declaration, schema: str
) -> list[str]:
    """The views that read the declaration's table."""
    table = live_table(declaration, schema)
    if not await connection.fetchval(EXISTS, table):
        return []
    return [row[0] for row in await connection.fetch(DEPENDENTS, table)]


def live_table(declaration: Declaration, schema: str) -> str:
    """The table of a projection or an aggregate."""
    table = declaration.table
    return f"{quoted(schema)}.{quoted(table if isinstance(table, str) else table.name)}"


async def extra_indexes(
    connection: asyncpg.Connection, declaration: Declaration, schema: str, home: Home
) -> list[str]:
    """How to make those indexes that somebody has added to the live table on the new one."""
    table, new = live_table(declaration, schema), live_table(declaration, home.schema)
    if not await connection.fetchval(EXISTS, table):
        return []
    has = {row["name"] for row in await connection.fetch(INDEXES, new)}
    return [
        row["definition"].replace(f" ON {row['of']} ", f" ON {new} ", 1)
        for row in await connection.fetch(INDEXES, table)
        if row["name"] not in has
    ]


async def lock_live(
    connection: asyncpg.Connection, declarations: Sequence[Declaration], schema: str
) -> None:
    """Locks all tables that are to go, in one statement, before any of them is moved.

    Locked one by one in the midst of the work, they would be met by readers of several tables that
    have one and wait for another: a deadlock, in each attempt anew while such readers keep coming.
    The checkpoints of derived tables come before: who refreshes one holds its checkpoint while it
    waits for tables. (Who merges into an aggregate comes to the checkpoint last.)
    """
    await shadow.lock(connection, [d.name for d in declarations if isinstance(d, Derived)])
    going = [f"{quoted(target)}.{quoted(relation)}" for declaration in declarations
             for relation, target in await _moved(connection, declaration, schema)]  # fmt: skip
    # In the order in which `snapshot` locks them.
    there = [table for table in sorted(going) if await connection.fetchval(EXISTS, table)]
    if there:
        await connection.execute(f"LOCK TABLE {', '.join(there)} IN ACCESS EXCLUSIVE MODE")


async def _moved(
    connection: asyncpg.Connection, declaration: Declaration, schema: str
) -> list[tuple[str, str]]:
    """The relations of a shadow that move, and the schemas that they move to."""
    if not isinstance(declaration, Projection):
        return [(declaration.table, schema)]
    name, table = live(declaration, schema), declaration.table
    hidden = (name.child(child) for child in declaration.every_child if child.hidden)
    engine = {name.shelf(table), name.versions(declaration), *hidden}
    moved = []
    for relation in await shadow.tables_in(connection, shadow.home_of(declaration)):
        own = f"{quoted(name.engine)}.{quoted(relation)}" in engine
        if relation != table.duplicates:
            moved.append((relation, name.engine if own else schema))
    return moved


async def swap_accounts(
    connection: asyncpg.Connection, accounts: AccountProjection, schema: str, *, keep_old: bool
) -> None:
    """Puts the shadow of a projection of accounts in the place of the live table, likewise."""
    name, green = accounts.name, shadow.home_of(accounts)
    old = shadow.home_of(accounts, shadow.OLD)
    table, new = live_table(accounts, schema), live_table(accounts, green.schema)
    await connection.execute(f"CREATE SCHEMA {quoted(old.schema)}")
    if keep_old:
        await connection.execute(KEEP_CHECKPOINT, name, old.name)
        await connection.execute(KEEP_LETTERS, name, old.name)
    if accounts.kept and await connection.fetchval(EXISTS, table):
        values = ", ".join(f"{quoted(c)} = o.{quoted(c)}" for c in accounts.kept)
        key = quoted(accounts.key)
        await connection.execute(
            f"UPDATE {new} AS t SET {values} FROM {table} AS o WHERE t.{key} = o.{key}"
            f" AND ({listed(accounts.kept, 't.')})"
            f" IS DISTINCT FROM ({listed(accounts.kept, 'o.')})"
        )
    await _replace(connection, accounts.table, green.schema, schema, old.schema)
    await _take_over(connection, name, green)


async def _take_over(connection: asyncpg.Connection, name: str, green: Home) -> None:
    """Has what was built go on under the live name, with its checkpoint and its dead letters."""
    await connection.execute(MOVE_CHECKPOINT, name, green.name)
    for statement in LETTERS:
        await connection.execute(statement, name, green.name)
    await _forget(connection, green)


async def swap_projection(
    connection: asyncpg.Connection, projection: Projection, schema: str, *, keep_old: bool
) -> None:
    """Puts the shadow of a projection in the place of the live tables, which are locked."""
    name, table = live(projection, schema), projection.table
    green, old = shadow.home_of(projection), shadow.home_of(projection, shadow.OLD)
    moved = await _moved(connection, projection, schema)
    await connection.execute(f"CREATE SCHEMA {quoted(old.schema)}")
    if keep_old:
        await connection.execute(KEEP_CHECKPOINT, name.name, old.name)
        await connection.execute(KEEP_LETTERS, name.name, old.name)
    await _copy_kept(connection, projection, name, green)
    for relation, target in moved:
        await _replace(connection, relation, green.schema, target, old.schema)
    if table.unique:
        await _swap_list(connection, projection, name, green, old, keep_old=keep_old)
    await _take_over(connection, name.name, green)


async def _copy_kept(
    connection: asyncpg.Connection, projection: Projection, name: Home, green: Home
) -> None:
    """Takes over what others have written into the rows."""
    table, base = projection.table, name.base(projection.table)
    if not table.kept or not await connection.fetchval(EXISTS, base):
        return
    await connection.execute(f"LOCK TABLE {base} IN ACCESS EXCLUSIVE MODE")
    values = ", ".join(f"{quoted(c)} = o.{quoted(c)}" for c in table.kept)
    there = " OR ".join(f"o.{quoted(c)} IS NOT NULL" for c in table.kept)
    await connection.execute(
        f"UPDATE {green.base(table)} AS t SET {values} FROM {base} AS o"
        f" WHERE t.uri = o.uri AND ({there})"
    )


async def _replace(
    connection: asyncpg.Connection, relation: str, source: str, target: str, old: str
) -> None:
    """Moves the live table away and the new one to its place, with who may do what with it."""
    table, new = (f"{quoted(s)}.{quoted(relation)}" for s in (target, source))
    if await connection.fetchval(EXISTS, table):
        await _grant(connection, table, f"TABLE {new}")
        for live_sequence, sequence in await connection.fetch(SEQUENCES, table, new):
            await _grant(connection, live_sequence, f"SEQUENCE {sequence}")
        owner = await connection.fetchval(OWNER, table)
        if owner != await connection.fetchval(OWNER, new):
            await connection.execute(f"ALTER TABLE {new} OWNER TO {owner}")
        await connection.execute(f"ALTER TABLE {table} SET SCHEMA {quoted(old)}")
    await connection.execute(f"ALTER TABLE {new} SET SCHEMA {quoted(target)}")


async def _grant(connection: asyncpg.Connection, live_relation: str, new: str) -> None:
    for row in await connection.fetch(GRANTS, live_relation):
        further = " WITH GRANT OPTION" if row["further"] else ""
        await connection.execute(f"GRANT {row['what']} ON {new} TO {row['who']}{further}")


async def _swap_list(
    connection: asyncpg.Connection,
    projection: Projection,
    name: Home,
    green: Home,
    old: Home,
    *,
    keep_old: bool,
) -> None:
    """Brings the list of duplicates, which others share, to what the shadow's is.

    Only what differs is written.
    """
    table, ours = name.list(projection.table), green.list(projection.table)
    own = f"split_part(uri, '/', 4) = '{projection.collection}'"
    if keep_old:
        kept = old.list(projection.table)
        await connection.execute(f"CREATE TABLE {kept} (LIKE {table} INCLUDING ALL)")
        await connection.execute(f"INSERT INTO {kept} SELECT * FROM {table} WHERE {own}")
    await connection.execute(
        f"DELETE FROM {table} AS l WHERE {own}"
        f" AND NOT EXISTS (SELECT FROM {ours} AS o WHERE o.uri = l.uri AND o = l)"
    )
    await connection.execute(f"INSERT INTO {table} SELECT * FROM {ours} ON CONFLICT DO NOTHING")


async def swap_aggregate(
    connection: asyncpg.Connection, aggregate: Fed, schema: str, shadows: Sequence[str]
) -> None:
    """Puts the shadow of an aggregate in the place of the live one, which is locked, with the
    deltas that wait."""
    name, green = aggregate.name, shadow.home_of(aggregate)
    old = shadow.home_of(aggregate, shadow.OLD)
    await connection.execute(f"CREATE SCHEMA {quoted(old.schema)}")
    table, new = live_table(aggregate, schema), live_table(aggregate, green.schema)
    if isinstance(aggregate, Aggregate) and await connection.fetchval(EXISTS, table):
        await _copy_foreign(connection, aggregate, table, new)
    await _replace(connection, aggregate.table, green.schema, schema, old.schema)
    feeders = [row[0] for row in await connection.fetch(FEEDERS, name)]
    await connection.execute(UNFEED, name)
    await connection.execute(REFEED, name, green.name)
    for projection in shadows:
        await connection.execute(RENAME_FEEDER, projection, f"{projection}@{shadow.GREEN}")
        await connection.execute(RENAME_ORIGIN, projection, f"{projection}@{shadow.GREEN}")
    feeders += [row[0] for row in await connection.fetch(FEEDERS, name)]
    await connection.execute(FEEDS_CHANGED, feeders)
    await connection.execute(DROP_DELTAS, name)
    await connection.execute(RENAME_DELTAS, name, green.name)
    await connection.execute(MOVE_CHECKPOINT, name, green.name)
    await _forget(connection, green)


async def _forget(connection: asyncpg.Connection, green: Home) -> None:
    for statement in FORGET:
        await connection.execute(statement, green.name)
    await connection.execute(f"DROP SCHEMA {quoted(green.schema)} CASCADE")


async def _copy_foreign(
    connection: asyncpg.Connection, aggregate: Aggregate, table: str, new: str
) -> None:
    """Takes over the counters that others keep in the same table."""
    if not aggregate.foreign:
        return
    key, columns = quoted(aggregate.key), listed(aggregate.foreign)
    kept = " OR ".join(f"{quoted(c)} <> 0" for c in aggregate.foreign)
    put = ", ".join(f"{quoted(c)} = excluded.{quoted(c)}" for c in aggregate.foreign)
    await connection.execute(
        f"INSERT INTO {new} ({key}, {columns}) SELECT {key}, {columns} FROM {table} WHERE {kept}"
        f" ON CONFLICT ({key}) DO UPDATE SET {put}"
    )
