"""`projector bisect`: where a counter or a row parted from the log, after damage of every kind."""

from __future__ import annotations

from typing import Any

import pytest

from projector.database import Database
from tests.explain.told import STORY, A, B, C, follow, uri
from tests.support.cli import Place
from tests.support.engine import append, project
from tests.support.histories import CIDS, DIDS
from tests.support.watch import Watch

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


async def parted(place: Place, name: str, key: str) -> dict[str, Any]:
    """What a bisect finds that finds something."""
    ended = await place.run("bisect", name, key, "--json")
    assert ended.code == 1, ended.err
    found: dict[str, Any] = ended.json
    assert found.keys() == KEYS
    assert found["parted"]
    where = f"at {found['log_offset']}" if found["log_offset"] else "at no offset of the log"
    assert ended.complaint == (
        f"{found['of']} of {key} parted from the log {where}; run: {found['advice']}"
    )
    return found


async def test_what_agrees_has_not_parted(told: Place) -> None:
    found = await told.json("bisect", "followersCount", A)
    assert found.keys() == KEYS
    assert (found["parted"], found["log_offset"], found["advice"]) == (False, None, None)
    assert (found["stored"], found["counted"], found["true"], found["through"]) == (2, 2, 2, 13)
    found = await told.json("bisect", "follow", uri(D))
    assert (found["parted"], found["rows"]) == (False, [])
    assert found["certain"] == ["the row is what the log says since offset 12"]
    for key in (uri(C), uri(C, 1)):
        assert not (await told.json("bisect", "follow", key))["parted"]


async def test_a_row_that_is_missing(told: Place, watch: Watch) -> None:
    # Invariant 7 does not notice: row and count go together.
    await watch.execute("DELETE FROM bsky.follow WHERE uri = $1", uri(C, 3))
    await watch.execute('UPDATE bsky.profile_agg SET "followersCount" = 1 WHERE did = $1', A)
    found = await parted(told, "followersCount", A)
    row = {"uri": uri(C, 3), "kind": "missing", "log_offset": 13, "proven_through": None}
    assert (found["log_offset"], found["rows"], found["rows_total"]) == (13, [row], 1)
    assert (found["stored"], found["counted"], found["true"]) == (1, 1, 2)
    assert found["advice"] == f"projector heal {C}"
    found = await parted(told, "follow", uri(C, 3))
    assert (found["log_offset"], found["rows"]) == (13, [row])
    assert "from offset 0 to 12" in found["certain"][0]
    assert "by a change made by hand" in found["inferred"][0]

    # The audit saw all of the account right, later than that: it has been damaged since.
    await watch.execute("INSERT INTO projector.audit_account VALUES ($1, 1, 13, now())", C)
    found = await parted(told, "followersCount", A)
    assert found["rows"] == [row | {"proven_through": 13}]
    assert found["certain"][-1] == (
        "the rolling audit found 1 of the 1 right as of offset 13 or later: they have been made "
        "wrong after that"
    )
    shown = await told.run("bisect", "follow", uri(C, 3))
    assert "certain: offset 13 is the first event whose effect the row lacks" in shown.text
    assert "inferred: row and log parted at offset 13" in shown.text


async def test_rows_that_must_not_be_there(told: Place, watch: Watch) -> None:
    # As if the delete of C's second follow had never been applied.
    moment = "2026-07-04T12:00:03.000Z"
    await watch.execute("DELETE FROM bsky.follow WHERE uri = $1", uri(C, 3))
    await watch.execute(ADD, uri(C, 1), CIDS[0], C, A, moment)
    found = await parted(told, "followersCount", A)
    assert [(row["uri"], row["kind"], row["log_offset"]) for row in found["rows"]] == [
        (uri(C, 1), "extra", 9),
        (uri(C, 3), "missing", 13),
    ]
    assert found["log_offset"] == 9
    assert "1 are missing and 1 are there that must not be" in found["certain"][0]

    await watch.execute(ADD, uri(E), CIDS[0], E, A, moment)
    found = await parted(told, "followersCount", A)
    assert [row["log_offset"] for row in found["rows"]] == [9, 13, None]
    assert "1 of them no event of the log ever made" in found["certain"][1]
    found = await parted(told, "follow", uri(E))
    assert (found["log_offset"], found["rows"][0]["kind"]) == (None, "extra")
    assert "no event of the log is about it" in found["certain"][0]


