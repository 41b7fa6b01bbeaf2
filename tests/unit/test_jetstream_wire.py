"""Jetstream messages to events and back: real ones, hostile ones, mutated ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from events.event import Decoded, Event, Limits, Skipped, Undecodable, Wanted
from events.jetstream_wire import JetstreamDecoder, decode, encode
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
TIME_US = 1731824491461334


def message(**changes: Any) -> bytes:
    return json.dumps({"did": DID, "time_us": TIME_US, "kind": "commit"} | changes).encode()


def commit(record: bytes = b'{"text":"x"}', **changes: Any) -> bytes:
    """A create; `record` goes in as it is."""
    told = {
        "rev": "3lb4rbqitunyc",
        "operation": "create",
        "collection": "app.bsky.feed.post",
        "rkey": "3lb4rbqitunyc",
        "record": "RECORD",
        "cid": CID,
    }
    return message(commit=told | changes).replace(b'"RECORD"', record)


def outcome(decoded: Decoded) -> str:
    if isinstance(decoded, Event):
        return "event"
    return f"dead:{decoded.reason}" if isinstance(decoded, Undecodable) else decoded.reason


# What each hostile input must come to: the longest prefix of its id decides.
HOSTILE = {
    # Surrogates, bad UTF-8 and NULs inside the record stay in its bytes; not in a key.
    "json-": "event",
    "nul-": "event",
    "nul-rkey": "dead:bad-rkey",
    # What a record says is for the projections to judge.
    "createdAt-": "event",
    "type-": "event",
    "post-": "event",
    "like-": "event",
    "follow-": "event",
    "profile-": "event",
    "listitem-": "event",
    "self-follow": "event",
    "zalgo": "event",
    "u2028": "event",
    "rkey-tilde-": "event",
    "rkey-valid-": "event",
    "rkey-invalid-": "dead:bad-rkey",
    "did-valid-": "event",
    "did-invalid-": "dead:bad-did",
    "did-mismatch": "dead:did-mismatch",
    "collection-real-odd-": "event",
    "collection-bad-": "dead:bad-collection",
    # Capitals are well-formed in an NSID (the conformance vectors have `FiVe`).
    "collection-bad-3": "event",
    # So are 304 characters: 317 are allowed, and the vectors accept 283 before the name.
    "collection-bad-6": "event",
    "env-": "dead:malformed",
    "env-dupkeys": "event",  # the last one counts
    "env-nokind": "dead:bad-kind",
    "env-old-format": "dead:bad-kind",
    "env-kind-unknown": "event",
    "env-kind-sync": "event",
    "env-commit-null": "dead:bad-commit",
    "env-did-null": "dead:bad-did",
    "env-error-frame": "dead:bad-did",
    "time_us-": "dead:bad-time",
    "time_us-2": "event",  # zero
    "account-": "event",
    "account-8": "dead:bad-account",  # status 5
    "account-9": "dead:bad-account",  # active null
    "account-10": "dead:bad-account",  # active absent
    "account-11": "dead:bad-account",  # active "yes"
    "identity-": "event",
}


def test_every_hostile_input_comes_to_what_it_must() -> None:
    inputs = hostile_inputs()
    assert len(inputs) == 186
    expected = {
        name: HOSTILE[max((key for key in HOSTILE if name.startswith(key)), key=len)]
        for name in inputs
    }
    assert {name: outcome(decode(raw)) for name, raw in inputs.items()} == expected


def test_hostile_records_are_kept_byte_for_byte() -> None:
    kept = 0
    for name, raw in hostile_inputs().items():
        event = decode(raw)
        if isinstance(event, Event) and event.kind == "commit":
            assert event.record == record_of(raw), name
            kept += 1
    assert kept > 100


def test_a_dead_letter_keeps_the_message() -> None:
    for raw in hostile_inputs().values():
        dead = decode(raw, "at-7")
        if isinstance(dead, Undecodable):
            assert (dead.raw, dead.source_cursor) == (raw, "at-7")
            assert dead.error
            assert "\n" not in dead.error


def test_hostile_accounts() -> None:
    inputs = hostile_inputs()
    actions = {}
    for number in range(8):
        event = decode(inputs[f"account-{number}"])
        assert isinstance(event, Event)
        actions[number] = (event.kind, event.action)
    statuses = ["deleted", "takendown", "suspended", "deactivated", "desynchronized", "throttled"]
    assert actions == dict(enumerate(("account", s) for s in [*statuses, "weird", "inactive"]))


def every_line() -> list[bytes]:
    return firehose_lines() + repo_lines() + golden_lines()


def test_real_messages_say_what_they_say() -> None:
    for raw in every_line():
        event, told = decode(raw), json.loads(raw)
        assert isinstance(event, Event)
        assert (event.did, event.kind) == (told["did"], told["kind"])
        seconds, micros = divmod(told["time_us"], 1_000_000)
        when = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
        assert (event.occurred_at, event.source_cursor) == (when, str(told["time_us"]))
        inner = told[event.kind]
        if event.kind == "commit":
            assert event.action == inner["operation"]
            assert (event.collection, event.rkey) == (inner["collection"], inner["rkey"])
            assert (event.rev, event.cid) == (inner["rev"], inner.get("cid"))
            assert event.record == record_of(raw)
            assert (event.record is None) == (event.action == "delete")
        else:
            assert raw.endswith(b'"%b":%b}' % (event.kind.encode(), event.record or b""))
            assert (event.collection, event.rkey, event.cid) == (None, None, None)


def test_real_accounts_and_identities() -> None:
    actions: dict[str, str] = {}
    for raw in every_line():
        told = json.loads(raw)
        event = decode(raw)
        assert isinstance(event, Event)
        if told["kind"] == "account":
            inner = told["account"]
            expected = "active" if inner["active"] else inner.get("status", "inactive")
            actions[event.action] = expected
        elif told["kind"] == "identity":
            actions[event.action] = "refresh"
    assert all(action == expected for action, expected in actions.items())
    assert {"active", "suspended", "takendown", "refresh"} <= actions.keys()


def test_records_still_hash_to_their_cids() -> None:
    proven = 0
    for raw in firehose_lines() + repo_lines():
        event = decode(raw)
        assert isinstance(event, Event)
        if event.kind == "commit" and event.record is not None:
            assert dag_cbor_cid(event.record) == event.cid
            proven += 1
    assert proven == 3520


def test_a_real_line_comes_back_from_encode_byte_for_byte() -> None:
    for raw in every_line():
        event = decode(raw)
        assert isinstance(event, Event)
        assert encode(event) == raw


def test_hostile_events_survive_a_round_trip() -> None:
    for name, raw in hostile_inputs().items():
        event = decode(raw)
        if isinstance(event, Event):
            assert decode(encode(event)) == event, name
            assert b"\n" not in encode(event)


def event_of(kind: str, action: str, record: bytes | None, rev: str | None = None) -> Event:
    when = int(datetime(2026, 1, 2, 3, 4, 5, 0, UTC).timestamp()) * 1_000_000 + 6
    return Event(0, DID, kind, action, None, None, rev, None, record, when, str(when))


@pytest.mark.parametrize(
    "event",
    [
        event_of("sync", "reset", b'{"did":"%b","rev":"3l"}' % DID.encode(), "3l"),
        event_of("sync", "backfilled", b'{"type":"repo","seq":-1,"rev":"3l"}', "3l"),
        event_of("account", "deleted", b'{ "status":"Deleted","active":false}'),
        event_of("identity", "refresh", b'{"handle":"\xff"}'),
        event_of("unknown", "labels", b'{"type":"labels","labels":[1]}'),
        event_of("unknown", "unknown", b'{"x":1}'),
    ],
)
def test_what_jetstream_does_not_send_survives_a_round_trip(event: Event) -> None:
    assert decode(encode(event)) == event


def test_an_unknown_event_may_hold_our_own_form_of_one() -> None:
    inner = event_of("unknown", "labels", b'{"x":1}')
    outer = event_of("unknown", "labels", encode(inner))
    assert decode(encode(outer)) == outer


def test_an_event_without_its_inner_object_gets_one() -> None:
    for event in (
        event_of("account", "takendown", None),
        event_of("account", "inactive", None),
        event_of("account", "active", None),
        event_of("identity", "refresh", None),
        event_of("sync", "reset", None, "3l"),
    ):
        back = decode(encode(event))
        assert isinstance(back, Event)
        assert (back.kind, back.action, back.rev) == (event.kind, event.action, event.rev)


def test_a_newline_between_tokens_becomes_a_space() -> None:
    event = decode(commit(b'{"a":\n1}'))
    assert isinstance(event, Event)
    assert event.record == b'{"a":\n1}'
    back = decode(encode(event))
    assert isinstance(back, Event)
    assert back.record == b'{"a": 1}'


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (commit(operation="archive"), "dead:bad-operation"),
        (commit(b"[]"), "dead:bad-record"),
        (commit(b"null"), "dead:bad-record"),
        (commit(b'"{}"'), "dead:bad-record"),
        (commit(cid=None), "event"),
        (commit(cid=5), "dead:bad-commit"),
        (commit(cid="a\0"), "dead:bad-commit"),
        (commit(rev="a\0"), "dead:bad-commit"),
        (commit(rev="r" * 257), "dead:bad-commit"),
        (commit(rkey=None), "dead:bad-commit"),
        (commit(rkey="r" * 512), "event"),
        (commit(rkey="r" * 513), "dead:bad-rkey"),
        (commit(collection="a.b.c\0"), "dead:bad-collection"),
        (commit(collection="a.b.\ud800"), "dead:malformed"),
        (commit(b'{"a":"\\ud800"}', rkey="\udfff"), "dead:malformed"),
        (commit(b'{"a":"\\ud800" 1}'), "dead:malformed"),
        (commit(b'{"a":"\\ud800","b":NaN}'), "dead:malformed"),
        (commit(b'{"a":"\\ud83d\\ude00","b":' + b"9" * 5000 + b"}"), "event"),
        (commit(b'{"a":"\\ud800","b":' + b"9" * 5000 + b"}"), "event"),
        (commit(b'{"a":"\x01"}'), "dead:malformed"),
        (commit(b'{"a":1e999}'), "event"),
        (message(time_us=True, commit={}), "dead:bad-time"),
        (message(time_us=253_402_300_799_999_998, kind="x"), "event"),
        (message(time_us=253_402_300_799_999_999, kind="x"), "dead:bad-time"),
        (message(kind=5), "dead:bad-kind"),
        (message(kind=""), "dead:bad-unknown"),
        (message(kind="a\0"), "dead:bad-unknown"),
        (message(kind="labels", commit=5, sync=7), "event"),
        (message(kind="commit"), "dead:bad-commit"),
        (message(kind="account"), "dead:bad-account"),
        (message(kind="identity", identity=[]), "dead:bad-identity"),
        (message(kind="sync", sync={"rev": 5}), "dead:bad-sync"),
        (message(kind="sync", sync={"did": "did:plc:a"}), "dead:did-mismatch"),
        (
            message(kind="account", account={"did": "did:plc:a", "active": True}),
            "dead:did-mismatch",
        ),
        (message(kind="account", account={"active": 1}), "dead:bad-account"),
        (message(kind="account", account={"active": False, "status": ""}), "dead:bad-account"),
        (message(kind="account", account={"active": False, "status": "a b"}), "dead:bad-account"),
        (
            message(kind="account", account={"active": False, "status": "active"}),
            "dead:bad-account",
        ),
        (b"{}", "dead:bad-did"),
        (b'{"did":', "dead:malformed"),
        (commit() + b"\0", "dead:malformed"),
        (commit() + b" \t\r", "event"),
        (b"[" * 100_000, "dead:malformed"),
        (commit(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "dead:too-deep"),
        (commit(b'{"a":"\\ud800","b":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "dead:malformed"),
    ],
)
def test_outcome(raw: bytes, expected: str) -> None:
    assert outcome(decode(raw)) == expected


def test_an_unknown_kind_is_kept_whole() -> None:
    raw = message(kind="Tombstone" + "x" * 100, tombstone={"a": 1})
    event = decode(raw)
    assert isinstance(event, Event)
    assert (event.kind, event.action, event.record) == ("unknown", "tombstone" + "x" * 55, raw)


def test_a_delete_has_neither_cid_nor_record() -> None:
    event = decode(commit(operation="delete"))
    assert isinstance(event, Event)
    assert (event.action, event.cid, event.record) == ("delete", None, None)


def test_status_and_sync() -> None:
    account = decode(message(kind="account", account={"active": False, "status": "TakenDown"}))
    assert isinstance(account, Event)
    assert account.action == "takendown"
    sync = decode(hostile_inputs()["env-kind-sync"])
    assert isinstance(sync, Event)
    assert (sync.kind, sync.action, sync.rev) == ("sync", "reset", "3lb4rbqitunyc")
    assert sync.removes_account


@pytest.mark.parametrize(
    ("levels", "expected"), [(64, "event"), (65, "dead:too-deep")], ids=["at", "beyond"]
)
def test_nesting(levels: int, expected: str) -> None:
    inside = levels - 1  # the record itself is the first level
    assert outcome(decode(commit(b'{"a":' + b"[" * inside + b"]" * inside + b"}"))) == expected
    objects = b'{"a":' * levels + b"1" + b"}" * levels
    assert outcome(decode(commit(objects))) == expected


def test_brackets_in_strings_and_in_a_row_are_no_nesting() -> None:
    text = b'{"a":"' + b'[{\\"[' * 500 + b'"}'
    assert outcome(decode(commit(text))) == "event"
    row = b'{"a":[' + b",".join([b"[{}]"] * 500) + b"]}"
    assert outcome(decode(commit(row))) == "event"


def test_limits() -> None:
    raw = commit()
    assert outcome(decode(raw, limits=Limits(message_bytes_max=len(raw)))) == "event"
    dead = decode(raw, limits=Limits(message_bytes_max=len(raw) - 1))
    assert isinstance(dead, Undecodable)
    assert (dead.reason, dead.raw) == ("too-large", raw[:-1])
    assert outcome(decode(raw, limits=Limits(rkey_bytes_max=12))) == "dead:bad-rkey"
    assert outcome(decode(raw, limits=Limits(did_bytes_max=31))) == "dead:bad-did"
    assert outcome(decode(raw, limits=Limits(collection_bytes_max=17))) == "dead:bad-collection"


def test_unwanted_collections_are_skipped_and_nothing_else_is() -> None:
    decoder = JetstreamDecoder(wanted=Wanted(["app.bsky.graph.*"]))
    for _ in range(2):  # the second time from memory
        assert decoder.decode(commit()) == Skipped("unwanted-collection")
        assert outcome(decoder.decode(commit(collection="app.bsky.graph.follow"))) == "event"
        assert outcome(decoder.decode(commit(collection="nonsense"))) == "dead:bad-collection"
    assert outcome(decoder.decode(message(kind="identity", identity={}))) == "event"
    assert outcome(decoder.decode(message(kind="labels"))) == "event"


def test_lines_are_decoded_like_single_messages() -> None:
    hostile = [raw for raw in hostile_inputs().values() if b"\n" not in raw]
    lines = firehose_lines() + hostile
    chunk = b"\n".join(lines) + b"\n"
    decoder = JetstreamDecoder()
    singly = [decode(line) for line in lines if line]
    assert decoder.decode_lines(chunk) == singly
    assert decoder.decode_lines(chunk.removesuffix(b"\n")) == singly
    assert decoder.decode_lines(b"") == []


def test_the_cursor_of_a_line_is_where_it_ends() -> None:
    line = message(kind="x")
    chunk = b"\n" + line + b"\n\n" + b" \n" + line
    decoded = JetstreamDecoder().decode_lines(chunk, 100)
    assert [outcome(item) for item in decoded] == ["event", "dead:malformed", "event"]
    ends = [item.source_cursor for item in decoded if not isinstance(item, Skipped)]
    assert ends == [str(100 + n) for n in (len(line) + 2, len(line) + 5, len(chunk))]
