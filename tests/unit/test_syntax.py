"""The syntax checks against the protocol's conformance vectors and the AppView's own verdicts."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import syntax
from tests.support.shared import SHARED_DATA, require_shared


def is_datetime(text: str) -> bool:
    return syntax.normal_datetime(text) is not None


def is_at_identifier(text: str) -> bool:
    return syntax.is_did(text) or syntax.is_handle(text)


CHECKS: dict[str, Callable[[str], bool]] = {
    "atidentifier": is_at_identifier,
    "aturi": syntax.is_at_uri,
    "cid": syntax.is_cid,
    "datetime": is_datetime,
    "did": syntax.is_did,
    "handle": syntax.is_handle,
    "language": syntax.is_language,
    "nsid": syntax.is_nsid,
    "recordkey": syntax.is_record_key,
    "tid": syntax.is_tid,
    "uri": syntax.is_uri,
}

# Where the AppView reads a format otherwise than the vectors do, its reading counts, for the
# tables are to be the AppView's. Nothing else may differ.
AS_THE_APPVIEW_HAS_IT = {
    # It wants a CID in its canonical text form: base32 for version 1.
    ("cid", "zdj7WWeQ43G6JJvLWQWZpyHuAMq6uYWRjkBXFad11vE2LHhQ7"): False,
    ("cid", "mBcDxtdWx0aWhhc2g+"): False,
    ("cid", "z7x3CtScH765HvShXT"): False,
    ("cid", "zdj7WhuEjrB52m1BisYCtmjH1hSKa7yZ3jEZ9JcXaFRD51wVz"): False,
    ("cid", "7134036155352661643226414134664076"): False,
    ("cid", "f017012202c5f688262e0ece8569aa6f94d60aad55ca8d9d83734e4a7430d0cff6588ec2b"): False,
    # The base58 text is the canonical one of a CID of version 0, so it passes.
    ("cid", "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR"): True,
    # It checks the grammar of language tags, not whether a subtag is repeated.
    ("language", "de-DE-1901-1901"): True,
    ("language", "en-rozaj-ROZAJ"): True,
    ("language", "en-a-foo-a-bar"): True,
    ("language", "en-u-co-phonebk-U-ca-buddhist"): True,
}


def vectors() -> Iterator[tuple[str, str, bool]]:
    """(format, text, whether the vectors call it valid)."""
    for path in sorted((SHARED_DATA / "interop" / "syntax").glob("*.txt")):
        name, _, verdict = path.stem.split("_")
        for line in path.read_text(encoding="utf-8").split("\n"):
            # One at-uri of the invalid ones starts with `#`; comments have a space after it.
            if line and not re.match(r"#( |$)", line) and line != "#de-419-DE":
                yield name, line, verdict == "valid"


def test_every_vector_is_judged_as_stated() -> None:
    require_shared()
    wrong, seen = [], 0
    for name, text, valid in vectors():
        seen += 1
        if CHECKS[name](text) is not AS_THE_APPVIEW_HAS_IT.get((name, text), valid):
            wrong.append((name, text, valid))
    assert wrong == []
    assert seen > 500


def test_the_exceptions_are_real_ones() -> None:
    require_shared()
    stated = {(name, text): valid for name, text, valid in vectors()}
    for vector, verdict in AS_THE_APPVIEW_HAS_IT.items():
        assert stated[vector] is not verdict


def datetimes_of_the_golden_scenario() -> list[tuple[str, str | None]]:
    """(createdAt of a post, what the AppView stored, None where it refused the post)."""
    with gzip.open(require_shared() / "golden" / "scenarios.jsonl.gz", "rt") as lines:
        scenarios = [json.loads(line) for line in lines]
    steps = next(s["steps"] for s in scenarios if s["scenario"] == "datetimes")
    return [(step["event"]["commit"]["record"]["createdAt"], stored_by(step)) for step in steps]


def stored_by(step: dict[str, Any]) -> str | None:
    if not step["accepted"]:
        return None
    uri_end = "/" + step["event"]["commit"]["rkey"]
    rows = [row for row in step["tables"]["post"] if row["uri"].endswith(uri_end)]
    return str(rows[0]["createdAt"])


def test_datetimes_are_stored_as_the_appview_stores_them() -> None:
    cases = datetimes_of_the_golden_scenario()
    assert [(text, syntax.normal_datetime(text)) for text, _ in cases] == cases
    assert len(cases) == 27


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("2024-01-01T00:00:00.9996Z", "2024-01-01T00:00:00.999Z"),
        ("2024-01-01T00:00:00.05Z", "2024-01-01T00:00:00.050Z"),
        ("2023-02-29T23:30:00.123-01:00", "2023-03-02T00:30:00.123Z"),
        ("2023-02-29T12:00:00.123Z", "2023-03-01T12:00:00.123Z"),
        ("2024-02-29T12:00:00.123Z", "2024-02-29T12:00:00.123Z"),
        ("2023-11-31T12:00:00.123Z", "2023-12-01T12:00:00.123Z"),
        ("1900-02-29T12:00:00.000Z", "1900-03-01T12:00:00.000Z"),
        ("2000-02-29T12:00:00+00:00", "2000-02-29T12:00:00.000Z"),
        ("0000-01-01T00:00:00-01:00", "0000-01-01T01:00:00.000Z"),
        ("0001-01-01T00:00:00+01:00", "0000-12-31T23:00:00.000Z"),
        ("0000-02-29T00:00:00Z", "0000-02-29T00:00:00.000Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
        ("9999-12-31T23:59:59.999+23:59", "9999-12-31T00:00:59.999Z"),
        ("2026-03-20T11:54:11.858354681+00:00", "2026-03-20T11:54:11.858Z"),
        ("2024-01-01T00:00:00+24:00", None),
        ("2024-01-01T00:00:00.000-00:00", None),
        ("2024-01-32T00:00:00Z", None),
        ("2024-01-00T00:00:00Z", None),
        ("2024-01-01T00:60:00Z", None),
        ("2024-01-01T00:00:00.Z", None),
        ("2024-01-01T00:00:00Z\n", None),
        ("2024-01-01T00:00:00.000Z\n", None),
        ("٢٠٢٤-01-01T00:00:00.000Z", None),
        ("2024-01-01T00:00:00." + "0" * 43 + "Z", "2024-01-01T00:00:00.000Z"),
        ("2024-01-01T00:00:00." + "0" * 44 + "Z", None),
    ],
)
def test_normal_datetime(text: str, stored: str | None) -> None:
    assert syntax.normal_datetime(text) == stored


@given(st.datetimes(), st.integers(-23 * 60 - 59, 23 * 60 + 59))
def test_an_offset_is_taken_off(moment: datetime, minutes: int) -> None:
    hours, rest = divmod(abs(minutes), 60)
    sign = "-" if minutes < 0 else "+"
    text = f"{moment.isoformat(timespec='microseconds')}{sign}{hours:02}:{rest:02}"
    try:
        expected = moment - timedelta(minutes=minutes)
    except OverflowError:
        return  # the years 0 and 10000, which Python does not have; stated one by one above
    assert syntax.normal_datetime(text) == expected.isoformat(timespec="milliseconds") + "Z"


PLC = "at://did:plc:t423oqsrtl5gtgdfxvye5gco"


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (PLC, True),
        (PLC + "/app.bsky.feed.post", True),
        (PLC + "/app.bsky.feed.post/3lb4rbqitunyc", True),
        (PLC + "/app.bsky.feed.post/3lb4rbqitunyc\n", False),
        (PLC + "/app.bsky.feed.post/3lb4rbqitunyc?a=b", False),
        (PLC + "/app.bsky.feed.post/..", False),
        (PLC + "/app.bsky.feed.post/..#/a", False),
        (PLC + "/app.bsky.feed.post/..a#/a", True),
        (PLC + "#/labels/a%20b", True),
        (PLC + "#/", True),
        (PLC + "#/a%zz", False),
        (PLC + "#/a%ff", False),
        (PLC + "/app.bsky.feed.post/" + "o" * 512, True),
        (PLC + "/app.bsky.feed.post/" + "o" * 513, False),
        ("at://did:web:" + "a" * 2040, True),
        ("at://did:web:" + "a" * 2041, False),
        ("at://" + "a." * 125 + "com", True),
        ("at://" + "a." * 126 + "com", False),
        (PLC + "#/" + "a" * (8192 - len(PLC) - 2), True),
        (PLC + "#/" + "a" * (8193 - len(PLC) - 2), False),
        ("", False),
    ],
)
def test_at_uri(text: str, valid: bool) -> None:
    assert syntax.is_at_uri(text) is valid


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("bafyreicqkujxixdlcphwgpoi2bltrtcxbshyydtu74eupubincmmlit4ry", True),
        # The last character carries two bits that must be zero.
        ("bafyreicqkujxixdlcphwgpoi2bltrtcxbshyydtu74eupubincmmlit4rz", False),
        ("bafyreicqkujxixdlcphwgpoi2bltrtcxbshyydtu74eupubincmmlit4r", False),
        ("bafyreicqkujxixdlcphwgpoi2bltrtcxbshyydtu74eupubincmmlit4ryaa", False),
        ("BAFYREICQKUJXIXDLCPHWGPOI2BLTRTCXBSHYYDTU74EUPUBINCMMLIT4RY", False),
        ("bAFYREICQKUJXIXDLCPHWGPOI2BLTRTCXBSHYYDTU74EUPUBINCMMLIT4RY", False),
        ("bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity", True),
        ("bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi", True),
        ("", False),
        ("b", False),
        ("ä" * 59, False),
    ],
)
def test_cid(text: str, valid: bool) -> None:
    assert syntax.is_cid(text) is valid


@pytest.mark.parametrize("check", CHECKS.values())
@given(text=st.text(st.characters()))
def test_no_text_makes_a_check_raise(check: Callable[[str], bool], text: str) -> None:
    assert check(text) in (True, False)


@given(
    st.from_regex(r"at://[a-z0-9:.%-]{0,12}(/[a-z.]{0,9}){0,3}(#/[a-z%0-9]{0,6})?", fullmatch=True)
)
def test_no_half_uri_makes_the_check_raise(text: str) -> None:
    assert syntax.is_at_uri(text) in (True, False)


@pytest.mark.parametrize(
    "text",
    ["en_US", "!!", "english-us-xx", "engl", "", "EN", "en-", "en-us-", "x", "en\n"],
)
def test_not_a_language(text: str) -> None:
    assert not syntax.is_language(text)
