"""`projector explain`: the numbers, and the events that made them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from events.event import Batch, Event
from events.log import Appender
from projector.database import Database
from projector.explain import Explanation, explain
from projector.history import History, read_history
from projector.watch import find_counter
from tests.explain.told import MOVES, STORY, A, B, C, follow, uri
from tests.support.cli import Place
from tests.support.engine import DECLARATIONS, append, project
from tests.support.histories import DIDS, LIKE, POST, made
from tests.support.watch import Watch

KEYS = {
    "counter", "key", "projection", "column", "stored", "pending", "counted", "kept", "agrees",
    "checkpoint", "head", "movements", "repeats", "duplicates", "duplicates_total",
    "dead_letters", "searched", "advice",
}  # fmt: skip
MENTION = b'{"$type":"app.bsky.graph.follow","subject":"%s","createdAt":5}' % A.encode()


def as_bytes(event: Event, record: bytes) -> Event:
    return msgspec.structs.replace(event, record=record)


@pytest.mark.both_servers
async def test_a_number_is_explained(ready: Place, database: Database) -> None:
    waiting = follow(14, 2, 0, rkey=4)
    refused = as_bytes(follow(15, 4, 0), MENTION)
    await append(database, [*STORY, waiting, refused])
    await project(database)
    found = await ready.json("explain", "followersCount", A)
    assert found.keys() == KEYS
    assert (found["counter"], found["key"]) == ("profile_agg.followersCount", A)
    assert (found["projection"], found["column"]) == ("follow", "subjectDid")
    assert (found["stored"], found["pending"], found["counted"]) == (2, [], 2)
    assert (found["kept"], found["agrees"], found["advice"]) == (2, True, None)
    assert (found["checkpoint"], found["head"]) == (15, 15)
    assert [(m["log_offset"], m["change"]) for m in found["movements"]] == MOVES[::-1]
    assert found["movements"][3] == {
        "log_offset": 10, "occurred_at": "2026-07-04T12:00:10Z", "did": DIDS[3],
        "kind": "account", "action": "deleted", "uri": None, "change": -1,
    }  # fmt: skip
    assert found["movements"][4] == {
        "log_offset": 9, "occurred_at": "2026-07-04T12:00:09Z", "did": C,
        "kind": "commit", "action": "delete", "uri": uri(C, 1), "change": -1,
    }  # fmt: skip
    assert found["repeats"] == 1
    assert found["searched"] == {"after": 0, "through": 15, "complete": True}
    assert found["duplicates_total"] == 1
    assert found["duplicates"] == [
        {"uri": uri(C, 4), "creator": C, "duplicate_of": uri(C, 3),
         "indexed_at": "2026-07-04T12:00:14.000Z"}
    ]  # fmt: skip
    (letter,) = found["dead_letters"]
    assert (letter["log_offset"], letter["reason"]) == (15, "invalid-record")
    assert letter["uri"] == uri(DIDS[4])

    told = (await ready.ok("explain", "profile_agg.followersCount", A, "--last", "2")).text
    assert "stored 2 + pending 0 = 2; rows of follow with this subjectDid: 2; they agree" in told
    assert "the latest 2 events that moved it" in told
    assert [line.split()[0] for line in told.splitlines() if "commit" in line] == ["13", "12"]
    assert "Looked through offsets 1 to 15: the whole log" in told
    assert "duplicates that wait and do not count: 1" in told

    # What B wrote, and B's own letter.
    found = await ready.json("explain", "followsCount", B)
    assert [(m["log_offset"], m["change"]) for m in found["movements"]] == [(1, 1)]
    assert [letter["log_offset"] for letter in found["dead_letters"]] == [8]


async def test_deltas_on_their_way_are_shown(ready: Place, database: Database) -> None:
    await append(database, STORY)
    await project(database, window_events=5, only=("follow",))
    await append(database, [follow(14, 1, 0, what="delete")])
    found = await ready.json("explain", "followersCount", A)
    # Three followers in the first window of five; in the second an account goes, and a follow; in
    # the third there is one more. The delete is yet to be applied.
    assert found["pending"] == [
        {"projection": "follow", "through_offset": 5, "change": 3},
        {"projection": "follow", "through_offset": 10, "change": -1},
        {"projection": "follow", "through_offset": 10, "change": -1},
        {"projection": "follow", "through_offset": 13, "change": 1},
    ]
    assert (found["stored"], found["kept"], found["counted"], found["agrees"]) == (0, 2, 2, True)
    assert (found["checkpoint"], found["head"]) == (13, 14)
    told = (await ready.ok("explain", "followersCount", A)).text
    assert "1 events of the log are still to be applied" in told


async def test_a_counter_that_is_off_says_what_to_type(
    ready: Place, database: Database, watch: Watch
) -> None:
    await append(database, STORY)
    await project(database)
    await watch.execute('UPDATE bsky.profile_agg SET "followersCount" = 7 WHERE did = $1', A)
    ended = await ready.run("explain", "followersCount", A, "--json")
    assert ended.code == 1
    assert (ended.json["stored"], ended.json["counted"], ended.json["agrees"]) == (7, 2, False)
    assert f"says 7 and its rows are 2; run: projector heal {A}" in ended.complaint
    assert "projector bisect profile_agg.followersCount" in ended.json["advice"]


async def test_a_bounded_search_says_so(ready: Place, database: Database) -> None:
    await append(database, STORY)
    await project(database)
    found = await ready.json("explain", "followersCount", A, "--search-events", "3")
    assert found["searched"] == {"after": 10, "through": 13, "complete": False}
    assert [m["log_offset"] for m in found["movements"]] == [13, 12, 11]
    told = (await ready.ok("explain", "followersCount", A, "--search-events", "3")).text
    assert "Looked through offsets 11 to 13. The deletion of a record from before" in told
    # Of the account itself all events are known for its own: nothing is left out.
    found = await ready.json("explain", "followsCount", C, "--search-events", "3")
    assert found["searched"]["complete"]
    assert [m["log_offset"] for m in found["movements"]] == [13, 9, 2]


SUBJECT = f"at://{A}/{POST}/r0"


def like(number: int, spelling: bytes) -> Event:
    """A like of the same record by another account, whose JSON spells it in another way."""
    record = (
        b'{"$type":"app.bsky.feed.like","createdAt":"2026-07-04T12:00:00.000Z","subject":{"cid":'
        b'"bafyreifrjjaql326rqg7edfj7as24eptuuc3tdod3q6vlxie74hoouyzbu","uri":"%s"}}' % spelling
    )
    return as_bytes(made(number, "create", LIKE, account=number), record)


async def test_the_key_is_found_however_json_writes_it(ready: Place, database: Database) -> None:
    plain = SUBJECT.encode()
    spellings = [plain, plain.replace(b"/", rb"\/"), plain.replace(b":", rb"\u003a"),
                 plain.replace(b"/", rb"\u002F")]  # fmt: skip
    events = [like(number, spelling) for number, spelling in enumerate(spellings, 1)]
    await append(database, events)
    await project(database)
    found = await ready.json("explain", "likeCount", SUBJECT)
    assert [m["log_offset"] for m in found["movements"]] == [4, 3, 2, 1]
    assert found["counted"] == 4


async def test_names_that_nobody_knows(ready: Place, database: Database) -> None:
    ended = await ready.run("explain", "fans", A)
    assert ended.code == 2
    assert ended.complaint == (
        "no counter is named fans; there are: post_agg.likeCount, post_agg.repostCount, "
        "post_agg.replyCount, post_agg.quoteCount, profile_agg.followersCount, "
        "profile_agg.followsCount, profile_agg.postsCount"
    )
    ended = await ready.run("explain", "followersCount", "did:plc:nobody")
    assert ended.code == 2
    assert "nothing ever counted for 'did:plc:nobody'" in ended.complaint


async def answers(database: Database, key: str) -> tuple[Explanation, History, Explanation]:
    """What the commands say of a key, and of one that only a dead letter mentions."""
    counter = find_counter("followersCount", DECLARATIONS)
    connection = await database.connect("test explain")

    async def explained(key: str) -> Explanation:
        return await explain(connection, counter, key, "bsky", report=silent)

    try:
        course = await read_history(connection, counter, key, report=silent)
        return await explained(key), course, await explained(A)
    finally:
        await connection.close()


def silent(done: int, total: int) -> None:
    """Nobody is shown how far it is."""


async def test_an_archived_log_gives_the_same_answers(
    tmp_path: Path, database: Database, watch: Watch
) -> None:
    place = Place(tmp_path, "--database", database.url)
    few = ("--partition-events", "300", "--recent-events", "0")
    await place.ok("init", *few)
    connection = await database.connect("test")
    appender = Appender(connection, "test", partition_events=300)
    await appender.open()
    await appender.append(Batch("1", [as_bytes(follow(1, 1, 0), MENTION)]))
    await connection.close()
    await place.ok("ingest", "generate:events=2000,seed=5", *few)
    await place.ok("run", "--until-caught-up")
    ((key, count),) = await watch.rows(
        'SELECT "subjectDid"::text, count(*) FROM bsky.follow GROUP BY 1 ORDER BY 2 DESC LIMIT 1'
    )
    before = await answers(database, key)
    assert before[0].numbers.counted == before[1].value == count > 2
    assert [letter.uri for letter in before[2].numbers.dead_letters] == [uri(B)]
    await place.ok("archive", "--to", str(tmp_path / "archive"), "--keep-events", "300", *few)
    assert await watch.count("SELECT min(first_offset) FROM projector.log_partition") > 1000
    assert await answers(database, key) == before
