"""Silence: a source or a collection that brings far less than it did. The rule is pure.

A collection is silent when what came of it since a moment would come by chance with a probability
of less than `ERROR`, even if its rate were only `SHARE` of what it was in the hour and in the day
before (the lower of both). Counts are taken as Poisson's, divided by their index of dispersion
(variance to mean, by the minute) where they come in bursts. Nothing is silent before there is an
hour to compare with, and what is rare needs a long silence.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import asyncpg
import msgspec

from projector.rates import ALL, HOUR, MINUTE, MINUTES_KEPT_SECONDS

ERROR: Final = 1e-6
SHARE: Final = 0.25
"""Nights and weekends take away less than three quarters of anything."""

QUIET_SECONDS_MIN: Final = 30.0
"""A host may be changed, and a batch be long."""

HISTORY_SECONDS_MIN: Final = 2 * HOUR
"""Since the first bucket by the hour, which may have begun an hour before the first event."""

RECENT_SECONDS: Final = 10 * MINUTE

EVENTS_MIN: Final = 60
"""Fewer a day, and no silence of less than most of a day says anything."""

# Three spans: the hour before the newest event's minute; the last ten minutes up to the source's
# newest event; and the hour before those.
RHYTHMS: Final = """
WITH n AS (SELECT source, collection, max(newest_us) AS newest_us, min(begins) AS first
    FROM projector.rate WHERE seconds = 3600 GROUP BY 1, 2
    HAVING sum(events) >= $2 OR collection = ''),
l AS (SELECT n.source, n.collection, n.newest_us, s.newest_us AS through_us,
        n.newest_us / 60000000 * 60 AS ended, s.newest_us / 60000000 * 60 - $1::bigint AS turned,
        greatest(n.newest_us / 3600000000 * 3600 - 82800, s.first) AS day, s.first
    FROM n JOIN n AS s ON s.source = n.source AND s.collection = '')
SELECT l.source, l.collection, l.newest_us, l.through_us, (l.newest_us / 1e6 - l.first)::float8,
    coalesce(sum(events) FILTER (WHERE m AND begins >= ended - 3600 AND begins < ended), 0)::bigint,
    coalesce(sum(events * events) FILTER (WHERE m AND begins >= ended - 3600
        AND begins < ended), 0)::float8,
    coalesce(sum(events) FILTER (WHERE m AND begins >= turned - 3600
        AND begins < turned), 0)::bigint,
    coalesce(sum(events * events) FILTER (WHERE m AND begins >= turned - 3600
        AND begins < turned), 0)::float8,
    coalesce(sum(events) FILTER (WHERE m AND begins >= turned), 0)::bigint,
    (l.through_us / 1e6 - l.turned)::float8,
    coalesce(sum(events) FILTER (WHERE NOT m AND begins >= day), 0)::bigint,
    (l.newest_us / 1e6 - l.day)::float8
FROM l JOIN (SELECT *, seconds = 60 AS m FROM projector.rate) AS r
    ON r.source = l.source AND r.collection = l.collection
GROUP BY l.source, l.collection, l.newest_us, l.through_us, l.first, l.turned, l.day
ORDER BY l.source, l.collection
"""


# When there was anything of a source, by the minute and by the hour.
HEARD: Final = """
SELECT source, seconds, begins FROM projector.rate WHERE collection = '' ORDER BY 1, 2, 3
"""


class Rhythm(msgspec.Struct, frozen=True):
    """How a collection (`ALL`: everything) came from a source.

    `through_us` is the time of the newest event of the source, `observed_seconds` how long before
    the collection's newest one the source was known. Squares are sums over minutes. `heard_seconds`
    is how much of the time since its newest event there was something of the source, and
    `recent_seconds` how much of the last ten minutes: gaps of a source are no silence of what it
    brings.
    """

    source: str
    collection: str
    newest_us: int
    through_us: int
    observed_seconds: float
    hour_events: int
    hour_squares: float
    before_events: int
    before_squares: float
    recent_events: int
    recent_seconds: float
    day_events: int
    day_seconds: float
    heard_seconds: float = 0.0

    @property
    def day_per_second(self) -> float:
        """The rate of the day before its newest event, or since the source is known."""
        return self.day_events / max(self.day_seconds, MINUTE)

    @property
    def usual_per_second(self) -> float:
        """The lower of the rates of the hour and of the day."""
        return min(self.hour_events / HOUR, self.day_per_second)


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """A collection of which nothing, or far less than before, has come since a moment (seconds
    since 1970), by the source's own time."""

    source: str
    collection: str
    since: float
    seconds: float
    usual_per_second: float
    events_per_second: float

    @property
    def clause(self) -> str:
        """The same in words."""
        now = self.events_per_second
        return (
            f"{self.collection} has brought {f'only {_rate(now)}' if now else 'nothing'} since "
            f"{moment(self.since, self.seconds)} (before: {_rate(self.usual_per_second)})"
        )


def _rate(per_second: float) -> str:
    return f"{per_second:,.1f}/s" if per_second >= 1 else f"{per_second:.2g}/s"


