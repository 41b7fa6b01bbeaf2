"""The life of a database, and the plans of every guarded statement in each of its states."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import asyncpg

from events.log import Appender
from projector import schema
from projector.database import APPLY_SETTINGS, Database
from projector.lease import LeaseKeeper
from projector.reader import LogReader
from tests.plans.engine import ENGINE
from tests.plans.guards import KEYS, Guard, growth
from tests.plans.plan import Plan, Prepared, Values, explained
from tests.plans.planted import PARTITION_EVENTS, ROWS, TENTH, plant, plant_few
from tests.plans.tables import SCHEMA, TABLES
from tests.support.court import TOLD
from tests.support.engine import DECLARATIONS

GUARDS: Final = [*TABLES, *ENGINE]
WIDE_KEYS: Final = 2_000
"""Keys in a window that is only planned."""
USES: Final = 6
"""After five uses of a prepared statement the server may keep a plan for any values."""
YOUNG: Final = "a tenth of the rows"
OLD: Final = "never analyzed"
STOCK: Final = "SET random_page_cost = 4; SET work_mem = '4MB'"
"""What an operator's own server has where ours, made for one machine, has less and more."""
RESET: Final = "RESET random_page_cost; RESET work_mem"
TABLES_OF_OURS: Final = f"""
SELECT oid FROM pg_class WHERE relkind = 'r'
    AND relnamespace IN ('projector'::regnamespace, '{SCHEMA}'::regnamespace)
"""
NO_AUTOVACUUM: Final = f"""
DO $$
DECLARE
    name regclass;
BEGIN
    FOR name IN {TABLES_OF_OURS} LOOP
        EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = false)', name);
    END LOOP;
END
$$
"""
ANALYZED_WHEN_EMPTY: Final = f"""
UPDATE pg_class SET relpages = 0, reltuples = 0 WHERE oid IN ({TABLES_OF_OURS})
"""
"""What ANALYZE leaves of a table without rows."""
ANALYZED_WHEN_EVEN: Final = f"""
UPDATE pg_statistic SET stadistinct = -1, stakind1 = CASE stakind1 WHEN 1 THEN 0 ELSE stakind1 END
WHERE starelid IN ({TABLES_OF_OURS}) AND NOT EXISTS (
    SELECT FROM pg_attribute
    WHERE attrelid = starelid AND attnum = staattnum AND attoptions::text LIKE '%n_distinct%')
"""
"""What ANALYZE leaves of a young table, where no account and no subject has come twice; what DDL
says of a column stays."""


@dataclass(frozen=True)
class Seen:
    """The plan of one window in one state of the database; `wide` was planned and not run."""

    state: str
    window: str
    plan: Plan
    wide: bool = False


@dataclass
class Life:
    """A database at the end of its life, and what was seen before."""

    url: str
    seen: dict[str, list[Seen]] = field(default_factory=dict)
    turns: Counter[str] = field(default_factory=Counter)

    def turn(self, guard: Guard) -> int:
        """The next window's number; a projection's statements share the rows."""
        of = guard.name.partition(":")[0]
        self.turns[of] += 1
        return self.turns[of]

    def note(self, guard: Guard, seen: Seen) -> None:
        """Keeps what was seen."""
        self.seen.setdefault(guard.name, []).append(seen)


def live(url: str) -> Life:
    """Makes the tables in an empty database, lets them grow, and looks at each state on the way."""
    return asyncio.run(_live(Life(url)))


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[dict[str, asyncpg.Connection]]:
    """A connection for each role, made as the role makes its own."""
    database = Database(url)
    async with AsyncExitStack() as stack:
        reader, keeper = LogReader(database, ()), LeaseKeeper(database)
        connections = {
            "apply": await database.connect("apply", **APPLY_SETTINGS),
            "merge": await database.connect("merge", **APPLY_SETTINGS),
            "append": await database.connect("append", enable_seqscan="off"),
            "reader": await reader._connected(),
            "leases": await keeper._connected(),
            "status": await database.connect("status"),
        }
        for connection in connections.values():
            stack.push_async_callback(connection.close)
        yield connections


