"""A source that needs no network: events made from a seed, for tests, benchmarks and demos."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from itertools import islice
from typing import Self

import msgspec

from events.errors import SourceError
from events.event import Batch, Event
from events.generate import SPACING_US, Generator
from events.generate.mix import MIX_KEYS, Mix

_PACED_SECONDS = 0.05  # a paced source hands over what falls into this time
_STEP_EVENTS = 100  # made at once: under a millisecond or two
_EVENTS_MAX = 10**15
_RATE_MAX = 10_000_000
_KEYS = ("events", "seed", "accounts", "rate", "mix", "invalid", "duplicates", "spacing_us")


class GenerateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to generate. `rate` is in events per second; it and `events` are unlimited when 0.

    `mix` names the preset, and `changed` holds what differs from it. See `events.generate` for
    the rest. Raises ValueError for a setting out of range.
    """

    events: int = 0
    seed: int = 1
    accounts: int = 100_000
    rate: float = 0.0
    mix: str = "2026"
    invalid: float = 0.0001
    duplicates: float = 0.0
    spacing_us: int = SPACING_US
    changed: dict[str, float] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.events <= _EVENTS_MAX:
            raise ValueError(f"events must lie between 0 and {_EVENTS_MAX}, not {self.events}")
        if not 0 <= self.rate <= _RATE_MAX:
            raise ValueError(f"rate must lie between 0 and {_RATE_MAX}, not {self.rate}")
        self.generator()

    def generator(self) -> Generator:
        """What makes the events."""
        return Generator(
            self.seed,
            self.accounts,
            replace(Mix.preset(self.mix), **self.changed),
            spacing_us=self.spacing_us,
            invalid=self.invalid,
            duplicates=self.duplicates,
        )

    def __str__(self) -> str:
        """All settings but the rate, in one fixed order, so that equal streams read the same."""
        plain = (
            f"events={self.events},seed={self.seed},accounts={self.accounts},mix={self.mix},"
            f"invalid={self.invalid!r},duplicates={self.duplicates!r},spacing_us={self.spacing_us}"
        )
        return plain + "".join(f",{key}={self.changed[key]!r}" for key in sorted(self.changed))


class GenerateSource:
    """Hands over generated events; its cursor is how many have been handed over, in decimal.

    From a cursor it goes on with exactly the events that an uninterrupted run would have had. It
    ends after `events`, or never. With a rate it keeps the event loop's time: a consumer that
    fell behind gets what is due at once, in full batches.
    """

    rewinds = False

    def __init__(self, settings: GenerateSettings, batch_events: int = 2000) -> None:
        if batch_events < 1:
            raise SourceError(f"generate: batch_events must be at least 1, not {batch_events}")
        self.settings = settings
        self.name = f"generate:{settings}"
        self._batch_events = batch_events

    @classmethod
    def parse(cls, text: str, batch_events: int = 2000) -> Self:
        """The source that `key=value,…` describes; the keys may be absent, all of them too.

        Keys are those of GenerateSettings (`events`, `seed`, `accounts`, `rate`, `mix`, `invalid`,
        `duplicates`, `spacing_us`) and of Mix (`like`, `deleted_like`, …). Raises SourceError for
        any other key, and for a value that cannot be.
        """
        try:
            return cls(_parse(text), batch_events)
        except ValueError as error:
            raise SourceError(f"generate:{text}: {error}") from None

    async def batches(self, cursor: str | None) -> AsyncGenerator[Batch, None]:
        """Yields the batches after `cursor`; raises SourceError if that is no number."""
        done = _position(cursor)
        stream = await self._stream(done)
        loop = asyncio.get_running_loop()
        rate, started, first = self.settings.rate, loop.time(), done
        batch_events = self._batch_events
        if rate:
            batch_events = min(batch_events, max(1, int(rate * _PACED_SECONDS)))
        while count := self._left(done, batch_events):
            due = started + (done + count - first) / rate if rate else 0
            await asyncio.sleep(max(0, due - loop.time()))
            events: list[Event] = []
            while len(events) < count:
                events += islice(stream, min(_STEP_EVENTS, count - len(events)))
                await asyncio.sleep(0)  # others may have waited for the loop
            done += count
            message_bytes = sum(len(event.record) for event in events if event.record)
            yield Batch(str(done), events, message_bytes=message_bytes)

    async def committed(self, cursor: str) -> None:
        """Nothing waits for it: what was generated can be generated again."""

    async def _stream(self, position: int) -> Iterator[Event]:
        """The events after `position`; lets the event loop run while they are being reached."""
        generator = self.settings.generator()
        start = generator.era_start(position)
        stream = generator.events(start)
        for at in range(start, position, self._batch_events):
            for _ in islice(stream, min(self._batch_events, position - at)):
                pass
            await asyncio.sleep(0)
        return stream

    def _left(self, done: int, most: int) -> int:
        if not self.settings.events:
            return most
        return max(0, min(most, self.settings.events - done))


def _position(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal()):
        raise SourceError(f"generate: the cursor {cursor!r} is no number of events")
    return int(cursor)


def _parse(text: str) -> GenerateSettings:
    """Raises ValueError that names the key."""
    given: dict[str, str] = {}
    for pair in text.split(",") if text else []:
        key, equals, value = pair.partition("=")
        if key not in _KEYS and key not in MIX_KEYS:
            raise ValueError(f"{key!r} is none of {', '.join(_KEYS + MIX_KEYS)}")
        if not equals or key in given:
            raise ValueError(f"{key} must be given once, as {key}=value")
        given[key] = value
    preset = Mix.preset(given.get("mix", "2026"))
    shares = {key: value for key, value in given.items() if key in MIX_KEYS}
    changed = {
        key: value
        for key, value in msgspec.convert(shares, dict[str, float], strict=False).items()
        if value != getattr(preset, key)
    }
    plain = {key: value for key, value in given.items() if key in _KEYS}
    return msgspec.convert({**plain, "changed": changed}, GenerateSettings, strict=False)
