"""Probe: is what an independent upstream says in the log, and in the tables?

Listens for a while, waits until all of it must have come, and looks. The log is read once, from a
little before the listening began to its head: its live partition has no index by uri, and needs
none for that. Both looks are as of one snapshot.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import Final

import asyncpg
import msgspec

from events.event import Source
from events.log import read_head
from events.sources.jetstream_url import PUBLIC_HOSTS
from projector.completeness import ProbeReport
from projector.database import Database, close_quietly
from projector.declare import Projection
from projector.errors import CannotConnect
from projector.looked import LogPart, Looked, Told
from projector.moments import offset_at
from projector.seen import Commit, Seen
from projector.snapshots import snapshot, tables_of
from projector.statements import live

MARGIN_SECONDS: Final = 120.0
"""How long before the listening began an event may have been appended that is then heard: by so
much the upstream may be slower than the source."""

FIRST_SECONDS_MAX: Final = 15.0
"""How long to wait for the upstream's first word."""

READ_EVENTS: Final = 5_000
URIS_MAX: Final = 5_000

CONNECTION_SETTINGS: Final = {"enable_seqscan": "off", "max_parallel_workers_per_gather": "0"}

NOW: Final = "SELECT extract(epoch FROM clock_timestamp())::float8"
RANGE: Final = """
SELECT log_offset, did, kind, action, collection, rkey, rev,
    CASE WHEN kind = 'identity' THEN record END
FROM projector.event_log WHERE log_offset > $1 AND log_offset <= $2
    AND kind IN ('commit', 'account', 'sync', 'identity') ORDER BY log_offset
"""
LAST: Final = """
SELECT extract(epoch FROM occurred_at)::float8 FROM projector.event_log WHERE log_offset = $1
"""
CHECKPOINTS: Final = "SELECT projection, log_offset FROM projector.checkpoint"
LETTERS: Final = """
SELECT projection, log_offset FROM projector.dead_letter
WHERE projection = ANY($1::text[]) AND log_offset > $2
"""


class _Service(msgspec.Struct):
    serviceEndpoint: str = ""
    type: str = ""


class _Document(msgspec.Struct, frozen=True):
    service: list[_Service] = []


class _Identity(msgspec.Struct, frozen=True):
    didDoc: _Document = _Document()


_identity = msgspec.json.Decoder(_Identity).decode


def host_in(record: bytes | None) -> str | None:
    """The PDS host that an identity event's DID document names; None where it has none."""
    try:
        services = _identity(record or b"{}").didDoc.service
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    for service in services:
        if service.type == "AtprotoPersonalDataServer":
            return service.serviceEndpoint.partition("://")[2].partition("/")[0][:253] or None
    return None


def independent_upstream(sources: Sequence[str]) -> str:
    """Of the public hosts the last that is no source: fail-over begins with the first."""
    others = [host for host in PUBLIC_HOSTS if host not in sources]
    return (others or list(PUBLIC_HOSTS))[-1]


async def listen(source: Source, seconds: float, seen: Seen) -> None:
    """Takes what the upstream says for so long, from the first on that it says."""
    now = asyncio.get_running_loop().time
    first = True
    with suppress(TimeoutError):
        async with (
            asyncio.timeout(max(seconds, FIRST_SECONDS_MAX)) as limit,
            aclosing(source.batches(None)) as batches,
        ):
            async for batch in batches:
                if first:
                    first = False
                    limit.reschedule(now() + seconds)
                for event in batch.events:
                    seen.add(event)


