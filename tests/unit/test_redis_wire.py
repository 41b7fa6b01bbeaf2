"""rsky's Redis messages to events and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import jetstream_wire
from events.event import Event, Limits, Skipped, Undecodable, Wanted
from events.redis_wire import RedisDecoder, decode, encode
from tests.support.corpus import (
    dag_cbor_cid,
    firehose_lines,
    golden_lines,
    hostile_inputs,
    record_of,
    repo_lines,
)

DID = "did:plc:t423oqsrtl5gtgdfxvye5gco"
CID = "bafyreifrjjaql326rqg7edfj7as24eptuuc3tdod3q6vlxie74hoouyzbu"
RECORD = (
    '{"$type":"app.bsky.feed.like","bytes":[1,2,255],"createdAt":"…",'
    '"subject":{"cid":"bafyreia","uri":"at://did:plc:a/app.bsky.feed.post/1"}}'
)
TIME = "2025-11-14T21:39:46.123456789+00:00"
WHEN = datetime(2025, 11, 14, 21, 39, 46, 123456, UTC)

# The examples of the format's description, with ids at full length.
HEAD = f'"seq":6322990094,"time":"{TIME}","did":"{DID}"'
PATH = f'"commit":"{CID}","rev":"3m5a","collection":"app.bsky.feed.like","rkey":"3m5k"'
CREATE = f'{{"type":"create",{HEAD},{PATH},"cid":"{CID}","record":{RECORD}}}'.encode()
UPDATE = CREATE.replace(b'"create"', b'"update"')
DELETE = f'{{"type":"delete",{HEAD},{PATH}}}'.encode()
REPO = (
    f'{{"type":"repo","seq":-1,"time":"{TIME}","did":"{DID}","commit":"{CID}","rev":"3m5a"}}'
).encode()
ACCOUNT = f'{{"type":"account",{HEAD},"active":false,"status":"Deactivated"}}'.encode()
IDENTITY = f'{{"type":"identity",{HEAD},"handle":"alice.test"}}'.encode()
EXAMPLES = [CREATE, UPDATE, DELETE, REPO, ACCOUNT, IDENTITY]


def event_of(raw: bytes) -> Event:
    event = decode(raw, "7-1")
    assert isinstance(event, Event), event
    assert event.source_cursor == "7-1"
    return event


def reason_of(raw: bytes) -> str:
    dead = decode(raw, "7-1")
    assert isinstance(dead, Undecodable), dead
    assert (dead.raw, dead.source_cursor) == (raw, "7-1")
    return dead.reason


@pytest.mark.parametrize(
    ("raw", "kind", "action", "rev"),
    [
        (REPO, "sync", "backfilled", "3m5a"),
        (REPO.replace(b'"repo"', b'"sync"'), "sync", "reset", "3m5a"),
        (ACCOUNT, "account", "deactivated", None),
        (ACCOUNT.replace(b'"Deactivated"', b"null"), "account", "inactive", None),
        (ACCOUNT.replace(b',"status":"Deactivated"', b""), "account", "inactive", None),
        (ACCOUNT.replace(b"false", b"true"), "account", "active", None),
        (IDENTITY, "identity", "refresh", None),
        (IDENTITY.replace(b'"alice.test"', b"null"), "identity", "refresh", None),
        (IDENTITY.replace(b'"seq":6322990094,', b""), "identity", "refresh", None),
        (IDENTITY.replace(b'"identity"', b'"Handle"'), "unknown", "handle", None),
        (IDENTITY.replace(b'"identity"', b'"unknown"'), "unknown", "unknown", None),
    ],
)
def test_what_is_no_commit(raw: bytes, kind: str, action: str, rev: str | None) -> None:
    when = (WHEN, None, None, None)
    event = event_of(raw)
    assert (event.kind, event.action, event.rev) == (kind, action, rev)
    assert (event.occurred_at, event.collection, event.rkey, event.cid) == when
    # The message is flat: it is itself what Jetstream would have as the inner object.
    assert event.record == raw


@pytest.mark.parametrize("raw", [CREATE, UPDATE], ids=["create", "update"])
def test_create_and_update(raw: bytes) -> None:
    event = event_of(raw)
    assert (event.did, event.kind, event.action) == (DID, "commit", json.loads(raw)["type"])
    assert (event.collection, event.rkey) == ("app.bsky.feed.like", "3m5k")
    assert (event.rev, event.cid, event.occurred_at) == ("3m5a", CID, WHEN)
    assert event.record == RECORD.encode()


def test_delete() -> None:
    event = event_of(DELETE)
    assert (event.action, event.rkey, event.rev) == ("delete", "3m5k", "3m5a")
    assert (event.cid, event.record) == (None, None)


@pytest.mark.parametrize("seq", [b"-1", b"0", b"9223372036854775808", b'"x"', b"null"])
def test_the_seq_does_not_matter(seq: bytes) -> None:
    assert event_of(CREATE.replace(b"6322990094", seq)) == event_of(CREATE)


def test_empty_and_null_are_absent() -> None:
    for cid in (b'""', b"null"):
        event = event_of(
            CREATE.replace(b'"cid":"%b","record"' % CID.encode(), b'"cid":%b,"record"' % cid)
        )
        assert event.cid is None
    assert event_of(DELETE.replace(b'"3m5a"', b'""')).rev is None


def test_unknown_members_are_passed_over() -> None:
    more = CREATE[:-1] + b',"blobs":[{}],"kind":5,"host":null}'
    assert event_of(more) == event_of(CREATE)


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2025-11-14T21:39:46Z", "2025-11-14T21:39:46+00:00"),
        ("2025-11-14t21:39:46.5z", "2025-11-14T21:39:46.500000+00:00"),
        ("2025-11-14 21:39:46.1234567+00:00", "2025-11-14T21:39:46.123456+00:00"),
        ("2025-11-14T21:39:46.999999999+05:30", "2025-11-14T16:09:46.999999+00:00"),
        ("2025-01-01T00:00:00.000001-23:59", "2025-01-01T23:59:00.000001+00:00"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00+00:00"),
        ("9999-12-31T23:59:59.999998999Z", "9999-12-31T23:59:59.999998+00:00"),
        ("1969-12-31T23:59:59.999999Z", None),
        ("1970-01-01T00:00:00+00:01", None),
        ("9999-12-31T23:59:59-00:01", None),
        ("9999-12-31T23:59:59.999999Z", None),
        ("0000-01-01T00:00:00Z", None),
        ("2025-02-29T00:00:00Z", None),
        ("2025-11-14T24:00:00Z", None),
        ("2025-11-14T21:39:60Z", None),
        ("2025-11-14T21:39:46", None),
        ("2025-11-14", None),
        ("2025-W46-5T21:39:46Z", None),
        ("2025-11-14T21:39:46.1234567891Z", None),
        ("٢025-11-14T21:39:46Z", None),
        ("", None),
    ],
)
def test_time(time: str, expected: str | None) -> None:
    raw = DELETE.replace(TIME.encode(), time.encode())
    if expected is None:
        assert reason_of(raw) == "bad-time"
    else:
        assert event_of(raw).occurred_at == datetime.fromisoformat(expected)
        assert event_of(raw).occurred_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "malformed"),
        (b"[]", "malformed"),
        (CREATE + CREATE, "malformed"),
        (b"\xef\xbb\xbf" + CREATE, "malformed"),
        (CREATE[:-1], "malformed"),
        (b"{}", "bad-did"),
        (CREATE.replace(DID.encode(), b"did:x"), "bad-did"),
        (CREATE.replace(b'"%b"' % DID.encode(), b"5"), "bad-did"),
        (CREATE.replace(b'"%b"' % TIME.encode(), b"5"), "bad-time"),
        (CREATE.replace(b'"type":"create",', b""), "bad-kind"),
        (CREATE.replace(b'"3m5k"', b"null"), "bad-commit"),
        (CREATE.replace(b'"3m5k"', b'"a/b"'), "bad-rkey"),
        (CREATE.replace(b',"rkey":"3m5k"', b""), "bad-rkey"),
        (CREATE.replace(b'"3m5k"', b'"a\\u0000"'), "bad-rkey"),
        (CREATE.replace(b'"3m5a"', b'"a\\u0000"'), "bad-commit"),
        (CREATE.replace(b'app.bsky.feed.like","rkey', b'like","rkey'), "bad-collection"),
        (CREATE.replace(RECORD.encode(), b"[]"), "bad-record"),
        (CREATE.replace(b',"record":' + RECORD.encode(), b""), "bad-record"),
        (CREATE.replace(RECORD.encode(), b'{"a":' * 65 + b"1" + b"}" * 65), "too-deep"),
        (CREATE.replace(RECORD.encode(), b"[" * 100_000 + b"]" * 100_000), "too-deep"),
        (ACCOUNT.replace(b"false", b"null"), "bad-account"),
        (ACCOUNT.replace(b"false", b'"no"'), "bad-account"),
        (ACCOUNT.replace(b'"Deactivated"', b"5"), "bad-account"),
        (ACCOUNT.replace(b"Deactivated", b"a b"), "bad-account"),
        (REPO.replace(b'"3m5a"', b"5"), "bad-repo"),
        (REPO.replace(b'"3m5a"', b'"\\u0000"'), "bad-sync"),
        (IDENTITY.replace(b'"identity"', b'""'), "bad-unknown"),
    ],
)
def test_dead_letters(raw: bytes, reason: str) -> None:
    assert reason_of(raw) == reason


def test_an_unknown_type_may_have_what_it_likes() -> None:
    raw = IDENTITY[:-1].replace(b'"identity"', b'"labels"') + b',"rkey":5}'
    event = event_of(raw)
    assert (event.kind, event.action, event.record) == ("unknown", "labels", raw)


def test_a_record_that_msgspec_does_not_read_is_kept() -> None:
    for record in (b'{"a":"\\ud800"}', b'{"a":"\xff"}', b'{"\\udfff" : [1]}'):
        assert event_of(CREATE.replace(RECORD.encode(), record)).record == record


def test_limits_and_wanted() -> None:
    dead = decode(CREATE, "7-1", Limits(message_bytes_max=100))
    assert isinstance(dead, Undecodable)
    assert (dead.reason, dead.raw) == ("too-large", CREATE[:100])
    assert decode(CREATE, "7-1", wanted=Wanted(["a.b.c"])) == Skipped("unwanted-collection")


def facts(event: Event) -> tuple[Any, ...]:
    """Everything that the wire form carries."""
    key = (event.did, event.kind, event.action, event.collection, event.rkey)
    return (*key, event.rev, event.cid, event.record, event.occurred_at)


def test_jetstream_events_survive_the_way_through_redis() -> None:
    raws = firehose_lines() + repo_lines() + golden_lines("whole") + [*hostile_inputs().values()]
    kinds, proven = set(), 0
    for raw in raws:
        event = jetstream_wire.decode(raw)
        if not isinstance(event, Event):
            continue
        back = event_of(encode(event))
        assert facts(back) == facts(event)
        kinds.add((back.kind, back.action))
        if back.kind == "commit" and back.record is not None:
            assert back.record == record_of(raw)
            proven += 1
    assert proven > 9000
    commits = {("commit", "create"), ("commit", "update"), ("commit", "delete")}
    others = {("account", "inactive"), ("identity", "refresh"), ("sync", "reset")}
    assert commits | others | {("unknown", "tombstone"), ("account", "weird")} <= kinds


def test_records_through_redis_still_hash_to_their_cids() -> None:
    for raw in firehose_lines():
        event = jetstream_wire.decode(raw)
        assert isinstance(event, Event)
        back = event_of(encode(event))
        if back.kind == "commit" and back.record is not None:
            assert dag_cbor_cid(back.record) == json.loads(raw)["commit"]["cid"]


@pytest.mark.parametrize("raw", EXAMPLES)
def test_redis_events_survive_both_wires(raw: bytes) -> None:
    event = event_of(raw)
    assert facts(event_of(encode(event))) == facts(event)
    through = jetstream_wire.decode(jetstream_wire.encode(event), "7-1")
    assert through == event


def test_the_form_is_that_of_the_description() -> None:
    micros = TIME.replace("123456789", "123456").encode()
    unknown_commit = b'"commit":""'
    for raw in (CREATE, UPDATE, DELETE):
        expected = raw.replace(TIME.encode(), micros).replace(b"6322990094", b"0")
        expected = expected.replace(f'"commit":"{CID}"'.encode(), unknown_commit)
        assert encode(event_of(raw)) == expected
    for raw in (ACCOUNT, IDENTITY):
        expected = raw.replace(TIME.encode(), micros)
        assert encode(event_of(raw)) == expected[:-1] + b',"record":' + raw + b"}"
    expected = REPO.replace(TIME.encode(), micros)
    expected = expected.replace(f'"commit":"{CID}"'.encode(), unknown_commit)
    assert encode(event_of(REPO)) == expected[:-1] + b',"record":' + REPO + b"}"


def test_only_a_backfill_has_the_seq_of_one() -> None:
    for raw in (ACCOUNT, IDENTITY, REPO.replace(b'"repo"', b'"sync"')):
        live = event_of(raw.replace(b"6322990094", b"-1"))
        assert json.loads(encode(live))["seq"] == 0
    assert json.loads(encode(event_of(REPO)))["seq"] == -1
    assert json.loads(encode(event_of(IDENTITY)))["seq"] == 6322990094


def test_an_unknown_event_is_carried_whole() -> None:
    raw = IDENTITY.replace(b'"identity"', b'"labels"')
    entry = json.loads(encode(event_of(raw)))
    assert (entry["type"], entry["kind"], entry["record"]) == ("unknown", "labels", json.loads(raw))
    assert facts(event_of(encode(event_of(raw)))) == facts(event_of(raw))


@given(st.data())
def test_no_mutation_makes_it_raise(data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from(EXAMPLES)))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(raw)))
        end = data.draw(st.integers(start, min(len(raw), start + 3)))
        raw[start:end] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"{", b"\\ud800"])
        )
    event = RedisDecoder().decode(bytes(raw), "7-1")
    assert isinstance(event, Event | Undecodable)
    if isinstance(event, Event):
        assert (event.record or b"") in bytes(raw)
        assert facts(event_of(encode(event))) == facts(event)


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(raw: bytes) -> None:
    assert isinstance(decode(raw, "7-1"), Event | Undecodable)
