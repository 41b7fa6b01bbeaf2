"""Dead letters: listed, shown, tried again, dropped; a retry never undoes what came later."""

from __future__ import annotations

import json
import random
from typing import Any

from tests.support.cli import Place
from tests.support.lines import commit, nested, write
from tests.support.records import CID, DID, follow
from tests.support.watch import Watch

LETTER = {
    "id", "stage", "reason", "error", "projection", "log_offset", "source", "source_cursor",
    "attempts", "created_at", "raw_bytes",
}  # fmt: skip
INVALID = follow(subject="nobody")
OTHER = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"


async def letters_of(place: Place, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await place.json("dead-letters", "list", *words)
    assert all(letter.keys() == LETTER for letter in found)
    return found


async def project(place: Place, lines: list[bytes], *words: str) -> None:
    """The lines into the log and, an event at a time, into tables."""
    await place.ok("ingest", write(place.folder / "lines.jsonl", lines), *words)
    await place.ok("run", "--until-caught-up", "--window-events-max", "1")


async def test_a_record_that_stays_invalid_stays_a_letter(ready: Place, watch: Watch) -> None:
    await project(ready, [commit(1, INVALID), commit(2, follow(), rkey="3lb4rbqituaaa")])
    (letter,) = await letters_of(ready)
    assert (letter["projection"], letter["log_offset"]) == ("follow", 1)
    assert (letter["stage"], letter["reason"]) == ("validate", "invalid-record")
    assert "subject" in letter["error"]
    number = str(letter["id"])
    shown = await ready.json("dead-letters", "show", number)
    assert shown.keys() == {"letter", "raw"}
    assert json.loads(shown["raw"]) == INVALID
    told = await ready.ok("dead-letters", "show", number)
    assert "invalid-record" in told.text
    assert json.dumps(INVALID) in told.text

    tried = await ready.run("dead-letters", "retry", number, "--json")
    assert tried.code == 1
    (result,) = tried.json
    assert result.keys() == {"id", "resolved", "error"}
    assert (result["id"], result["resolved"]) == (letter["id"], False)
    assert "1 dead letter" in tried.complaint
    (letter,) = await letters_of(ready, "--of", "follow", "--reason", "invalid-record")
    assert letter["attempts"] == 2
    assert await letters_of(ready, "--of", "like") == []
    status = await ready.json("status")
    assert "1 dead letter" in status["sentence"]

    assert await ready.json("dead-letters", "drop", "--of", "like") == {"dropped": 0}
    assert await ready.json("dead-letters", "drop", number) == {"dropped": 1}
    assert await letters_of(ready) == []
    assert await watch.count("SELECT count(*) FROM bsky.follow") == 1


async def test_a_letter_stays_whatever_came_after_it(ready: Place, watch: Watch) -> None:
    # Two further creates of the key cannot be folded into one window: the retry goes on in parts.
    lines = [
        commit(1, INVALID),
        commit(2, follow()),
        commit(3, follow(subject=OTHER)),
    ]
    await project(ready, lines)
    (letter,) = await letters_of(ready)
    tried = await ready.run("dead-letters", "retry", str(letter["id"]), "--json")
    assert (tried.code, tried.json[0]["resolved"]) == (1, False)
    assert [x["id"] for x in await letters_of(ready)] == [letter["id"]]

    await accept(watch, 1)
    await ready.ok("dead-letters", "retry", str(letter["id"]))
    assert await letters_of(ready) == []
    assert await watch.rows('SELECT "subjectDid" FROM bsky.follow') == [(OTHER,)]


async def test_what_postgres_still_refuses_stays_a_letter(ready: Place) -> None:
    # Valid, but no index of Postgres takes a subject of so many random characters.
    noise = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz234567", k=8000))
    subject = {"uri": f"at://{OTHER}/app.bsky.feed.post/3lb4rbqituaaa#/{noise}", "cid": CID}
    like = {**follow(), "$type": "app.bsky.feed.like", "subject": subject}
    await project(ready, [commit(1, like, collection="app.bsky.feed.like")])
    (letter,) = await letters_of(ready)
    assert (letter["projection"], letter["stage"]) == ("like", "apply")
    tried = await ready.run("dead-letters", "retry", str(letter["id"]), "--json")
    assert (tried.code, tried.json[0]["resolved"]) == (1, False)
    assert [x["attempts"] for x in await letters_of(ready)] == [2]


async def accept(watch: Watch, offset: int) -> None:
    """As if a newer program took the record: in the log it becomes a valid one."""
    await watch.execute(
        "UPDATE projector.event_log SET record = $2 WHERE log_offset = $1",
        offset, json.dumps(follow(subject=OTHER)).encode(),
    )  # fmt: skip


async def test_a_record_that_a_newer_program_takes_is_applied_and_counted(
    ready: Place, watch: Watch
) -> None:
    await project(ready, [commit(1, INVALID), commit(2, follow(), rkey="3lb4rbqituaaa")])
    await accept(watch, 1)
    assert "1 of 1 dead letters resolved" in (await ready.ok("dead-letters", "retry", "--all")).text
    assert await letters_of(ready) == []
    await ready.ok("run", "--until-caught-up")
    assert await watch.rows('SELECT "subjectDid" FROM bsky.follow ORDER BY uri') == [
        (DID,),
        (OTHER,),
    ]
    assert (await ready.json("verify"))["differences"] == []
    assert await watch.rows('SELECT did, "followersCount", "followsCount" FROM bsky.profile_agg'
                            " ORDER BY did") == [(OTHER, 1, 0), (DID, 1, 2)]  # fmt: skip


async def test_a_retry_never_brings_back_what_a_later_event_decided(
    ready: Place, watch: Watch
) -> None:
    newest = "did:plc:ragtjsm2j2vknwkz3zp4oxrd"
    replaced, removed = "3lb4rbqituaaa", "3lb4rbqitubbb"
    await project(
        ready,
        [
            commit(1, INVALID, rkey=removed),
            commit(2, INVALID, rkey=replaced),
            commit(3, None, rkey=removed),
            commit(4, follow(subject=newest), rkey=replaced),
        ],
    )
    for offset in (1, 2):
        await accept(watch, offset)
    results = await ready.json("dead-letters", "retry", "--reason", "invalid-record")
    assert [result["resolved"] for result in results] == [True, True]
    await ready.ok("run", "--until-caught-up")
    assert await watch.rows('SELECT "subjectDid" FROM bsky.follow') == [(newest,)]
    assert (await ready.json("verify"))["differences"] == []


async def test_a_message_is_decoded_again_under_other_limits(ready: Place, watch: Watch) -> None:
    deep = commit(1, follow(extra=nested(80)))
    source = write(ready.folder / "deep.jsonl", [deep, b"no json"])
    done = await ready.json("ingest", source)
    assert (done["events"], done["undecodable"]) == (0, 2)
    letters = await letters_of(ready, "--of", source)
    assert [letter["stage"] for letter in letters] == ["decode", "decode"]
    assert {letter["raw_bytes"] for letter in letters} == {len(deep), len(b"no json")}
    (first,) = (letter["id"] for letter in letters if letter["raw_bytes"] == len(deep))

    tried = await ready.run("dead-letters", "retry", str(first))
    assert tried.code == 1
    assert f"{first}: " in tried.text
    assert await watch.head() == 0

    tried = await ready.run("dead-letters", "retry", "--all", "--nesting-levels-max", "200")
    assert tried.code == 1
    assert "1 of 2 dead letters resolved" in tried.text
    assert await watch.head() == 1
    assert [letter["raw_bytes"] for letter in await letters_of(ready)] == [len(b"no json")]
    await ready.ok("run", "--until-caught-up")
    assert await watch.count("SELECT count(*) FROM bsky.follow") == 1
    assert (await ready.json("verify"))["differences"] == []