class Probe:
    """One probe of an upstream. `say` is told what it is at."""

    def __init__(
        self,
        database: Database,
        source: Source,
        projections: Sequence[Projection],
        schema: str,
        *,
        seconds: float,
        grace_seconds: float,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.database = database
        self.source = source
        self.projections = projections
        self.schema = schema
        self.seconds = seconds
        self.grace_seconds = grace_seconds
        self.say = say
        self.seen = Seen(projections)

    async def run(self) -> ProbeReport:
        """Listens, waits, looks. Raises `CannotConnect` where the upstream brought nothing."""
        begun_at = time.time()
        after = await self._place()
        self.say(f"listening to {self.source.name} for {self.seconds:g} s")
        await listen(self.source, self.seconds, self.seen)
        if not self.seen.commits:
            raise CannotConnect(
                f"{self.source.name} brought nothing in {max(self.seconds, FIRST_SECONDS_MAX):g} "
                "s, so nothing can be compared; name another host by --upstream, or give it more "
                "--seconds"
            )
        self.say(f"{len(self.seen.commits):,} commits; waiting {self.grace_seconds:g} s for them")
        await asyncio.sleep(self.grace_seconds)
        return await self._look(after, begun_at)

    async def _connected(self) -> asyncpg.Connection:
        return await self.database.connect("probe", **CONNECTION_SETTINGS)

    async def _place(self) -> int:
        """The offset after which all is that can be heard from now on, by the server's clock."""
        connection = await self._connected()
        try:
            since = await connection.fetchval(NOW) - MARGIN_SECONDS
            return await offset_at(connection, datetime.fromtimestamp(since, UTC).isoformat()) - 1
        finally:
            await close_quietly(connection)

    async def _look(self, after: int, begun_at: float) -> ProbeReport:
        connection = await self._connected()
        try:
            async with snapshot(connection, tables_of(self.projections, self.schema)):
                head = await read_head(connection)
                part = await self._read(connection, after, head)
                last = await connection.fetchval(LAST, head) or 0.0
                looked = Looked(self.seen, part)
                await self._tables(connection, after, looked)
        finally:
            await close_quietly(connection)
        collections, hosts = looked.shares()
        return ProbeReport(
            upstream=self.source.name,
            begun_at=begun_at,
            listened_seconds=self.seconds,
            grace_seconds=self.grace_seconds,
            looked_at=1 / self.seen.one_in,
            behind_seconds=round(max(self.seen.last_us / 1e6 - last, 0.0), 3),
            not_applied=len(looked.not_applied),
            collections=collections,
            hosts=hosts,
            samples=looked.samples(),
        )

    async def _read(self, connection: asyncpg.Connection, after: int, head: int) -> LogPart:
        uris = {commit.uri for commit in self.seen.commits.values()}
        dids = {commit.did for commit in self.seen.commits.values()}
        part = LogPart()
        for first in range(after, head, READ_EVENTS):
            rows = await connection.fetch(RANGE, first, min(first + READ_EVENTS, head))
            for offset, did, kind, action, collection, rkey, rev, record in rows:
                if did not in dids:
                    continue
                if kind == "commit":
                    uri = f"at://{did}/{collection}/{rkey}"
                    if uri in uris:
                        part.keys.add((uri, rev or "", action))
                        part.told[uri].append(Told(offset, action, rev))
                elif kind == "identity":
                    if (host := host_in(record)) is not None:
                        part.hosts[did] = host
                elif (kind, action) in (("account", "deleted"), ("sync", "reset")):
                    part.removed[did] = offset
        return part

    async def _tables(self, connection: asyncpg.Connection, after: int, looked: Looked) -> None:
        names = [projection.name for projection in self.projections]
        checkpoints = {row[0]: row[1] for row in await connection.fetch(CHECKPOINTS)}
        letters = {tuple(row) for row in await connection.fetch(LETTERS, names, after)}
        for projection in self.projections:
            through = checkpoints.get(projection.name, 0)
            expected = looked.expected(projection, through, letters)
            uris = sorted(expected)
            for at in range(0, len(uris), URIS_MAX):
                piece = {uri: expected[uri] for uri in uris[at : at + URIS_MAX]}
                there = await self._there(connection, projection, piece)
                looked.found(projection.table.name, piece, there)

    async def _there(
        self,
        connection: asyncpg.Connection,
        projection: Projection,
        expected: dict[str, Commit],
    ) -> set[str]:
        """The uris of rows in the table, of those that wait for another's claim, and of those that
        a later revision has overtaken."""
        home, table, uris = live(projection, self.schema), projection.table, list(expected)
        places = [home.base(table), *([home.shelf(table)] if table.unique else [])]
        sql = " UNION ALL ".join(f"SELECT uri FROM {p} WHERE uri = ANY($1::text[])" for p in places)
        there = {row[0] for row in await connection.fetch(sql, uris)}
        revs = f"SELECT uri, rev FROM {home.versions(projection)} WHERE uri = ANY($1::text[])"
        known = await connection.fetch(revs, [uri for uri in uris if uri not in there])
        return there | {uri for uri, rev in known if rev > expected[uri].rev}