async def _live(life: Life) -> Life:
    async with connected(life.url) as first, connected(life.url) as roles:
        admin = roles["status"]
        kept_tables = [*DECLARATIONS, TOLD]
        await schema.create(admin, kept_tables, SCHEMA, partition_events=PARTITION_EVENTS)
        await Appender(admin, "", partition_events=PARTITION_EVENTS).make_partitions(ROWS)
        await admin.execute(NO_AUTOVACUUM)
        await plant_few(admin)
        kept = await _keep_plans(life, first)
        await plant(admin, range(1, TENTH + 1))
        await _look(life, roles, YOUNG)
        await plant(admin, range(TENTH + 1, ROWS + 1))
        await _look_again(life, kept)
        await _look(life, roles, OLD)
        await _set_all(roles, STOCK)
        await _look(life, roles, f"{OLD}, stock costs")
        await _set_all(roles, RESET)
        await admin.execute(ANALYZED_WHEN_EMPTY)
        await _look(life, roles, "analyzed when empty")
        await admin.execute("ANALYZE")
        await _look(life, roles, "analyzed")
        await _look_wide(life, roles, "analyzed")
        await _set_all(roles, STOCK)
        await _look(life, roles, "analyzed, stock costs")
        await _look_wide(life, roles, "analyzed, stock costs")
        await _set_all(roles, RESET)
        await admin.execute(ANALYZED_WHEN_EVEN)
        await _look(life, roles, "analyzed when even")
        await _look_wide(life, roles, "analyzed when even")
    return life


async def _set_all(roles: dict[str, asyncpg.Connection], settings: str) -> None:
    for connection in roles.values():
        await connection.execute(settings)


async def _keep_plans(life: Life, roles: dict[str, asyncpg.Connection]) -> list[Prepared]:
    """Uses each statement until the server keeps a plan for it, as a young daemon does."""
    kept = []
    for guard in GUARDS:
        statement = await Prepared(roles[guard.role], guard.name, guard.sql).open()
        windows = list(guard.windows.values())
        for use in range(USES):
            await statement.explained(windows[use % len(windows)](life.turn(guard), KEYS))
        kept.append(statement)
    return kept


async def _look_again(life: Life, kept: list[Prepared]) -> None:
    for guard, statement in zip(GUARDS, kept, strict=True):
        for window, make in guard.windows.items():
            plan = await statement.explained(make(life.turn(guard), KEYS))
            life.note(guard, Seen("planned when empty", window, plan))


async def _look(life: Life, roles: dict[str, asyncpg.Connection], state: str) -> None:
    """Runs every window, planned for its values and planned for any."""
    for guard in GUARDS:
        connection = roles[guard.role]
        async with generic(connection, guard.sql) as statement:
            for window, make in guard.windows.items():
                plan = await explained(connection, guard.sql, make(life.turn(guard), KEYS))
                life.note(guard, Seen(state, window, plan))
                plan = await statement.explained(make(life.turn(guard), KEYS))
                life.note(guard, Seen(f"{state}, any values", window, plan))


@asynccontextmanager
async def generic(connection: asyncpg.Connection, sql: str) -> AsyncIterator[Prepared]:
    """The statement with a plan for any values, as prepared statements come to have."""
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    statement = await Prepared(connection, "generic", sql).open()
    yield statement
    await statement.close()
    await connection.execute("RESET plan_cache_mode")


async def _look_wide(life: Life, roles: dict[str, asyncpg.Connection], state: str) -> None:
    for guard in GUARDS:
        for window in guard.windows if guard.grows else ():
            values = _wide(guard.name, window)
            plan = await explained(roles[guard.role], guard.sql, values, run=False)
            life.note(guard, Seen(state, window, plan, wide=True))


@cache
def _wide(name: str, window: str) -> Values:
    [guard] = [guard for guard in GUARDS if guard.name == name]
    return guard.windows[window](0, WIDE_KEYS)


def wrong(guard: Guard, seen: Sequence[Seen]) -> list[str]:
    """What of all that was seen is against the guard."""
    found = []
    for one in seen:
        breaches = guard.wrong_ways(one.plan) if one.wide else guard.breaches(one.plan)
        size = f"{WIDE_KEYS:,} keys " * one.wide
        found += [f"{one.state}: {size}{one.window}: {breach}" for breach in breaches]
    return found + grown(seen)


def grown(seen: Sequence[Seen]) -> list[str]:
    """Where a window asked for more pages when the tables had ten times the rows."""
    plans = {(one.state, one.window): one.plan for one in seen if not one.wide}
    found = []
    for (state, window), small in plans.items():
        if state.startswith(YOUNG):
            more = growth(small, plans[state.replace(YOUNG, OLD), window])
            found += [f"{state.replace(YOUNG, OLD)}: {window}: {more}"] if more else []
    return found
