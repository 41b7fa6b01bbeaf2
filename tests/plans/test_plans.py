"""Invariant 9, statement by statement: the right index, and no more rows than the window.

Each hot statement is run by EXPLAIN ANALYZE on the connection that runs it, with parameters as they
are sent, in every state that a server's statistics and kept plans may be in.
"""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from projector.declare import Projection
from projector.statements import Statements, counters_of, live, statements_of
from tests.plans.engine import CASES, NO_TABLE, constants
from tests.plans.guards import Guard
from tests.plans.known import KNOWN
from tests.plans.life import GUARDS, Life, connected, generic, wrong
from tests.plans.plan import explained
from tests.plans.planted import BUSY
from tests.plans.tables import ACCOUNT_ROWS, SCHEMA, of_projection
from tests.support.engine import DECLARATIONS
from tests.support.harness import PROJECTIONS

PARAMETERS = [
    pytest.param(
        guard,
        id=guard.name,
        marks=[pytest.mark.xfail(strict=True, raises=AssertionError, reason=KNOWN[guard.name])]
        if guard.name in KNOWN
        else [],
    )
    for guard in GUARDS
]


@pytest.mark.both_servers
@pytest.mark.parametrize("guard", PARAMETERS)
def test_a_statement_keeps_to_its_indexes_and_its_window(life: Life, guard: Guard) -> None:
    assert wrong(guard, life.seen[guard.name]) == []


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda projection: projection.name)
async def test_a_removal_costs_what_it_removes(life: Life, projection: Projection) -> None:
    guard = next(g for g in GUARDS if g.name == f"{projection.name}: remove_accounts")
    count = f'SELECT count(*) FROM {SCHEMA}."{projection.table.name}" WHERE creator = $1'
    async with connected(life.url) as roles:
        connection = roles[guard.role]
        rows = await connection.fetchval(count, BUSY)
        plans = [await explained(connection, guard.sql, ([BUSY], 1))]
        async with generic(connection, guard.sql) as statement:
            plans.append(await statement.explained(([BUSY], 1)))
    assert rows > ACCOUNT_ROWS
    for plan in plans:
        assert replace(guard, keys=rows).breaches(plan) == []


def test_every_statement_is_guarded() -> None:
    for projection in PROJECTIONS:
        sql = statements_of(
            projection, live(projection, SCHEMA), counters_of(projection, DECLARATIONS)
        )
        texts = {f.name for f in fields(Statements) if isinstance(getattr(sql, f.name), str)}
        assert {name for name, _ in of_projection(projection)} == texts
    assert set(constants()) == set(CASES) | NO_TABLE
    assert set(KNOWN) <= {guard.name for guard in GUARDS}
    assert len({guard.name for guard in GUARDS}) == len(GUARDS)
