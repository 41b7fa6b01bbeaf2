"""Syntax of the AT Protocol's string formats: one anchored regular expression each.

The rules are those of the protocol's own conformance vectors, except where the Bluesky AppView
reads them otherwise; such a place says so. Every check takes any `str` and never raises.
"""

from __future__ import annotations

import base64
import re
from datetime import datetime, timedelta
from urllib.parse import unquote_to_bytes

import libipld

DID_CHARS_MAX = 2048
HANDLE_CHARS_MAX = 253
NSID_CHARS_MAX = 317
RECORD_KEY_CHARS_MAX = 512
URI_CHARS_MAX = 8192
DATETIME_CHARS_MAX = 64

_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_WORD = "[a-zA-Z](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_DID = "did:[a-z]+:[a-zA-Z0-9._:%-]*[a-zA-Z0-9._-]"
_HANDLE = rf"(?:{_LABEL}\.)+{_WORD}"
_NSID = rf"{_WORD}(?:\.{_LABEL})+\.[a-zA-Z][a-zA-Z0-9]{{0,62}}"
_RECORD_KEY = r"(?!\.{1,2}(?:#|\Z))[a-zA-Z0-9._:~-]+"
_POINTER = r"/[a-zA-Z0-9._~:@!$&'()*+,;=%\[\]/-]*"

_plc_did = re.compile("did:plc:[a-z2-7]{24}").fullmatch
_did = re.compile(_DID).fullmatch
_handle = re.compile(_HANDLE).fullmatch
_nsid = re.compile(_NSID).fullmatch
_record_key = re.compile(_RECORD_KEY).fullmatch
_tid = re.compile("[2-7a-j][2-7a-z]{12}").fullmatch
_sha256_cid = re.compile("baf(?:yr|kr)ei[a-z2-7]{51}[aeimquy4]").fullmatch
_usual_at_uri = re.compile(
    r"at://did:plc:[a-z2-7]{24}/app\.bsky\.[a-z]{1,20}\.[a-zA-Z]{1,30}/[2-7a-z]{13}"
).fullmatch
_at_uri = re.compile(
    rf"at://(?:(?P<did>{_DID})|(?P<handle>{_HANDLE}))"
    rf"(?:/(?P<nsid>{_NSID})(?:/(?P<rkey>{_RECORD_KEY}))?)?(?:#(?P<pointer>{_POINTER}))?"
).fullmatch
_usual_ref = re.compile(
    r"at://did:plc:[a-z2-7]{24}/app\.bsky\.[a-z]{1,20}\.[a-zA-Z]{1,30}/[2-7a-z]{13}"
    " bafyrei[a-z2-7]{51}[aeimquy4]"
).fullmatch
_uri = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:\S+").fullmatch

_usual_language = re.compile("[a-z]{2,3}(?:-[A-Z]{2})?").fullmatch
_language = re.compile(
    r"""
    en-GB-oed | sgn-(?:BE-FR|BE-NL|CH-DE) | art-lojban | cel-gaulish | no-(?:bok|nyn)
    | zh-(?:guoyu|hakka|min|min-nan|xiang)
    | i-(?:ami|bnn|default|enochian|hak|klingon|lux|mingo|navajo|pwn|tao|tay|tsu)
    | [a-z]{2,3} (?:-[a-zA-Z]{3}){0,3}                # language and its extensions
      (?:-[a-zA-Z]{4})?                               # script
      (?:-(?:[a-zA-Z]{2}|[0-9]{3}))?                  # region
      (?:-(?:[a-zA-Z0-9]{5,8}|[0-9][a-zA-Z0-9]{3}))*  # variants
      (?:-[0-9a-wyzA-WYZ](?:-[a-zA-Z0-9]{2,8})+)*     # extensions
      (?:-[xX](?:-[a-zA-Z0-9]{1,8})+)?                # private use
    | [xX](?:-[a-zA-Z0-9]{1,8})+
    """,
    re.VERBOSE,
).fullmatch

_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_normal_datetime = re.compile(
    r"[0-9]{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
    r"|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    rf"T{_CLOCK}:[0-5][0-9]\.[0-9]{{3}}Z"
).fullmatch
_datetime = re.compile(
    r"([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    rf"T({_CLOCK}:[0-5][0-9])(?:\.([0-9]+))?(?:Z|(?!-00:00)([+-])({_CLOCK}))"
).fullmatch


def is_did(text: str) -> bool:
    """Whether it is a DID: lowercase method, at most 2,048 characters."""
    return _plc_did(text) is not None or (len(text) <= DID_CHARS_MAX and _did(text) is not None)


def is_handle(text: str) -> bool:
    """Whether it is a handle (a domain name of two or more labels, in any case)."""
    return len(text) <= HANDLE_CHARS_MAX and _handle(text) is not None


