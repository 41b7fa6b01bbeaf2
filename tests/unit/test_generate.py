"""The generated firehose: the same from the same seed, and like the real one."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice, pairwise

import msgspec
import pytest

from events import generate
from events.errors import SourceError
from events.event import Event, Source
from events.generate import START_TIME_US, Generator, lines
from events.generate.mix import Mix
from events.jetstream_wire import decode
from events.sources.generate import GenerateSource
from projector.declare import Projection
from projector.fold import Folder, Window
from projector.registry import kept

GOLDEN = "a5bd2cbd064daf9007b252d45986b42466df6319694526c28daebc80d53bfc17"
"""SHA-256 over the fields of the first 20,000 events of seed 1, on every Python."""

TID = re.compile("[2-7a-j][2-7a-z]{12}").fullmatch


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return list(islice(Generator(), 100_000))


@pytest.fixture
def short_eras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "_ERA_EVENTS", 6_000)
    monkeypatch.setattr(generate, "_PERIOD_EVENTS", 2_000)
    monkeypatch.setattr(generate, "_HOMECOMING_EVENTS", 200)


def digest(events: Iterable[Event]) -> str:
    sha = hashlib.sha256()
    for e in events:
        fields = (e.did, e.kind, e.action, e.collection, e.rkey, e.rev, e.cid, e.time_us)
        sha.update(repr((*fields, e.record, e.source_cursor)).encode())
    return sha.hexdigest()


def collect(source: GenerateSource, cursor: str | None = None) -> tuple[list[Event], str]:
    async def run() -> tuple[list[Event], str]:
        events, at = [], cursor or "0"
        async for batch in source.batches(cursor):
            events += batch.events
            at = batch.cursor
        return events, at

    return asyncio.run(run())


# The same from the same seed


def test_the_bytes_of_a_seed_never_change() -> None:
    assert digest(islice(Generator(seed=1), 20_000)) == GOLDEN


def test_seeds_and_settings_make_a_difference() -> None:
    settings = [Generator(2), Generator(1, 5_000), Generator(mix=Mix.preset("2024"))]
    digests = {digest(islice(each, 500)) for each in (Generator(1), *settings)}
    assert len(digests) == 4


@pytest.mark.parametrize("duplicates", [0.0, 0.2])
@pytest.mark.parametrize("cursor", [1, 1_999, 2_200, 5_999, 6_000, 7_501, 13_000])
def test_resuming_gives_what_an_uninterrupted_run_gives(
    short_eras: None, cursor: int, duplicates: float
) -> None:
    text = f"events=14000,accounts=500,duplicates={duplicates}"
    whole, end = collect(GenerateSource.parse(text))
    rest, rest_end = collect(GenerateSource.parse(text, batch_events=700), str(cursor))
    assert (len(whole), end, rest_end) == (14_000, "14000", "14000")
    assert rest == whole[cursor:]


def test_an_era_ends_with_everybody_back(short_eras: None) -> None:
    away: set[str] = set()
    went = 0
    mix = Mix(account=0.05)
    for number, event in enumerate(islice(Generator(accounts=1000, mix=mix), 18_000), 1):
        if event.kind == "account":
            (away.discard if event.action == "active" else away.add)(event.did)
            went += event.action != "active"
        if number % 6_000 == 0:
            assert not away
    assert went > 100


# Like the real one


def test_times_and_cursors_rise_strictly(events: list[Event]) -> None:
    times = [event.time_us for event in events]
    assert all(first < second for first, second in pairwise(times))
    assert START_TIME_US <= times[0] < START_TIME_US + 2083
    assert (times[-1] - times[0]) / len(times) == pytest.approx(1e6 / 480, rel=0.01)
    assert [event.source_cursor for event in events[::999]] == [
        str(number) for number in range(1, 100_001, 999)
    ]


def test_revs_rise_strictly_within_an_account(events: list[Event]) -> None:
    revs: dict[str, str] = {}
    for event in events:
        if event.rev:
            assert TID(event.rev) and revs.get(event.did, "") < event.rev
            revs[event.did] = event.rev
    across = [event.rev for event in events if event.rev]
    assert across != sorted(across)


@pytest.mark.parametrize("name", ["2026", "2024"])
def test_the_mix_is_the_stated_one(name: str) -> None:
    mix = Mix.preset(name)
    count = 100_000
    seen = Counter(
        ((event.collection or event.kind).rpartition(".")[2], event.action)
        for event in islice(Generator(mix=mix), count)
    )
    total = Counter[str]()
    for (what, _), number in seen.items():
        total[what] += number
    for what in ("like", "post", "repost", "follow", "block", "profile", "listitem"):
        assert total[what] / count == pytest.approx(mix.share(what), rel=0.1, abs=0.001), what
    for what in ("identity", "account"):
        assert total[what] / count == pytest.approx(mix.share(what), rel=0.3), what
    for what in ("like", "post", "repost", "follow"):
        deleted = getattr(mix, f"deleted_{what}")
        assert seen[what, "delete"] / total[what] == pytest.approx(deleted, rel=0.2), what
    actions = Counter[str]()
    for (_, action), number in seen.items():
        actions[action] += number
    assert 0.93 < actions["create"] / count < 0.97
    assert 0 < actions["update"] / count < 0.02


def test_rare_collections_come_if_asked_for_and_are_valid() -> None:
    """Then every collection that a projection reads occurs, and each makes its rows."""
    mix = replace(Mix(), rare=0.2, other=0.1)
    read = [d for d in kept("*") if isinstance(d, Projection)]
    made = islice(Generator(mix=mix, invalid=0.0), 10_000)
    events = [msgspec.structs.replace(event, log_offset=at) for at, event in enumerate(made, 1)]
    seen = {event.collection for event in events}
    assert {c for projection in read for c in projection.collections} - seen == set()
    for projection in read:
        concerned = [event for event in events if event.collection in projection.collections]
        _, folded = Folder(projection).fold_beginning(Window(0, len(events), concerned, []))
        assert not folded.letters, (projection.name, folded.letters[:1])
        # Nobody goes on with a thread of their own, of which there would be rows.
        assert folded.fresh or folded.changed or projection.name == "op_thread_reply"


def test_lines_have_the_real_sizes_and_read_back(events: list[Event]) -> None:
    sizes: dict[str, list[int]] = {}
    for event, line in zip(events[:20_000], lines(events), strict=False):
        back = decode(line.rstrip(b"\n"))
        assert type(back) is Event
        assert back.record == event.record and back.cid == event.cid and back.uri == event.uri
        assert back.time_us == event.time_us
        what = (event.collection or "").rpartition(".")[2] if event.record else "delete"
        for each in ("all", what):
            sizes.setdefault(each, []).append(len(line) - 1)
    means = {what: sum(each) / len(each) for what, each in sizes.items()}
    real = {"like": 502, "follow": 394, "post": 769, "repost": 506, "delete": 197}
    assert {what: means[what] for what in real} == pytest.approx(real, rel=0.03)
    assert 480 < means["all"] < 550


def test_popularity_follows_zipf(events: list[Event]) -> None:
    followed = Counter(
        json.loads(event.record)["subject"]
        for event in events
        if event.collection == "app.bsky.graph.follow" and event.action == "create" and event.record
    )
    ranked = [number for _, number in followed.most_common()]
    assert 0.04 < ranked[0] / sum(ranked) < 0.09
    assert ranked[9] == pytest.approx(ranked[0] / 7, rel=0.5)
    assert sum(number == 1 for number in ranked) > 1000
    liked = Counter(
        event.record.partition(b'"uri":')[2]
        for event in events
        if event.collection == "app.bsky.feed.like" and event.action == "create" and event.record
    )
    assert liked.most_common(1)[0][1] > 500
    assert len(liked) > 8_000


# As a source


def test_its_name_says_everything_but_the_rate() -> None:
    source: Source = GenerateSource.parse("rate=50,mix=2024,events=10,like=0.5,post=0.095")
    assert source.name == (
        "generate:events=10,seed=1,accounts=100000,mix=2024,invalid=0.0001,duplicates=0.0,"
        "spacing_us=2083,like=0.5"
    )
    assert not source.rewinds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("speed=1", "'speed' is none of events, seed"),
        ("changed=1", "'changed' is none of"),
        ("seed", "seed must be given once, as seed=value"),
        ("seed=1,seed=1", "seed must be given once"),
        ("seed=one", "seed"),
        ("seed=-1", "seed must lie between"),
        ("events=-1", "events must lie between"),
        ("accounts=3", "accounts must lie between"),
        ("rate=nan", "rate must lie between"),
        ("mix=1999", "there are 2024 and 2026"),
        ("like=-1", "like must lie between"),
        ("invalid=1.5", "invalid must lie between"),
        ("duplicates=0.6", "duplicates must lie between"),
    ],
)
def test_a_setting_that_cannot_be_is_named(text: str, said: str) -> None:
    with pytest.raises(SourceError, match=f"generate:{text}: .*{said}"):
        GenerateSource.parse(text)


async def test_a_cursor_that_is_no_number_is_refused() -> None:
    with pytest.raises(SourceError, match="'12x' is no number"):
        await anext(GenerateSource.parse("").batches("12x"))


async def test_it_ends_after_its_events_and_lets_the_loop_run() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    source = GenerateSource.parse("events=4500")
    sizes = [(batch.cursor, len(batch.events)) async for batch in source.batches(None)]
    task.cancel()
    assert sizes == [("2000", 2000), ("4000", 2000), ("4500", 500)]
    assert turns >= 3
    assert [batch async for batch in source.batches("4500")] == []
    await source.committed("4500")


@pytest.mark.parametrize(("rate", "size"), [(2_000, 100), (5, 1), (1_000_000, 2_000)])
async def test_a_rate_paces_by_the_clock_of_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, rate: int, size: int
) -> None:
    now = 100.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    source = GenerateSource.parse(f"events={10 * size},rate={rate}")
    sizes = [len(batch.events) async for batch in source.batches(None)]
    assert sizes == [size] * 10
    assert now - 100.0 == pytest.approx(10 * size / rate)