async def test_a_row_left_at_an_earlier_state(told: Place, watch: Watch) -> None:
    # D follows A again, as by offset 11; offset 12 has changed that.
    await watch.execute(
        'UPDATE bsky.follow SET "subjectDid" = $2, cid = $3, "createdAt" = $4, "indexedAt" = $5'
        " WHERE uri = $1",
        uri(D), A, CIDS[0], "2026-07-04T11:59:59.999Z", "2026-07-04T12:00:11.000Z",
    )  # fmt: skip
    found = await parted(told, "follow", uri(D))
    assert (found["log_offset"], found["rows"][0]["kind"]) == (12, "altered")
    assert "from offset 11 to 11" in found["certain"][0]
    # And one that it never was.
    await watch.execute('UPDATE bsky.follow SET "createdAt" = $2 WHERE uri = $1', uri(D), "x")
    found = await parted(told, "follow", uri(D))
    assert (found["log_offset"], found["rows"][0]["kind"]) == (12, "altered")
    assert "never was like that" in found["certain"][0]


async def test_a_counter_that_is_off_by_one(told: Place, watch: Watch) -> None:
    await watch.execute('UPDATE bsky.profile_agg SET "followersCount" = 3 WHERE did = $1', A)
    found = await parted(told, "followersCount", A)
    # It was 3 from offset 5 to 8, and never again.
    assert (found["stored"], found["counted"], found["true"]) == (3, 2, 2)
    assert (found["log_offset"], found["rows"]) == (9, [])
    assert found["certain"][1] == ("the log's own value was 3 for the last time from offset 5 to 8")
    assert "offset 9 is the first event that the counter did not follow" in found["inferred"][0]
    assert found["advice"] == f"projector heal {A}"
    await watch.execute('UPDATE bsky.profile_agg SET "followersCount" = 9 WHERE did = $1', A)
    found = await parted(told, "followersCount", A)
    assert found["log_offset"] is None
    assert found["certain"][1] == "the log's own value was never 9"
    await watch.execute("DELETE FROM bsky.profile_agg WHERE did = $1", A)
    assert (await parted(told, "followersCount", A))["log_offset"] == 1


async def test_counting_that_stopped(ready: Place, database: Database, watch: Watch) -> None:
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
    found = await parted(ready, "followersCount", A)
    assert (found["stored"], found["counted"], found["true"]) == (3, 4, 4)
    assert found["log_offset"] == 15
    assert found["certain"][0] == (
        "the rows are what the log says, 4; the counter says 3 (stored 3, pending +0)"
    )
    assert (await parted(ready, "followsCount", B))["log_offset"] == 17
    # Then it counts again: the log was at 2 for the last time before E came. That is inferred.
    await append(database, [follow(28, 4, 0, what="delete")])
    await project(database)
    found = await parted(ready, "followersCount", A)
    assert (found["stored"], found["counted"], found["log_offset"]) == (2, 3, 14)
    assert "left out some events and followed others, it may be another" in found["inferred"][0]


async def test_names_and_keys_that_nobody_knows(told: Place) -> None:
    for name, key, said in (
        ("follows", A, "no counter is named follows"),
        ("followersCount", "did:plc:nobody", "nothing ever counted for 'did:plc:nobody'"),
        ("follow", uri(E), "never had a row"),
        ("like", uri(C), f"{uri(C)!r} is no record of like; write at://did:…/app.bsky.feed.like/…"),
    ):
        ended = await told.run("bisect", name, key)
        assert ended.code == 2
        assert said in ended.complaint
