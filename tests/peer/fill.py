"""Has the peer index events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.peer.process import migrate, program


@dataclass
class Filled:
    """What the peer said: the errors of the events that it refused, by their place in the list."""

    refused: dict[int, str] = field(default_factory=dict)


async def fill(url: str, events: Sequence[bytes]) -> Filled:
    """Migrates an empty database, and indexes Jetstream lines one by one, each to its end."""
    await migrate(url)
    said = Filled()
    async with program("fill", url) as indexer:
        for i, line in enumerate(events):
            answer = await indexer.ask(line)
            if not answer["accepted"]:
                said.refused[i] = answer["error"]
    return said
