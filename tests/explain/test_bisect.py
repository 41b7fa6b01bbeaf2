"""`projector bisect`: where a counter or a row parted from the log, after damage of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from projections.follow import follows
from projector.database import Database
from projector.errors import UsageError
from projector.parting import bisect_counter, bisect_row
from projector.watch import find_counter
from tests.explain.told import STORY, A, B, C, follow, uri
from tests.support.cli import Place
from tests.support.engine import DECLARATIONS, append, project
from tests.support.histories import CIDS, DIDS
from tests.support.watch import Watch

Found = dict[str, Any]
Bisect = Callable[[str, str], Awaitable[Found]]

KEYS = {
    "of", "key", "parted", "stored", "counted", "true", "through", "log_offset", "rows",
    "rows_total", "certain", "inferred", "advice",
}  # fmt: skip
ADD = """
INSERT INTO bsky.follow (uri, cid, creator, "subjectDid", "createdAt", "indexedAt")
VALUES ($1, $2, $3, $4, $5, $5)
"""
D, E = DIDS[3:5]


@pytest.fixture
async def told(ready: Place, database: Database) -> Place:
    """The story, applied."""
    await append(database, STORY)
    await project(database)
    return ready


@pytest.fixture
async def bisect(database: Database) -> AsyncIterator[Bisect]:
    """Does what the command does, in this process."""
    connection = await database.connect("test bisect")

    async def found(name: str, key: str) -> Found:
        if name == "follow":
            parting = await bisect_row(connection, follows, key, "bsky", silent)
        else:
            counter = find_counter(name, DECLARATIONS)
            parting = await bisect_counter(connection, counter, key, "bsky", silent)
        fields: Found = msgspec.to_builtins(parting)
        assert fields.keys() == KEYS
        assert fields["parted"] == (fields["advice"] is not None)
        return fields

    yield found
    await connection.close()


def silent(done: int, total: int) -> None:
    """Nobody is shown how far it is."""


async def test_what_agrees_has_not_parted(told: Place, bisect: Bisect) -> None:
    found = await told.json("bisect", "followersCount", A)
    assert found.keys() == KEYS
    assert (found["parted"], found["log_offset"], found["advice"]) == (False, None, None)
    assert (found["stored"], found["counted"], found["true"], found["through"]) == (2, 2, 2, 13)
    found = await bisect("follow", uri(D))
    assert (found["parted"], found["rows"]) == (False, [])
    assert found["certain"] == ["the row is what the log says since offset 12"]
    for key in (uri(C), uri(C, 1)):
        assert not (await bisect("follow", key))["parted"]


async def test_a_row_that_is_missing(told: Place, bisect: Bisect, watch: Watch) -> None:
    # Invariant 7 does not notice: row and count go together.
    await watch.execute("DELETE FROM bsky.follow WHERE uri = $1", uri(C, 3))
    await watch.execute('UPDATE bsky.profile_agg SET "followersCount" = 1 WHERE did = $1', A)
    found = await bisect("followersCount", A)
    row = {"uri": uri(C, 3), "kind": "missing", "log_offset": 13, "proven_through": None}
    assert (found["log_offset"], found["rows"], found["rows_total"]) == (13, [row], 1)
    assert (found["stored"], found["counted"], found["true"]) == (1, 1, 2)
    assert found["advice"] == f"projector heal {C}"
    found = await bisect("follow", uri(C, 3))
    assert (found["log_offset"], found["rows"]) == (13, [row])
    assert "from offset 0 to 12" in found["certain"][0]
    assert "by a change made by hand" in found["inferred"][0]

    # The audit saw all of the account right, later than that: it has been damaged since.
    await watch.execute("INSERT INTO projector.audit_account VALUES ($1, 1, 13, now())", C)
    found = await bisect("followersCount", A)
    assert found["rows"] == [row | {"proven_through": 13}]
    assert found["certain"][-1] == (
        "the rolling audit found 1 of the 1 right as of offset 13 or later: they have been made "
        "wrong after that"
    )
    shown = await told.run("bisect", "follow", uri(C, 3))
    assert shown.code == 1
    assert "certain: offset 13 is the first event whose effect the row lacks" in shown.text
    assert "inferred: row and log parted at offset 13" in shown.text
    assert shown.complaint == (
        f"follow of {uri(C, 3)} parted from the log at 13; run: projector heal {C}"
    )


@pytest.mark.usefixtures("told")
async def test_rows_that_must_not_be_there(bisect: Bisect, watch: Watch) -> None:
    # As if the delete of C's second follow had never been applied.
    moment = "2026-07-04T12:00:03.000Z"
    await watch.execute("DELETE FROM bsky.follow WHERE uri = $1", uri(C, 3))
    await watch.execute(ADD, uri(C, 1), CIDS[0], C, A, moment)
    found = await bisect("followersCount", A)
    assert [(row["uri"], row["kind"], row["log_offset"]) for row in found["rows"]] == [
        (uri(C, 1), "extra", 9),
        (uri(C, 3), "missing", 13),
    ]
    assert found["log_offset"] == 9
    assert "1 are missing and 1 are there that must not be" in found["certain"][0]

    await watch.execute(ADD, uri(E), CIDS[0], E, A, moment)
    found = await bisect("followersCount", A)
    assert [row["log_offset"] for row in found["rows"]] == [9, 13, None]
    assert "1 of them no event of the log ever made" in found["certain"][1]
    found = await bisect("follow", uri(E))
    assert (found["log_offset"], found["rows"][0]["kind"]) == (None, "extra")
    assert "no event of the log is about it" in found["certain"][0]


@pytest.mark.usefixtures("told")
async def test_a_row_left_at_an_earlier_state(bisect: Bisect, watch: Watch) -> None:
    # D follows A again, as by offset 11; offset 12 has changed that.
    await watch.execute(
        'UPDATE bsky.follow SET "subjectDid" = $2, cid = $3, "createdAt" = $4, "indexedAt" = $5'
        " WHERE uri = $1",
        uri(D), A, CIDS[0], "2026-07-04T11:59:59.999Z", "2026-07-04T12:00:11.000Z",
    )  # fmt: skip
    found = await bisect("follow", uri(D))
    assert (found["log_offset"], found["rows"][0]["kind"]) == (12, "altered")
    assert "from offset 11 to 11" in found["certain"][0]
    # And one that it never was.
    await watch.execute('UPDATE bsky.follow SET "createdAt" = $2 WHERE uri = $1', uri(D), "x")
    found = await bisect("follow", uri(D))
    assert (found["log_offset"], found["rows"][0]["kind"]) == (12, "altered")
    assert "never was like that" in found["certain"][0]


@pytest.mark.usefixtures("told")
async def test_a_counter_that_is_off_by_one(bisect: Bisect, watch: Watch) -> None:
    await watch.execute('UPDATE bsky.profile_agg SET "followersCount" = 3 WHERE did = $1', A)
    found = await bisect("followersCount", A)
    # It was 3 from offset 5 to 8, and never again.
    assert (found["stored"], found["counted"], found["true"]) == (3, 2, 2)
    assert (found["log_offset"], found["rows"]) == (9, [])
    assert found["certain"][1] == ("the log's own value was 3 for the last time from offset 5 to 8")
    assert "offset 9 is the first event that the counter did not follow" in found["inferred"][0]
    assert found["advice"] == f"projector heal {A}"
    await watch.execute('UPDATE bsky.profile_agg SET "followersCount" = 9 WHERE did = $1', A)
    found = await bisect("followersCount", A)
    assert found["log_offset"] is None
    assert found["certain"][1] == "the log's own value was never 9"
    await watch.execute("DELETE FROM bsky.profile_agg WHERE did = $1", A)
    assert (await bisect("followersCount", A))["log_offset"] == 1


@pytest.mark.both_servers
@pytest.mark.usefixtures("ready")
async def test_counting_that_stopped(database: Database, bisect: Bisect, watch: Watch) -> None:
    """The deltas of offsets 15 to 17 are lost."""
    await append(database, [*STORY, follow(24, 4, 0)])  # E follows A: 3
    await project(database)
    lost = [
        follow(25, 5, 0),  # F follows A: 4
        follow(26, 3, 0, what="update"),  # D follows A again: 5
        follow(27, 1, 0, what="delete"),  # B does no more: 4
    ]
    await append(database, lost)
    await project(database, only=("follow",))
    await watch.execute("DELETE FROM projector.outbox")
    found = await bisect("followersCount", A)
    assert (found["stored"], found["counted"], found["true"]) == (3, 4, 4)
    assert found["log_offset"] == 15
    assert found["certain"][0] == (
        "the rows are what the log says, 4; the counter says 3 (stored 3, pending +0)"
    )
    assert (await bisect("followsCount", B))["log_offset"] == 17
    # Then it counts again: the log was at 2 for the last time before E came. That is inferred.
    await append(database, [follow(28, 4, 0, what="delete")])
    await project(database)
    found = await bisect("followersCount", A)
    assert (found["stored"], found["counted"], found["log_offset"]) == (2, 3, 14)
    assert "left out some events and followed others, it may be another" in found["inferred"][0]


@pytest.mark.usefixtures("ready")
async def test_beside_a_running_daemon_nothing_seems_to_part(
    database: Database, bisect: Bisect
) -> None:
    """Rows, deltas and checkpoint are of one moment, whatever is applied meanwhile."""
    events = [
        follow(number, number % 4, number % 2, rkey=number % 5, what=what)
        for number in range(1, 601)
        for what in ["delete" if number % 7 == 3 else "create"]
    ]
    await append(database, events)
    daemon = asyncio.create_task(project(database, window_events=20))
    seen = set()
    while True:
        last = daemon.done()
        for name, key in (("followersCount", A), ("followsCount", B), ("follow", uri(C, 1))):
            try:
                found = await bisect(name, key)
            except UsageError:
                assert not last  # Nothing has been applied yet.
                continue
            assert not found["parted"], found
            seen.add(found["through"])
        if last:
            break
    await daemon
    assert max(seen) == 600


async def test_names_and_keys_that_nobody_knows(told: Place, bisect: Bisect) -> None:
    for name, key, said in (
        ("follows", A, "no counter is named follows"),
        ("followersCount", "did:plc:nobody", "nothing ever counted for 'did:plc:nobody'"),
        ("follow", uri(E), "never had a row"),
        ("follow", E, f"{E!r} is no record of follow; write at://did:…/app.bsky.graph.follow/…"),
    ):
        with pytest.raises(UsageError) as raised:
            await bisect(name, key)
        assert said in str(raised.value)
    ended = await told.run("bisect", "like", uri(C))
    assert ended.code == 2
    assert "is no record of like" in ended.complaint
