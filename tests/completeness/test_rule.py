"""The rule of silence, by arithmetic, and by long histories that have none."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

import pytest

from projector.silence import (
    ERROR,
    QUIET_SECONDS_MIN,
    SHARE,
    Rhythm,
    dispersion,
    is_improbable,
    quiet_after_seconds,
    silence_of,
    silences,
)

NOW_US = 1_700_000_000_000_000
DAY = 86_400


def rhythm(
    per_minute: float,
    *,
    silent_seconds: float = 0.0,
    recent_per_minute: float | None = None,
    day_per_minute: float | None = None,
    observed_seconds: float = DAY,
    squares: float | None = None,
    collection: str = "like",
    heard: float | None = None,
) -> Rhythm:
    """A collection that came evenly: so many events in each minute of the hour, and of the day."""
    even = 60 * per_minute**2 if squares is None else squares
    recent = per_minute if recent_per_minute is None else recent_per_minute
    day = per_minute if day_per_minute is None else day_per_minute
    return Rhythm(
        source="jetstream", collection=collection, newest_us=NOW_US - round(silent_seconds * 1e6),
        through_us=NOW_US, observed_seconds=observed_seconds, hour_events=round(60 * per_minute),
        hour_squares=even, before_events=round(60 * per_minute), before_squares=even,
        recent_events=round(10 * recent), recent_seconds=600.0, day_events=round(1440 * day),
        day_seconds=float(DAY), heard_seconds=silent_seconds if heard is None else heard,
    )  # fmt: skip


def poisson_at_most(events: int, expected: float) -> float:
    return sum(
        math.exp(-expected + i * math.log(expected) - math.lgamma(i + 1)) for i in range(events + 1)
    )


def test_it_is_improbable_only_where_poisson_says_so() -> None:
    limit = -math.log(ERROR)
    assert not is_improbable(0, limit - 0.001)
    assert is_improbable(0, limit + 0.001)
    assert not is_improbable(10, 9.0)
    for expected in (1.0, 14.0, 20.0, 55.0, 300.0, 1e4):
        for events in range(0, int(expected), max(1, int(expected / 40))):
            if is_improbable(events, expected):
                assert poisson_at_most(events, expected) < ERROR
    # And not only at no events at all.
    assert is_improbable(100, 300.0)


def test_dispersion_is_variance_to_mean() -> None:
    assert dispersion(0, 0.0) == 1
    assert dispersion(600, 60 * 100.0) == 1  # Even: less than Poisson's counts for Poisson's.
    counts = [0] * 54 + [100] * 6
    mean, squares = sum(counts) / 60, float(sum(n * n for n in counts))
    variance = sum((n - mean) ** 2 for n in counts) / 59
    assert dispersion(600, squares) == pytest.approx(variance / mean)


@pytest.mark.parametrize("per_minute", [36_000.0, 600.0, 60.0, 4.0, 1.0])
def test_how_long_a_silence_must_be(per_minute: float) -> None:
    rate = per_minute / 60
    after = quiet_after_seconds(rhythm(per_minute))
    assert after == max(QUIET_SECONDS_MIN, -math.log(ERROR) / (SHARE * rate))
    assert silence_of(rhythm(per_minute, silent_seconds=after * 0.99)) is None
    found = silence_of(rhythm(per_minute, silent_seconds=after * 1.01))
    assert found is not None
    assert found.since == pytest.approx(NOW_US / 1e6 - after * 1.01)
    assert found.usual_per_second == pytest.approx(rate)
    assert found.events_per_second == 0


def test_nothing_is_silent_before_there_is_a_past() -> None:
    assert quiet_after_seconds(rhythm(600.0, observed_seconds=7_199)) is None
    assert silence_of(rhythm(600.0, silent_seconds=7_000, observed_seconds=7_199)) is None
    assert silence_of(rhythm(600.0, silent_seconds=7_000, observed_seconds=7_201)) is not None


def test_a_gap_of_the_source_is_no_silence_of_what_it_brings() -> None:
    assert silence_of(rhythm(600.0, silent_seconds=36_000, heard=20.0)) is None
    assert silence_of(rhythm(600.0, silent_seconds=36_000, heard=40.0)) is not None


def test_both_the_hour_and_the_day_must_say_so() -> None:
    # One event an hour by the day, a burst in the last hour: not silent after ten minutes.
    assert silence_of(rhythm(600.0, silent_seconds=600, day_per_minute=1 / 60)) is None
    assert silence_of(rhythm(0.0, silent_seconds=1e6)) is None


def test_the_99_8_percent_of_the_incident_are_seen_and_a_night_is_not() -> None:
    found = silence_of(rhythm(36_000.0, recent_per_minute=36_000 * 0.002))
    assert found is not None
    assert found.events_per_second == pytest.approx(1.2)
    assert found.seconds == 600
    assert "only 1.2/s since" in found.clause
    assert silence_of(rhythm(36_000.0, recent_per_minute=36_000 * 0.3)) is None


def test_those_that_brought_most_come_first_and_a_source_is_none_of_them() -> None:
    found = silences(
        [
            rhythm(60.0, silent_seconds=DAY, collection="post"),
            rhythm(600.0, silent_seconds=DAY),
            rhythm(660.0, silent_seconds=DAY, collection=""),
        ]
    )
    assert [silence.collection for silence in found] == ["like", "post"]


Times = Callable[[random.Random], Iterator[float]]


def poisson(per_second: float) -> Times:
    def times(rng: random.Random) -> Iterator[float]:
        at = 0.0
        while True:
            at += rng.expovariate(per_second)
            yield at

    return times


def bursts(every_seconds: float, size: int) -> Times:
    """So many within a minute, now and then."""

    def times(rng: random.Random) -> Iterator[float]:
        at = 0.0
        while True:
            at += rng.expovariate(1 / every_seconds)
            start = at
            for _ in range(rng.randint(1, 2 * size)):
                at = min(at + rng.expovariate(size / 30), start + 60)
                yield at

    return times


CASES = {
    "busy": poisson(0.5), "rare": poisson(1 / 300), "very rare": poisson(1 / 7200),
    "bursts": bursts(1800, 20), "rare bursts": bursts(3 * 3600, 50),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_in_three_days_without_a_silence_none_is_said(name: str) -> None:
    """Looked at by the minute, from the first event on; each look reckons by itself."""
    times = []
    for at in CASES[name](random.Random(7)):
        if at > 3 * DAY:
            break
        times.append(at)
    minutes = [0] * (3 * 1440)
    for at in times:
        minutes[min(int(at // 60), len(minutes) - 1)] += 1
    said = []
    newest = 0.0
    k = 0
    for minute in range(180, 3 * 1440, 1):
        now = minute * 60.0
        while k < len(times) and times[k] < now:
            newest = times[k]
            k += 1
        if silence_of(as_read(minutes, newest, now)) is not None:
            said.append(minute)
    assert said == []


def as_read(minutes: list[int], newest: float, now: float) -> Rhythm:
    """What the database would give at a moment, from counts by the minute since the beginning."""
    ended, turned = int(newest // 60), int(now // 60) - 10
    hour, before = minutes[max(ended - 60, 0) : ended], minutes[max(turned - 60, 0) : turned]
    day = max(int(newest // 3600) * 3600 - 82_800, 0)
    return Rhythm(
        source="s", collection="c", newest_us=int(newest * 1e6), through_us=int(now * 1e6),
        observed_seconds=newest, hour_events=sum(hour),
        hour_squares=float(sum(n * n for n in hour)), before_events=sum(before),
        before_squares=float(sum(n * n for n in before)),
        recent_events=sum(minutes[turned : int(now // 60)]), recent_seconds=600.0,
        day_events=sum(minutes[day // 60 : ended + 1]), day_seconds=newest - day,
        heard_seconds=now - newest,
    )  # fmt: skip
