"""The events that parts share: made once, when first asked for, as `ingest` is handed them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from events.event import Batch
from events.generate import lines
from events.sources.generate import GenerateSource
from ops.bench.place import Place
from ops.bench.report import say
from projector.memory import collect_rarely

WARM_EVENTS = 20_000


@dataclass(slots=True)
class Feed:
    """Some events: as batches, as a file of Jetstream lines, and as what generates them."""

    label: str
    batches: Sequence[Batch]
    events: int
    spec: str
    file: Path


@dataclass(slots=True)
class Workload:
    """A generated firehose of `events` events, and the beginning of it to warm up with.

    `mix` is what its mix has beside the usual, as a source is written.
    """

    place: Place
    events: int
    seed: int
    folder: Path
    mix: str = ""
    _feeds: dict[str, Feed] = field(default_factory=dict)

    async def full(self) -> Feed:
        """All events."""
        return self._feeds.get("full") or await self._make()

    async def warm(self) -> Feed:
        """A few, to warm up with."""
        if "warm" not in self._feeds:
            full = await self.full()
            part = full.batches[: 1 + WARM_EVENTS // self.place.settings.batch_events_max]
            self._keep("warm", part)
        return self._feeds["warm"]

    async def _make(self) -> Feed:
        say(f"making {self.events:,} events")
        text = self._spec(self.events).partition(":")[2]
        source = GenerateSource.parse(text, self.place.settings.batch_events_max)
        made = self._keep("full", [batch async for batch in source.batches(None)])
        collect_rarely()
        return made

    def _keep(self, label: str, batches: Sequence[Batch]) -> Feed:
        events = sum(len(batch.events) for batch in batches)
        file = self.folder / f"{label}.jsonl"
        with file.open("wb") as out:
            for batch in batches:
                out.writelines(lines(batch.events))
        self._feeds[label] = made = Feed(label, batches, events, self._spec(events), file)
        return made

    def _spec(self, events: int) -> str:
        return spec(events, self.seed) + (f",{self.mix}" if self.mix else "")


def spec(events: int, seed: int) -> str:
    """The generated source that everything measured here comes from."""
    return f"generate:events={events},seed={seed}"
