"""The live picture of a running projector: rates, lag, and who is counted most."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

import asyncpg
from rich.console import Group
from rich.table import Table
from rich.text import Text

from projector.declare import Aggregate, Kept
from projector.home import quoted
from projector.output import shown, table
from projector.status import Status, read_status

RATE_SECONDS = 3.0
TOP_SECONDS = 1.0
TOP_ROWS = 5
TOP_KEYS_MAX = 2_000_000
"""Above so many keys the most counted are not looked for: that reads the whole table."""


class Picture:
    """Draws the status again and again; rates are those between its own looks."""

    def __init__(
        self, connection: asyncpg.Connection, declarations: Sequence[Kept], schema: str
    ) -> None:
        self.connection = connection
        self.declarations = declarations
        self.schema = schema
        self.line = ""
        self._seen: deque[tuple[float, dict[str, int]]] = deque()
        self._top: list[tuple[str, int]] = []
        self._top_at = 0.0

    async def take(self) -> Group:
        """Reads everything and draws it."""
        status = await read_status(self.connection, self.declarations)
        rates = self._rates(status)
        top = await self._most_counted()
        self.line = f"{status.sentence} {rates.get('log', 0.0):,.0f} events/s"
        parts: list[Table | Text] = [Text(status.sentence, style="bold"), _flow(status, rates)]
        if top is not None:
            parts.append(top)
        return Group(*parts)

    def _rates(self, status: Status) -> dict[str, float]:
        now = time.monotonic()
        at = {"log": status.head, **{p.name: p.events for p in status.projections}}
        self._seen.append((now, at))
        while len(self._seen) > 2 and now - self._seen[0][0] > RATE_SECONDS:
            self._seen.popleft()
        since, before = self._seen[0]
        seconds = now - since
        if seconds <= 0:
            return {}
        return {name: (n - before.get(name, n)) / seconds for name, n in at.items()}

    async def _most_counted(self) -> Table | None:
        aggregate = next((d for d in self.declarations if isinstance(d, Aggregate)), None)
        if aggregate is None:
            return None
        aggregate = next(
            (d for d in self.declarations if isinstance(d, Aggregate) and d.key == "did"), aggregate
        )
        counter = next(iter(aggregate.counters))
        now = time.monotonic()
        if now - self._top_at >= TOP_SECONDS:
            self._top_at = now
            self._top = await self._read_top(aggregate, counter)
        if not self._top:
            return None
        return table(f"most {counter}", (aggregate.key, counter), self._top)

    async def _read_top(self, aggregate: Aggregate, counter: str) -> list[tuple[str, int]]:
        name = f"{quoted(self.schema)}.{quoted(aggregate.table)}"
        size = "SELECT greatest(reltuples, 0) FROM pg_class WHERE oid = $1::text::regclass"
        if await self.connection.fetchval(size, name) > TOP_KEYS_MAX:
            return []
        rows = await self.connection.fetch(
            f"SELECT {quoted(aggregate.key)}, {quoted(counter)} FROM {name}"
            f" ORDER BY {quoted(counter)} DESC, 1 LIMIT {TOP_ROWS}"
        )
        return [(str(key), int(n)) for key, n in rows]


def _flow(status: Status, rates: dict[str, float]) -> Table:
    rows: list[tuple[object, ...]] = [
        ("event log", status.head, rates.get("log", 0.0), None, None, None)
    ]
    rows += [
        (p.name, p.checkpoint, rates.get(p.name, 0.0), p.lag_events, p.lag_seconds, p.dead_letters)
        for p in status.projections
    ]
    grid = Table(box=None, pad_edge=False)
    for column in ("", "offset", "events/s", "lag events", "lag seconds", "dead letters"):
        grid.add_column(column, justify="right" if column else "left", header_style="dim")
    for row in rows:
        grid.add_row(*(shown(value) if value is not None else "" for value in row))
    return grid
