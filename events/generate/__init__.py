"""A firehose out of a seed: endless, always the same, and in the proportions of the real one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from random import Random

from events.event import Event
from events.generate.ids import dids
from events.generate.mix import Mix
from events.generate.stage import Stage
from events.generate.world import World
from events.jetstream_wire import encode

START_TIME_US = 1_782_864_000_000_000
"""2026-07-01T00:00:00Z, the time of the first event unless another is given."""
SPACING_US = 2083
"""The mean time between two events: 480 a second, as in mid-2026."""
ACCOUNTS_MAX = 5_000_000
DUPLICATES_MAX = 0.5

_ERA_EVENTS = 250_000
_PERIOD_EVENTS = 10_000
_HOMECOMING_EVENTS = 1000  # more than there ever are accounts away


class Generator:
    """Events of many accounts, in an order that a firehose could have.

    The same settings give the same events, byte for byte, on every Python from 3.11 to 3.13. Times
    rise strictly, by `spacing_us` on average. `invalid` is the fraction of events whose record its
    lexicon or Postgres refuses. `duplicates` is the fraction (up to 0.5) of events delivered a
    second time: after every 10,000 events the last ones come again, verbatim and in order, as
    from a source that has rewound.

    Eras of 250,000 events (and their duplicates) begin afresh, so that any position is reached
    at once or after at most one era: an era deletes, changes and repeats nothing of the one
    before, and ends with every account back that was away. Raises ValueError for a setting out of
    range. Memory: about 0.1 kB for each account and 60 MB besides.
    """

    def __init__(
        self,
        seed: int = 1,
        accounts: int = 100_000,
        mix: Mix | None = None,
        *,
        start_time_us: int = START_TIME_US,
        spacing_us: int = SPACING_US,
        invalid: float = 0.0001,
        duplicates: float = 0.0,
    ) -> None:
        _check("seed", seed, 0, 2**63 - 1)
        _check("accounts", accounts, 10, ACCOUNTS_MAX)
        _check("spacing_us", spacing_us, 1, 10**9)
        _check("invalid", invalid, 0, 1)
        _check("duplicates", duplicates, 0, DUPLICATES_MAX)
        self._seed = seed
        self._mix = mix or Mix()
        self._start_time_us = start_time_us
        self._spacing_us = spacing_us
        self._invalid = invalid
        self._repeated = round(_PERIOD_EVENTS * duplicates / (1 - duplicates))
        self._accounts = accounts
        periods = _ERA_EVENTS // _PERIOD_EVENTS
        self._delivered_per_era = _ERA_EVENTS + periods * self._repeated

    def __iter__(self) -> Iterator[Event]:
        """The events from the first; endless."""
        return self.events()

    def events(self, start: int = 0) -> Iterator[Event]:
        """The events after the first `start`; endless. Makes up to one era to get there."""
        era, behind = divmod(start, self._delivered_per_era)
        yield from islice(self._era(era), behind, None)
        while True:
            era += 1
            yield from self._era(era)

    def era_start(self, position: int) -> int:
        """The last position at or before `position` from which events come without delay."""
        return position - position % self._delivered_per_era

    @cached_property
    def _dids(self) -> list[str]:
        return dids(self._seed, self._accounts)

    def _era(self, era: int) -> Iterator[Event]:
        first_us = self._start_time_us + era * _ERA_EVENTS * self._spacing_us
        rng = Random(self._seed << 64 | era)
        stage = Stage(rng, first_us, self._spacing_us, era * self._delivered_per_era)
        world = World(stage, self._dids, self._mix, self._invalid)
        try:
            yield from self._delivered(_chained(world), stage)
        finally:
            world.close()

    def _delivered(self, made: Iterator[Event], stage: Stage) -> Iterator[Event]:
        """All that an era made, its duplicates among it."""
        if not self._repeated:
            yield from made
            return
        last: deque[Event] = deque(maxlen=self._repeated)
        for _ in range(_ERA_EVENTS // _PERIOD_EVENTS):
            for event in islice(made, _PERIOD_EVENTS):
                last.append(event)
                yield event
            stage.cursor += self._repeated
            yield from last


def _chained(world: World) -> Iterator[Event]:
    yield from world.events(_ERA_EVENTS - _HOMECOMING_EVENTS)
    yield from world.homecoming(_HOMECOMING_EVENTS)


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} must lie between {least} and {most}, not {value}")


def lines(events: Iterable[Event]) -> Iterator[bytes]:
    """Each event as a line of Jetstream's v1 JSON, with its line feed."""
    for event in events:
        yield encode(event) + b"\n"