def is_nsid(text: str) -> bool:
    """Whether it is an NSID, the name of a collection: three or more segments."""
    return len(text) <= NSID_CHARS_MAX and _nsid(text) is not None


def is_record_key(text: str) -> bool:
    """Whether it is a record key: 1 to 512 of the characters allowed, but neither `.` nor `..`."""
    return len(text) <= RECORD_KEY_CHARS_MAX and _record_key(text) is not None


def is_tid(text: str) -> bool:
    """Whether it is a TID: 13 characters of base32-sortable, the highest bit unset."""
    return _tid(text) is not None


def is_cid(text: str) -> bool:
    """Whether it is a CID in its canonical text form.

    The AppView's rule, not that of the vectors: the text must parse and be what the CID prints as,
    so base32 for version 1; version 0 passes, other multibases do not.
    """
    return _sha256_cid(text) is not None or _is_unusual_cid(text)


def is_at_uri(text: str) -> bool:
    """Whether it is an at-uri as lexicons demand it.

    At most 8,192 characters; a DID or handle, then perhaps a collection, then perhaps a record
    key, then perhaps `#/json-pointer`; no trailing slash and no query.
    """
    return _usual_at_uri(text) is not None or _is_unusual_at_uri(text)


def is_usual_ref(uri: str, cid: str) -> bool:
    """Whether they are an at-uri and a CID of the forms that nearly all have.

    Where they are not, `is_at_uri` and `is_cid` tell; where they are, it takes half as long.
    """
    return _usual_ref(f"{uri} {cid}") is not None


def is_uri(text: str) -> bool:
    """Whether it is a scheme, a colon and text without spaces, of at most 8,192 characters."""
    return len(text) <= URI_CHARS_MAX and _uri(text) is not None


def is_language(text: str) -> bool:
    """Whether it is a well-formed BCP-47 tag whose primary subtag has 2 or 3 lowercase letters.

    Grammar only, like the AppView's check: a repeated variant or singleton passes.
    """
    return _usual_language(text) is not None or _language(text) is not None


def normal_datetime(text: str) -> str | None:
    """The moment as `YYYY-MM-DDTHH:MM:SS.mmmZ` (UTC, truncated); None where the AppView rejects it.

    A day that its month lacks rolls over into the next month, as it does there (JavaScript).
    """
    return text if _normal_datetime(text) is not None else _normalised(text)


def _is_unusual_cid(text: str) -> bool:
    try:
        if text.startswith("Qm"):
            return len(text) == 46 and libipld.decode_cid(text)["version"] == 0
        if not text.startswith("b") or len(text) > 256:
            return False
        padding = "=" * (-(len(text) - 1) % 8)
        raw = base64.b32decode(text[1:].upper() + padding)
        return text == libipld.encode_cid(raw)
    except ValueError:
        return False


def _is_unusual_at_uri(text: str) -> bool:
    found = _at_uri(text) if len(text) <= URI_CHARS_MAX else None
    if found is None:
        return False
    did, handle, nsid, rkey, pointer = found.group("did", "handle", "nsid", "rkey", "pointer")
    return (
        len(did or "") <= DID_CHARS_MAX
        and len(handle or "") <= HANDLE_CHARS_MAX
        and len(nsid or "") <= NSID_CHARS_MAX
        and len(rkey or "") <= RECORD_KEY_CHARS_MAX
        and ("%" not in (pointer or "") or _is_percent_encoded(pointer))
    )


_stray_percent = re.compile("%(?![0-9a-fA-F]{2})").search


def _is_percent_encoded(text: str) -> bool:
    if _stray_percent(text) is not None:
        return False
    try:
        unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return False
    return True


def _normalised(text: str) -> str | None:
    found = _datetime(text) if len(text) <= DATETIME_CHARS_MAX else None
    if found is None:
        return None
    year, month, day, clock, fraction, sign, offset = found.groups()
    millis = ((fraction or "") + "000")[:3]
    if int(day) <= 28 and (not sign or offset == "00:00"):
        return f"{text[:19]}.{millis}Z"
    # The calendar repeats every 400 years, and Python's begins only with the year 1.
    anchor = 2000 + int(year) % 400
    away = _minutes(offset) if sign else 0
    moment = datetime(anchor, int(month), 1) + timedelta(
        days=int(day) - 1,
        minutes=_minutes(clock) + (away if sign == "-" else -away),
    )
    utc_year = moment.year - anchor + int(year)
    if not 0 <= utc_year <= 9999:
        return None
    return f"{utc_year:04}-{moment:%m-%dT%H:%M}:{clock[6:]}.{millis}Z"


def _minutes(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:5])
