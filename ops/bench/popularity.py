"""What a follow costs, against how many followers the account has (invariant 9).

All accounts are in the same tables at the same time, so that nothing but the subject differs: the
tables' size, the indexes' depth and the state of every cache are the same. Windows of follows of
one account go in turn through the engine's own fold, writer and merger; after them, follow by
follow, the code of the incident: insert it, then count(*) all followers of the one account and all
follows of the other, each into its counter.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

import asyncpg

from ops.bench.engine import Engine
from ops.bench.place import Place
from ops.bench.popular import FollowRow, Popular
from ops.bench.section import Section
from ops.bench.spread import Spread
from projector.database import APPLY_SETTINGS, Database

POPULARITY: Final = (10, 1_000, 100_000, 1_000_000)
COUNTED: Final = 20
"""Follows counted with count(*) in a round, of an account with few followers."""
COUNTED_ROWS_MAX: Final = 5_000_000
"""Rows counted in a round, about; but never less than two follows."""

INSERT_ONE: Final = """
INSERT INTO {schema}.follow (uri, cid, creator, "subjectDid", "createdAt", "indexedAt")
VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT DO NOTHING
"""
COUNT_FOLLOWERS: Final = """
INSERT INTO {schema}.profile_agg (did, "followersCount")
VALUES ($1::varchar, (SELECT count(*) FROM {schema}.follow WHERE "subjectDid" = $1))
ON CONFLICT (did) DO UPDATE SET "followersCount" = excluded."followersCount"
"""
COUNT_FOLLOWS: Final = """
INSERT INTO {schema}.profile_agg (did, "followsCount")
VALUES ($1::varchar, (SELECT count(*) FROM {schema}.follow WHERE creator = $1))
ON CONFLICT (did) DO UPDATE SET "followsCount" = excluded."followsCount"
"""


@dataclass(slots=True)
class Follows:
    """Of accounts with `followers`: microseconds a follow, window by window; and each follow
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


def counted_in_a_round(followers: int) -> int:
    """How many follows of an account are counted with count(*) in one round."""
    return max(2, min(COUNTED, COUNTED_ROWS_MAX // followers))


async def count_each(
    connection: asyncpg.Connection, popular: Popular, rows: Sequence[FollowRow]
) -> list[float]:
    """The incident's code: inserts a follow, counts all of both accounts; microseconds of each."""
    insert = popular.sql(INSERT_ONE)
    counts = popular.sql(COUNT_FOLLOWERS), popular.sql(COUNT_FOLLOWS)
    taken = []
    for row in rows:
        _, _, follower, followed, _ = row
        begun = time.perf_counter()
        await connection.execute(insert, *row)
        await connection.execute(counts[0], followed)
        await connection.execute(counts[1], follower)
        taken.append((time.perf_counter() - begun) * 1e6)
    return taken


class Popularity:
    """Measures in a database of its own."""

    def __init__(
        self,
        place: Place,
        seed: int,
        *,
        windows: int = 5,
        follows: int = 2_000,
        popularity: Sequence[int] = POPULARITY,
    ) -> None:
        self.place = place
        self.rng = random.Random(seed)
        self.windows = windows
        self.follows = follows
        self.popular = Popular(place, seed)
        self.engine = Engine(self.popular.declarations, place.settings)
        self.results = [Follows(n) for n in popularity]

    async def measure(self, database: Database) -> list[Follows]:
        """Plants the followers, then measures; the first window of each account is a warm-up."""
        await self.popular.plant(database, {r.followers: self._turns(r) for r in self.results})
        ours = await database.connect("follows", **APPLY_SETTINGS)
        theirs = await database.connect("count", synchronous_commit="off")
        try:
            for window in range(self.windows + 1):
                for result in self.rng.sample(self.results, len(self.results)):
                    micros = await self._apply(ours, result.followers)
                    counted = await self._count(theirs, result.followers)
                    if window:
                        result.windows.append(micros)
                        result.counted += counted
        finally:
            await ours.close()
            await theirs.close()
        await self._prove(database)
        return self.results

    def _turns(self, result: Follows) -> list[int]:
        return [self.follows, counted_in_a_round(result.followers)] * (self.windows + 1)

    async def _apply(self, connection: asyncpg.Connection, followers: int) -> float:
        """Applies one window of follows and merges it; microseconds a follow."""
        account, after = self.popular.account(followers, self.follows), self.engine.offset
        events = [self.popular.event(account, after + i) for i in range(1, self.follows + 1)]
        begun = time.perf_counter()
        await self.engine.apply(connection, events)
        return (time.perf_counter() - begun) / self.follows * 1e6

    async def _count(self, connection: asyncpg.Connection, followers: int) -> list[float]:
        count = counted_in_a_round(followers)
        account = self.popular.account(followers, count)
        rows = [self.popular.row(account) for _ in range(count)]
        return await count_each(connection, self.popular, rows)

    async def _prove(self, database: Database) -> None:
        assert self.engine.done.inserted == self.engine.offset, self.engine.done
        await self.popular.prove(self.place, database)


async def section(
    place: Place,
    *,
    seed: int = 1,
    windows: int = 5,
    follows: int = 2_000,
    popularity: Sequence[int] = POPULARITY,
) -> Section:
    """What a follow costs, against how many followers the account has."""
    async with place.fresh() as database:
        measured = Popularity(place, seed, windows=windows, follows=follows, popularity=popularity)
        return report(await measured.measure(database), follows)


def report(results: Sequence[Follows], follows: int) -> Section:
    """The results as a table."""
    least, most = results[0], results[-1]
    spreads = [(Spread.of(r.windows), Spread.of(r.counted)) for r in results]
    rows = [
        (
            f"{result.followers:,}",
            ours.text(),
            ours.span(),
            f"{result.micros / least.micros:.2f}",
            counted.text(",.0f"),
            counted.span(",.0f"),
            f"{result.counted_micros / result.micros:,.1f}",
        )
        for result, (ours, counted) in zip(results, spreads, strict=True)
    ]
    return Section(
        f"Cost of a follow against popularity, windows of {follows:,} follows",
        ("followers", "µs/follow", "min–max", "to least", "count(*) per event, µs", "min–max",
         "to ours"),
        rows,
        [
            f"follow of an account with {most.followers:,} followers / with {least.followers:,}: "
            f"{most.micros / least.micros:.2f} "
            f"(count(*) per event: {most.counted_micros / least.counted_micros:,.0f})",
        ],
        {
            "follows_in_a_window": follows,
            "accounts": [
                {
                    "followers": result.followers,
                    **ours.figures("micros_a_follow"),
                    "to_least": result.micros / least.micros,
                    **counted.figures("counted_micros_a_follow"),
                }
                for result, (ours, counted) in zip(results, spreads, strict=True)
            ],
        },
    )  # fmt: skip
