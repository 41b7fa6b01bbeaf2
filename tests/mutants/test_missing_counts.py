"""Tests that only a mutant showed to be missing: of deltas and their merging."""

from __future__ import annotations

from dataclasses import replace

import pytest

from projections.post_agg import post_agg
from projections.profile_agg import profile_agg
from projector.aggregate import Merger
from projector.children import OUTBOX_KEYS_MAX
from projector.database import Database
from projector.errors import CheckpointMoved
from projector.home import Counter
from projector.outbox import put_deltas
from projector.statements import live
from tests.support import engine
from tests.support.histories import DIDS, FOLLOW, LIKE, POST, made


async def test_more_keys_than_an_outbox_row_takes(database: Database) -> None:
    await engine.create(database)
    connection = await database.connect("test outbox")
    deltas = {f"did:plc:{n:05}": n % 7 - 3 for n in range(2 * OUTBOX_KEYS_MAX + 5)}
    moved = {key: delta for key, delta in deltas.items() if delta}
    counter = Counter("profile_agg", "followersCount", "subjectDid")
    assert await put_deltas(connection, "follow", [counter], [deltas], 9) == len(moved)
    found = "SELECT k, d FROM projector.outbox, unnest(keys, deltas) AS u(k, d)"
    assert dict(await connection.fetch(found)) == moved
    sizes = await connection.fetch("SELECT cardinality(keys) FROM projector.outbox ORDER BY id")
    assert max(size for (size,) in sizes) == OUTBOX_KEYS_MAX
    await connection.close()


async def test_a_merge_of_another_version_changes_nothing(database: Database) -> None:
    await engine.create(database)
    await engine.append(database, [made(1, "create", FOLLOW)])
    await engine.project(database, only=["follow"])
    connection = await database.connect("test merge")
    newer = replace(profile_agg, version=profile_agg.version + 1)
    with pytest.raises(CheckpointMoved):
        await Merger(newer, live(newer, "bsky")).merge(connection)
    assert (await engine.tables_of(database))["profile_agg"] == []
    assert await engine.differences(database) == []
    await connection.close()


async def test_a_row_in_which_others_count_stays(database: Database) -> None:
    """Our own counters of it are all zero again; the others' is not."""
    uri = f"at://{DIDS[0]}/{POST}/r0"
    await engine.create(database)
    await engine.append(database, [made(1, "create", LIKE)])
    await engine.project(database)
    connection = await database.connect("test other")
    await connection.execute('UPDATE bsky.post_agg SET "bookmarkCount" = 2 WHERE uri = $1', uri)
    await engine.append(database, [made(2, "delete", LIKE)])
    await engine.project(database)
    (row,) = (await engine.tables_of(database))[post_agg.table]
    assert (row["uri"], row["likeCount"], row["bookmarkCount"]) == (uri, 0, 2)
    await connection.close()
