"""Invariant 9, of the log: a read opens the partitions of its range, and no others."""

from __future__ import annotations

import pytest

from events import history, recent
from tests.plans.life import Life, connected, generic
from tests.plans.plan import Values, explained
from tests.plans.planted import PARTITION_EVENTS, ROWS

LAST = ROWS // PARTITION_EVENTS
KINDS = ["app.bsky.feed.like"]
ACCOUNTS = ["did:plc:x"]
READS: list[tuple[str, str, str, Values, list[int]]] = [
    ("read, within one", "reader", history.READ, (20_501, 21_000, KINDS), [2]),
    # An offset between 20,000 and 20,001 would be in the first of the two.
    ("read, up to its edge", "reader", history.READ, (20_001, 30_000, KINDS), [2]),
    ("read, over an edge", "reader", history.READ, (29_501, 30_500, KINDS), [2, 3]),
    ("read all, the first event", "reader", history.READ, (1, 1, None), [0]),
    ("of accounts", "status", history.OF_ACCOUNTS, (55_000, 69_000, KINDS, ACCOUNTS), [5, 6]),
    # The last has room for what comes next, and no events.
    ("tail", "append", recent.TAIL, (95_000,), [9, 10]),
    ("tail of two", "append", recent.TAIL, (85_000,), [8, 9, 10]),
]


def name(number: int) -> str:
    return f"event_log_{number * PARTITION_EVENTS + 1:015d}"


@pytest.mark.both_servers
@pytest.mark.parametrize(
    ("role", "sql", "values", "numbers"), [r[1:] for r in READS], ids=[r[0] for r in READS]
)
async def test_a_read_opens_the_partitions_of_its_range(
    life: Life, role: str, sql: str, values: Values, numbers: list[int]
) -> None:
    async with connected(life.url) as roles:
        connection = roles[role]
        plans = [await explained(connection, sql, values)]
        async with generic(connection, sql) as statement:
            plans.append(await statement.explained(values))
    for plan in plans:
        assert plan.partitions == set(map(name, numbers))


async def test_a_read_without_an_end_would_be_found(life: Life) -> None:
    endless = history.READ.replace("AND log_offset <= $2", "AND $2::bigint > 0")
    async with connected(life.url) as roles:
        plan = await explained(roles["reader"], endless, (20_500, 21_000, KINDS))
    assert plan.partitions == {name(number) for number in range(2, LAST + 1)}
