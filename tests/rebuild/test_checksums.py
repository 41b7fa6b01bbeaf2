"""Tables with other rows have other checksums, whatever the difference; the same rows the same."""

from __future__ import annotations

import pytest

from projector.checksums import columns_of_both, same_counts, same_rows
from projector.database import Database
from tests.support import engine
from tests.support.rebuilding import execute

ROWS = "('a', 'x', NULL, true, '[1, 2]'), ('b', 'y', '', false, NULL), ('c', 'z', 'n', NULL, '{}')"
OTHERS = {
    "values of a column changed places": ROWS.replace("'x'", "'y'", 1).replace(
        "'b', 'y'", "'b', 'x'"
    ),
    "values of a row changed places": ROWS.replace("'a', 'x'", "'x', 'a'"),
    "an empty text for NULL": ROWS.replace("'x', NULL", "'x', ''"),
    "NULL for an empty text": ROWS.replace("'y', ''", "'y', NULL"),
    "a text at the end of the one before": ROWS.replace("'z', 'n'", "'zn', ''"),
    "another boolean": ROWS.replace("true", "false"),
    "no boolean": ROWS.replace("true", "NULL"),
    "other JSON": ROWS.replace("[1, 2]", "[2, 1]"),
    "deeper JSON": ROWS.replace("[1, 2]", "[[[1, 2]]]"),
    "a row too many": f"{ROWS}, ('d', 'z', 'n', NULL, '{{}}')",
    "a row twice": f"{ROWS}, ('c', 'z', 'n', NULL, '{{}}')",
    "a row missing": ROWS.partition("), ")[0] + ")",
    "none": "('q', 'q', 'q', NULL, NULL)",
}
TABLE = '(k text COLLATE "C", v varchar, n text, b boolean, j jsonb)'
COLUMNS = ["k", "v", "n", "b", "j"]


async def make(database: Database, rows: str) -> None:
    await execute(
        database, "CREATE SCHEMA one", "CREATE SCHEMA other", f"CREATE TABLE one.t {TABLE}",
        # Another order of columns and of rows, and a column that only one has.
        "CREATE TABLE other.t (j jsonb, own int, b boolean, n text, v varchar, k text)",
        f"INSERT INTO one.t VALUES {ROWS}",
        "INSERT INTO other.t (k, v, n, b, j)"
        f" SELECT * FROM (VALUES {rows}) AS r(k, v, n, b, j) ORDER BY k DESC".replace(
            "SELECT *", "SELECT k, v, n, b::boolean, j::jsonb"),
    )  # fmt: skip


async def same(database: Database) -> bool:
    connection = await database.connect("test compares")
    try:
        columns = await columns_of_both(connection, "one.t", "other.t")
        assert columns == COLUMNS
        return await same_rows(connection, "one.t", "other.t", columns)
    finally:
        await connection.close()


async def test_the_same_rows_in_another_order_are_the_same(database: Database) -> None:
    await make(database, ROWS)
    assert await same(database)


@pytest.mark.parametrize("rows", OTHERS.values(), ids=OTHERS)
async def test_other_rows_are_not(database: Database, rows: str) -> None:
    assert rows != ROWS
    await make(database, rows)
    assert not await same(database)


async def test_counters_are_the_same_only_where_none_is_to_change(database: Database) -> None:
    await engine.create(database)
    await execute(
        database,
        "CREATE TABLE one (k text, a bigint, b bigint)", "CREATE TABLE other (LIKE one)",
        "INSERT INTO one VALUES ('p', 1, 2), ('q', 0, 3)",
        "INSERT INTO other VALUES ('q', 0, 3), ('p', 1, 2), ('zero', 0, 0)",
    )  # fmt: skip
    connection = await database.connect("test compares")

    async def alike() -> bool:
        return await same_counts(connection, ("one", "other"), "k", ["a", "b"], ["x", "y"])

    assert await alike()
    await connection.execute("UPDATE other SET a = 2, b = 1 WHERE k = 'p'")
    assert not await alike()
    await connection.execute("UPDATE other SET a = 1, b = 2 WHERE k = 'p'")
    assert await alike()
    await connection.execute(
        "INSERT INTO projector.outbox (aggregate, counter, keys, deltas, projection,"
        " through_offset) VALUES ('y', 'a', '{p}', '{1}', 'post', 1)"
    )
    assert not await alike()
    await connection.close()
