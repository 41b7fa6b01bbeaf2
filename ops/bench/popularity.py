"""What a follow costs, against how many followers the account has (invariant 9).

All accounts are in the same tables at the same time, so that nothing but the subject differs: the
tables' size, the indexes' depth and the state of every cache are the same. Windows of each account
go in turn through the engine's own fold, writer and merger.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import median
from typing import Final

import asyncpg

from events.event import EPOCH, Event
from ops.bench.place import Place
from projector.aggregate import Merger
from projector.apply import Step, TableWriter
from projector.database import APPLY_SETTINGS, Database
from projector.declare import Aggregate, Projection
from projector.fold import Folder, Window

POPULARITY: Final = (10, 1_000, 100_000, 1_000_000)
COLLECTION: Final = "app.bsky.graph.follow"
CID: Final = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a"
COUNTED: Final = ((10, 200), (1_000, 200), (100_000, 20), (1_000_000, 5))
"""How many follows are counted with count(*), by popularity."""

PLANT: Final = """
INSERT INTO {schema}.follow (uri, cid, creator, "subjectDid", "createdAt", "indexedAt")
SELECT format('at://%s/app.bsky.graph.follow/3k%s', did, lpad(to_hex(i), 11, '2')), $2, did, $1,
    '2026-07-01T00:00:00.000Z', '2026-07-01T00:00:00.000Z'
FROM generate_series(1, $3) AS i,
    LATERAL (SELECT 'did:plc:' || substr(md5($1 || i::text), 1, 24) AS did) AS d ORDER BY 1
"""
PLANT_COUNTS: Final = """
INSERT INTO {schema}.profile_agg (did, "followersCount", "followsCount")
SELECT did, sum(followers), sum(follows) FROM (
    SELECT "subjectDid" AS did, count(*) AS followers, 0 AS follows FROM {schema}.follow GROUP BY 1
    UNION ALL SELECT creator, 0, count(*) FROM {schema}.follow GROUP BY 1) AS c
GROUP BY 1 ORDER BY 1
"""
INSERT_ONE: Final = """
INSERT INTO {schema}.follow (uri, cid, creator, "subjectDid", "createdAt", "indexedAt")
VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT DO NOTHING
"""
COUNT_ONE: Final = """
UPDATE {schema}.profile_agg
SET "followersCount" = (SELECT count(*) FROM {schema}.follow WHERE "subjectDid" = $1)
WHERE did = $1
"""
MOMENT: Final = "2026-07-02T00:00:00.000Z"


@dataclass(slots=True)
class Follows:
    """Of an account with `followers`: microseconds a follow, window by window; and each follow
    that was inserted and counted with count(*)."""

    followers: int
    windows: list[float] = field(default_factory=list)
    counted: list[float] = field(default_factory=list)

    @property
    def micros(self) -> float:
        """The median window's microseconds a follow."""
        return median(self.windows)

    @property
    def counted_micros(self) -> float:
        """The median microseconds of a follow counted with count(*)."""
        return median(self.counted)


class Popularity:
    """Measures in a database of its own."""

    def __init__(self, place: Place, seed: int, *, windows: int = 5, follows: int = 2_000) -> None:
        self.place = place
        self.rng = random.Random(seed)
        self.windows = windows
        self.follows = follows
        self.results = [Follows(n) for n in POPULARITY]
        self.offset = 0
        projection = next(d for d in place.declarations if d.name == "follow")
        aggregate = next(d for d in place.declarations if d.name == "profile_agg")
        assert isinstance(projection, Projection) and isinstance(aggregate, Aggregate)
        self.folder = Folder(projection)
        self.writer = TableWriter(projection, place.declarations, place.settings.schema)
        self.merger = Merger(aggregate, place.settings.schema, place.settings.outbox_rows_max)

    async def measure(self, database: Database) -> list[Follows]:
        """Plants the followers, then measures; the first window of each account is a warm-up."""
        connection = await database.connect("follows", **APPLY_SETTINGS)
        try:
            await self._plant(connection)
            for window in range(self.windows + 1):
                for result in self.rng.sample(self.results, len(self.results)):
                    micros = await self._apply(connection, result.followers)
                    if window:
                        result.windows.append(micros)
            for (_, counted), result in zip(COUNTED, self.results, strict=True):
                for _ in range(counted):
                    result.counted.append(await self._count(connection, result.followers))
        finally:
            await connection.close()
        return self.results

    def _sql(self, template: str) -> str:
        return template.format(schema=f'"{self.place.settings.schema}"')

    async def _plant(self, connection: asyncpg.Connection) -> None:
        for followers in POPULARITY:
            await connection.execute(
                self._sql(PLANT), _account(followers), CID, followers, timeout=None
            )
        await connection.execute(self._sql("VACUUM ANALYZE {schema}.follow"), timeout=None)
        await connection.execute("RESET enable_hashjoin")
        await connection.execute(self._sql(PLANT_COUNTS), timeout=None)
        await connection.execute("SET enable_hashjoin = off")
        await connection.execute(self._sql("VACUUM ANALYZE {schema}.profile_agg"), timeout=None)

    async def _apply(self, connection: asyncpg.Connection, followers: int) -> float:
        """Applies one window of follows and merges it; microseconds a follow."""
        after = self.offset
        events = [self._event(followers, after + i) for i in range(1, self.follows + 1)]
        self.offset += self.follows
        begun = time.perf_counter()
        window = Window(after, self.offset, events, [])
        folded = self.folder.fold(window)
        step = Step(window.after, window.through, window.events)
        applied = await self.writer.apply(connection, step, folded)
        merged = await self.merger.merge(connection)
        seconds = time.perf_counter() - begun
        assert applied.inserted == self.follows and merged.rows, (applied, merged)
        return seconds / self.follows * 1e6

    def _event(self, followers: int, offset: int) -> Event:
        did, rkey = _follower(self.rng), f"3l{offset:011d}"
        record = (
            f'{{"$type":"{COLLECTION}","subject":"{_account(followers)}","createdAt":"{MOMENT}"}}'
        )
        at = EPOCH + timedelta(days=20_636, milliseconds=offset)
        return Event(
            offset, did, "commit", "create", COLLECTION, rkey, rkey, CID, record.encode(), at
        )

    async def _count(self, connection: asyncpg.Connection, followers: int) -> float:
        """The incident's code: insert the follow, count all of them; microseconds."""
        did = _follower(self.rng)
        uri = f"at://{did}/{COLLECTION}/3m{self.rng.getrandbits(40):011x}"
        begun = time.perf_counter()
        async with connection.transaction():
            await connection.execute(
                self._sql(INSERT_ONE), uri, CID, did, _account(followers), MOMENT
            )
            await connection.execute(self._sql(COUNT_ONE), _account(followers))
        return (time.perf_counter() - begun) * 1e6


def _account(followers: int) -> str:
    return f"did:plc:popular{followers:017d}".replace("0", "z").replace("1", "y")


def _follower(rng: random.Random) -> str:
    return "did:plc:" + "".join(rng.choices("abcdefghijklmnopqrstuvwxyz234567", k=24))