def moment(at: float, seconds_ago: float) -> str:
    """A moment as people say it, in UTC: the time, and of one long ago the day."""
    form = "%H:%M UTC" if seconds_ago < 43_200 else "%Y-%m-%d %H:%M UTC"
    return datetime.fromtimestamp(at, UTC).strftime(form)


def dispersion(events: int, squares: float, minutes: int = HOUR // MINUTE) -> float:
    """Variance to mean of counts by the minute; 1 at least, which is Poisson's."""
    mean = events / minutes
    if not mean:
        return 1.0
    return max(1.0, (squares - minutes * mean * mean) / (minutes - 1) / mean)


def is_improbable(events: float, expected: float) -> bool:
    """Whether so few come by chance with a probability of less than `ERROR`: by Chernoff's bound,
    which is never below Poisson's probability, and of no events is that itself."""
    if events >= expected:
        return False
    exponent = events - expected
    if events:
        exponent += events * math.log(expected / events)
    return exponent < math.log(ERROR)


def quiet_after_seconds(rhythm: Rhythm) -> float | None:
    """How long nothing must come for it to be silence; None where that is not known yet."""
    if rhythm.observed_seconds < HISTORY_SECONDS_MIN:
        return None
    rate = rhythm.usual_per_second * SHARE
    if not rate:
        return math.inf
    bursts = dispersion(rhythm.hour_events, rhythm.hour_squares)
    return max(QUIET_SECONDS_MIN, -math.log(ERROR) * bursts / rate)


def silence_of(rhythm: Rhythm) -> Silence | None:
    """The silence of a collection, by the time of its source: while that stands still, nothing of
    it falls silent."""
    after = quiet_after_seconds(rhythm)
    if after is None:
        return None
    seconds = (rhythm.through_us - rhythm.newest_us) / 1e6
    if rhythm.heard_seconds > after:
        return _silence(rhythm, rhythm.newest_us / 1e6, seconds, rhythm.usual_per_second, 0.0)
    return _thinned(rhythm)


def _thinned(rhythm: Rhythm) -> Silence | None:
    seconds = rhythm.recent_seconds
    if not seconds:
        return None
    usual = min(rhythm.before_events / HOUR, rhythm.day_per_second)
    bursts = dispersion(rhythm.before_events, rhythm.before_squares)
    came = math.ceil(rhythm.recent_events / bursts)
    if not is_improbable(came, usual * SHARE * seconds / bursts):
        return None
    since = rhythm.through_us / 1e6 - RECENT_SECONDS
    return _silence(rhythm, since, RECENT_SECONDS, usual, rhythm.recent_events / seconds)


def _silence(rhythm: Rhythm, since: float, seconds: float, usual: float, now: float) -> Silence:
    return Silence(
        source=rhythm.source,
        collection=rhythm.collection,
        since=since,
        seconds=seconds,
        usual_per_second=usual,
        events_per_second=now,
    )


async def read_rhythms(connection: asyncpg.Connection) -> list[Rhythm]:
    """How all that is counted came, by source and collection; without what is rare."""
    heard: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for source, seconds, begins in await connection.fetch(HEARD):
        heard[source, seconds].append(begins)
    rows = await connection.fetch(RHYTHMS, RECENT_SECONDS, EVENTS_MIN)
    return [_heard(Rhythm(*row), heard) for row in rows]


def _heard(rhythm: Rhythm, heard: Mapping[tuple[str, int], list[int]]) -> Rhythm:
    """With what was really heard of the source; of minutes beside a gap nothing is known."""
    minutes = heard.get((rhythm.source, MINUTE), [])
    hours = heard.get((rhythm.source, HOUR), [])
    seconds = (rhythm.through_us - rhythm.newest_us) / 1e6
    ended, turned = (us // 60_000_000 * MINUTE for us in (rhythm.newest_us, rhythm.through_us))
    whole = _between(minutes, ended, turned)
    if whole == max((turned - ended) // MINUTE - 1, 0):
        since = seconds
    else:
        # Minutes are kept of two hours, hours of a day.
        by_hours = HOUR * _between(hours, ended, turned // HOUR * HOUR)
        since = float(max(MINUTE * (whole - 1), by_hours * (seconds > MINUTES_KEPT_SECONDS), 0))
    recent = _between(minutes, turned - RECENT_SECONDS - 1, turned)
    is_gapless = recent == RECENT_SECONDS // MINUTE
    return msgspec.structs.replace(
        rhythm,
        heard_seconds=min(since, seconds),
        recent_seconds=rhythm.recent_seconds if is_gapless else MINUTE * max(recent - 1.0, 0.0),
    )


def _between(begins: list[int], after: int, before: int) -> int:
    return max(bisect_left(begins, before) - bisect_right(begins, after), 0)


def silences(rhythms: list[Rhythm]) -> list[Silence]:
    """The collections that are silent, those that brought most first."""
    found = [silence_of(rhythm) for rhythm in rhythms if rhythm.collection != ALL]
    known = [silence for silence in found if silence is not None]
    return sorted(known, key=lambda s: (-s.usual_per_second, s.source, s.collection))
