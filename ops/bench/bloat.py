"""What small, busy tables grow to under a steady load: `projector up` at a rate, for a while.

The outbox's rows live for a moment, and the same few rows of checkpoints, cursors and counters
change again and again: each change leaves a dead row behind. What is asked is whether pruning and
autovacuum keep pace. Looked at soon after the start, in the middle of the time, and at its end.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import asyncpg

from ops.bench.flow import HEAD, prove
from ops.bench.place import Place
from ops.bench.processes import Child, eventually
from ops.bench.report import say
from ops.bench.section import Section
from ops.bench.sizes import Size, sizes_of
from projector.database import Database
from projector.declare import Aggregate
from projector.home import quoted

ENGINE: Final = ("outbox", "checkpoint", "source_cursor", "log_head", "lease")
BEGUN: Final = "SELECT min(log_offset) > 0 FROM projector.checkpoint"
START_SECONDS_MAX: Final = 60.0
SETTLE_SECONDS: Final = 5.0
KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Look:
    """One look: after how many seconds, how many events were in the log, each table and its
    rows."""

    seconds: float
    head: int
    sizes: dict[str, Size]
    rows: dict[str, int]


class Bloat:
    """Measures under `rate` events a second, for `seconds`."""

    def __init__(self, place: Place, rate: int, seconds: float, seed: int, folder: Path) -> None:
        self.place = place
        self.rate = rate
        self.seconds = seconds
        self.source = f"generate:rate={rate},seed={seed}"
        self.folder = folder
        aggregates = [d.table for d in place.declarations if isinstance(d, Aggregate)]
        self.tables = [*ENGINE, *aggregates]

    async def measure(self) -> Section:
        """Starts the program, looks three times, stops it, and proves what it did."""
        say(f"bloat: {self.rate:,} events a second for {self.seconds:.0f} s")
        words = ("--data-dir", str(self.folder / "up"), "--json")
        async with self.place.fresh() as database:
            up = Child(
                self.folder / "up.log", "projector.cli", "up", self.source,
                "--database", database.url, *words,
            )  # fmt: skip
            try:
                looks = await self._looks(database, up)
            finally:
                await up.stop()
            up.check()
            connection = await database.connect("bench")
            try:
                head = int(await connection.fetchval(HEAD))
            finally:
                await connection.close()
            await prove(self.place, database, head)
        return self._section(looks)

    async def _looks(self, database: Database, up: Child) -> list[Look]:
        connection = await database.connect("bench")

        async def begun() -> bool:
            return up.ended() or bool(await connection.fetchval(BEGUN))

        try:
            if not await eventually(begun, START_SECONDS_MAX):
                raise TimeoutError("the projections did not begin")
            await asyncio.sleep(SETTLE_SECONDS)
            at = time.monotonic()
            looks = []
            for part in (0.0, 0.5, 1.0):
                await asyncio.sleep(max(0.0, at + part * self.seconds - time.monotonic()))
                up.check()
                looks.append(await self._look(connection, time.monotonic() - at))
        finally:
            await connection.close()
        return looks

    async def _look(self, connection: asyncpg.Connection, seconds: float) -> Look:
        sizes = await sizes_of(connection, self.place.settings.schema)
        sizes = {table: sizes[table] for table in self.tables}
        rows = {}
        for table, size in sizes.items():
            name = f"{quoted(size.schema)}.{quoted(table)}"
            rows[table] = int(await connection.fetchval(f"SELECT count(*) FROM {name}"))
        return Look(seconds, int(await connection.fetchval(HEAD)), sizes, rows)

    def _section(self, looks: list[Look]) -> Section:
        start, _, end = looks
        rate = (end.head - start.head) / (end.seconds - start.seconds)
        rows = [self._row(table, looks) for table in self.tables]
        worst = [
            f"{table} {start.sizes[table].total_bytes / KIB:,.0f} → "
            f"{end.sizes[table].total_bytes / KIB:,.0f} KiB"
            for table in ("outbox", "checkpoint", "log_head")
        ]
        grown = [f"{row[0]} {row[5]} bytes/row" for row in rows if row[5]]
        return Section(
            title=f"Small tables after {self.seconds:.0f} s at {rate:,.0f} events/s",
            heads=("", "rows", "KiB at start", "middle", "end", "growth/row", "bytes/row at start",
                   "end", "dead at end", "vacuums", "HOT"),
            rows=rows,
            ratios=[f"under {rate:,.0f} events/s for {self.seconds:.0f} s: {', '.join(worst)}; "
                    f"growth: {', '.join(grown)}"],
            figures={"looks": [asdict(look) for look in looks], "events_per_second": rate},
        )  # fmt: skip

    def _row(self, table: str, looks: list[Look]) -> tuple[str, ...]:
        start, end = looks[0], looks[-1]
        size, new = end.sizes[table], end.rows[table] - start.rows[table]
        per_row = [
            f"{look.sizes[table].total_bytes / look.rows[table]:,.0f}"
            if look.rows[table] > 100
            else ""
            for look in (start, end)
        ]
        grown = size.total_bytes - start.sizes[table].total_bytes
        return (
            table,
            f"{end.rows[table]:,}",
            *(f"{look.sizes[table].total_bytes / KIB:,.0f}" for look in looks),
            f"{grown / new:,.0f}" if new > 100 else "",
            *per_row,
            f"{size.dead_rows:,}",
            f"{size.vacuums - start.sizes[table].vacuums}",
            f"{size.hot_updates / size.updates:.0%}" if size.updates else "",
        )
