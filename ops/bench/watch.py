"""What another connection sees, in a process of its own: head, checkpoints, waiting deltas.

    python -m ops.bench.watch DATABASE_URL FILE

Looks every 2 ms, each time in one snapshot, and writes what is new to FILE, a JSON line each. The
time of a look is that of its answer, so that nothing is said to be visible before it was.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from bisect import bisect_left
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uvloop

from projector.database import Database

EVERY_SECONDS: Final = 0.002
LOOK: Final = """
SELECT 'head' AS what, '' AS of, '' AS by, head AS n FROM projector.log_head
UNION ALL SELECT 'checkpoint', '', projection, log_offset FROM projector.checkpoint
UNION ALL SELECT 'waiting', aggregate, projection, min(through_offset)
    FROM projector.outbox GROUP BY aggregate, projection
"""


async def watch(url: str, file: Path) -> None:
    """Looks until it is killed."""
    connection = await Database(url).connect("bench watch", enable_seqscan="off")
    look = await connection.prepare(LOOK)
    before: list[tuple[object, ...]] = []
    following = time.monotonic()
    with file.open("w", buffering=1) as out:
        while True:
            rows = sorted(tuple(row) for row in await look.fetch())
            now_us = time.time_ns() // 1000
            if rows != before:
                before = rows
                out.write(json.dumps([now_us, rows]) + "\n")
            following = max(following + EVERY_SECONDS, time.monotonic())
            await asyncio.sleep(following - time.monotonic())


@dataclass(slots=True)
class Progress:
    """When what was reached: offsets and, for each, the time in microseconds since 1970."""

    offsets: list[int] = field(default_factory=list)
    times_us: list[int] = field(default_factory=list)

    def reached(self, offset: int, now_us: int) -> None:
        """Takes note; what is no progress is passed over."""
        if not self.offsets or offset > self.offsets[-1]:
            self.offsets.append(offset)
            self.times_us.append(now_us)

    def when_us(self, offset: int) -> int | None:
        """When `offset` had been reached; None: never."""
        at = bisect_left(self.offsets, offset)
        return self.times_us[at] if at < len(self.offsets) else None

    def before(self, offset: int) -> int:
        """The last offset reached that is below `offset`."""
        at = bisect_left(self.offsets, offset)
        return self.offsets[at - 1] if at else 0


@dataclass(slots=True)
class Watched:
    """All that was seen: of the log, of each projection, of each aggregate by what it counts."""

    log: Progress = field(default_factory=Progress)
    applied: dict[str, Progress] = field(default_factory=dict)
    counted: dict[tuple[str, str], Progress] = field(default_factory=dict)


def read(file: Path, counts: dict[str, list[str]]) -> Watched:
    """What `watch` wrote; `counts` are the projections that each aggregate counts.

    An aggregate has an event when its projection's checkpoint is beyond it and none of its deltas
    wait. While some do, it has what the checkpoint was before the oldest that waits.
    """
    seen = Watched()
    for line in file.read_text().splitlines():
        now_us, rows = json.loads(line)
        checkpoints: dict[str, int] = {}
        waiting: dict[tuple[str, str], int] = {}
        for what, of, by, n in rows:
            if what == "head":
                seen.log.reached(n, now_us)
            elif what == "checkpoint":
                checkpoints[by] = n
                seen.applied.setdefault(by, Progress()).reached(n, now_us)
            else:
                waiting[of, by] = n
        for aggregate, projections in counts.items():
            for name in projections:
                oldest = waiting.get((aggregate, name))
                through = checkpoints[name] if oldest is None else seen.applied[name].before(oldest)
                seen.counted.setdefault((aggregate, name), Progress()).reached(through, now_us)
    return seen


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(watch(sys.argv[1], Path(sys.argv[2])))
