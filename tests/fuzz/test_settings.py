"""What operators type: settings, moments, sources, cursors. Understood, or refused in a line."""

from __future__ import annotations

from dataclasses import fields
from math import isfinite
from typing import cast

import asyncpg
from hypothesis import given
from hypothesis import strategies as st

from events.errors import SourceError
from events.event import to_time_us
from events.sources.jetstream_url import parse_cursor
from events.streams.stream import entry_id
from projector.database import masked
from projector.environment import OTHER_VARIABLES
from projector.errors import UsageError
from projector.moments import _moment, offset_at
from projector.settings import PREFIX, Settings, from_environment, parse, variable
from projector.sources import source_of
from tests.support.histories import budget

SETTINGS = fields(Settings)
NUMBERS = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(repr),
    st.sampled_from(["1_000", "٣", "0x10", "1e3", "-0", "nan", "-inf", "9" * 5000, " 7 ", "+5"]),
)
TEXTS = st.one_of(NUMBERS, st.text(max_size=30), st.sampled_from(["true", "0", "TRUE", "yes", ""]))


@budget(400)
@given(setting=st.sampled_from(SETTINGS), text=TEXTS)
def test_a_text_is_a_value_in_range_or_a_usage_error(setting: object, text: str) -> None:
    kind, least = type(setting.default), setting.metadata["least"]  # type: ignore[attr-defined]
    try:
        value = parse(setting, text, "given")
    except UsageError as error:
        assert str(error).startswith("given is ")
        return
    assert type(value) is kind
    if kind in (int, float):
        assert isfinite(value)
        assert value >= least


@budget(300)
@given(
    named=st.dictionaries(st.sampled_from([variable(f.name) for f in SETTINGS]), TEXTS, max_size=3),
    others=st.dictionaries(st.text(max_size=20), TEXTS, max_size=3),
)
def test_an_environment_is_understood_or_refused(
    named: dict[str, str], others: dict[str, str]
) -> None:
    ours = {PREFIX + name: text for name, text in others.items()}
    try:
        values = from_environment({**others, **ours, **named}, OTHER_VARIABLES)
    except UsageError:
        return
    assert set(ours) <= OTHER_VARIABLES | {variable(f.name) for f in SETTINGS}
    Settings(**values)


MOMENTS = st.one_of(
    st.datetimes(timezones=st.none() | st.timezones()).map(lambda moment: moment.isoformat()),
    st.sampled_from(
        ["2026-07-04", "2026-W27-6", "20260704T123000Z", "0001-01-01T00:00:00+14:00",
         "9999-12-31T23:59:59.999999-14:00", "2026-07-04T24:00", "2026-07-04T12:30:00,5Z"]
    ),
    TEXTS,
)  # fmt: skip


@budget(300)
@given(text=MOMENTS)
def test_a_moment_is_one_or_a_usage_error(text: str) -> None:
    try:
        moment = _moment(text)
    except UsageError as error:
        assert "\n" not in str(error)
        return
    assert moment.utcoffset() is not None
    assert isinstance(to_time_us(moment), int)


@budget(200)
@given(text=st.integers(0, 10**25).map(str) | st.just("9" * 5000))
async def test_an_offset_is_one_that_postgres_knows_or_a_usage_error(text: str) -> None:
    class Unasked:
        """Stands for a connection: a number asks nobody."""

    try:
        offset = await offset_at(cast("asyncpg.Connection", Unasked()), text)
    except UsageError:
        return
    assert 0 <= offset < 2**63


SOURCES = st.one_of(
    st.text(max_size=60),
    st.builds(
        "{}{}".format,
        st.sampled_from(
            ["jetstream", "jetstream:", "ws://", "wss://user:secret@host/", "wss://h/subscribe?",
             "redis://h/0?stream=", "redis://:secret@h:1/2?", "unix:///a?stream=s&db=", "rediss:",
             "redis://[", "wss://[", "unix://[", "generate:",
             "generate:seed=", "generate:events=5,", "generate:mix="]
        ),
        st.text(max_size=25) | TEXTS,
    ),
)  # fmt: skip


@budget(250)
@given(text=SOURCES)
def test_a_source_is_understood_or_refused(text: str) -> None:
    """And neither its name nor the refusal tells a password."""
    try:
        told = source_of(text, Settings()).name
    except UsageError as error:
        told = str(error)
    if "secret@" in text and text.count("secret") == 1:
        assert "secret" not in told


@budget(300)
@given(text=TEXTS | st.from_regex(r"\A[0-9]{1,21}-[0-9]{1,21}\Z"))
def test_a_position_is_one_or_a_source_error(text: str) -> None:
    for read in (entry_id, lambda cursor: parse_cursor(cursor, "host")):
        try:
            read(text)
        except SourceError as error:
            assert str(error)


@budget(300)
@given(text=st.text(max_size=60) | st.builds("postgresql://a:{}@h/d".format, st.text(max_size=20)))
def test_any_url_can_be_shown(text: str) -> None:
    assert isinstance(masked(text), str)
