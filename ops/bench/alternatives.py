"""What one would write instead of this engine, at a popular account and at an unpopular one.

Every way inserts follows of one account into the same table with the same indexes, and keeps the
same two counters of the same table exact:

- `per event`: a transaction for each follow: insert it, add one to both counters, move the cursor;
- `trigger`: a transaction for each follow that only inserts it: a row trigger adds to the counters;
- `count(*)`: the incident's code, see `ops.bench.popularity`.

They are treated well: their statements are prepared, their commits wait for no disk (as ours, but
for the ways called durable), their rows are made beforehand, where ours begins with the events'
JSON, and of several connections at once the fastest number speaks for a way.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import asyncpg

from ops.bench.engine import Engine
from ops.bench.place import Place
from ops.bench.popular import FollowRow, Popular
from ops.bench.popularity import INSERT_ONE, count_each, counted_in_a_round
from ops.bench.section import Section
from ops.bench.spread import Spread
from projector.database import APPLY_SETTINGS, Database

POPULARITY: Final = (10, 1_000_000)
OURS: Final = "ours"
CONNECTIONS: Final = 4

ADD_FOLLOWER: Final = """
INSERT INTO {schema}.profile_agg AS a (did, "followersCount") VALUES ($1, 1)
ON CONFLICT (did) DO UPDATE SET "followersCount" = a."followersCount" + 1
"""
ADD_FOLLOW: Final = """
INSERT INTO {schema}.profile_agg AS a (did, "followsCount") VALUES ($1, 1)
ON CONFLICT (did) DO UPDATE SET "followsCount" = a."followsCount" + 1
"""
MOVE_CURSOR: Final = """
INSERT INTO {schema}.bench_cursor AS c (worker, position) VALUES ($1, 1)
ON CONFLICT (worker) DO UPDATE SET position = c.position + 1
"""
SET_UP: Final = (
    "CREATE TABLE {schema}.bench_cursor (worker integer PRIMARY KEY, position bigint NOT NULL)",
    "CREATE FUNCTION {schema}.bench_count() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    + ADD_FOLLOWER.replace("$1", 'NEW."subjectDid"')
    + ";"
    + ADD_FOLLOW.replace("$1", "NEW.creator")
    + "; RETURN NULL; END $$",
    "CREATE TRIGGER bench_count AFTER INSERT ON {schema}.follow"
    " FOR EACH ROW EXECUTE FUNCTION {schema}.bench_count()",
)
SWITCH: Final = "ALTER TABLE {schema}.follow %s TRIGGER bench_count"

Work = Callable[[asyncpg.Connection, Popular, Sequence[FollowRow], int], Awaitable[object]]


async def per_event(
    connection: asyncpg.Connection, popular: Popular, rows: Sequence[FollowRow], worker: int
) -> None:
    """A projector that does each event by itself: row, counters and cursor in one transaction."""
    insert, cursor = popular.sql(INSERT_ONE), popular.sql(MOVE_CURSOR)
    add_follower, add_follow = popular.sql(ADD_FOLLOWER), popular.sql(ADD_FOLLOW)
    for row in rows:
        async with connection.transaction():
            if await connection.execute(insert, *row) == "INSERT 0 1":
                await connection.execute(add_follower, row[3])
                await connection.execute(add_follow, row[2])
            await connection.execute(cursor, worker)


async def insert_each(
    connection: asyncpg.Connection, popular: Popular, rows: Sequence[FollowRow], _: int
) -> None:
    """An indexer that leaves the counting to a trigger."""
    insert = popular.sql(INSERT_ONE)
    for row in rows:
        await connection.execute(insert, *row)


async def incident(
    connection: asyncpg.Connection, popular: Popular, rows: Sequence[FollowRow], _: int
) -> None:
    """An indexer that counts everything, each time."""
    await count_each(connection, popular, rows)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to do it: `group` is what it is called, by however many connections."""

    group: str
    work: Work
    connections: int = 1
    durable: bool = False

    @property
    def name(self) -> str:
        """What tells it from all others."""
        return f"{self.group}, {self.connections} connection{'s' * (self.connections > 1)}"

    @property
    def triggered(self) -> bool:
        """Whether the trigger is to be on."""
        return self.work is insert_each

    def follows(self, followers: int, most: int) -> int:
        """How many follows a round has."""
        if self.work is incident:
            return counted_in_a_round(followers)
        return most // 4 if self.durable else most


WAYS: Final = (
    *(Way("per event", per_event, n) for n in (1, CONNECTIONS)),
    *(Way("per event, durable", per_event, n, durable=True) for n in (1, CONNECTIONS)),
    *(Way("trigger", insert_each, n) for n in (1, CONNECTIONS)),
    *(Way("trigger, durable", insert_each, n, durable=True) for n in (1, CONNECTIONS)),
    Way("count(*)", incident),
)

Rates = dict[tuple[str, int], list[float]]
"""Follows a second, round by round, by way and popularity."""


class Alternatives:
    """Measures in a database of its own."""

    def __init__(
        self,
        place: Place,
        seed: int,
        *,
        rounds: int,
        follows: int,
        windows: int,
        window_follows: int,
        popularity: Sequence[int],
    ) -> None:
        self.place = place
        self.rng = random.Random(seed)
        self.rounds = rounds
        self.follows = follows
        self.windows = windows
        self.window_follows = window_follows
        self.popularity = popularity
        self.popular = Popular(place, seed)
        self.engine = Engine(self.popular.declarations, place.settings)
        self.rates: Rates = defaultdict(list)

    async def measure(self, database: Database) -> Rates:
        """Plants, then has everybody work in turn; the first round is a warm-up."""
        await self.popular.plant(database, {n: self._turns(n) for n in self.popularity})
        async with AsyncExitStack() as stack:
            await self._open(stack, database)
            turns = [(way, n) for way in (None, *WAYS) for n in self.popularity]
            for number in range(self.rounds + 1):
                for way, followers in self.rng.sample(turns, len(turns)):
                    rate = await (self._theirs(way, followers) if way else self._ours(followers))
                    if number:
                        self.rates[way.name if way else OURS, followers].append(rate)
        assert self.engine.done.inserted == self.engine.offset, self.engine.done
        await self.popular.prove(self.place, database)
        return self.rates

    async def _open(self, stack: AsyncExitStack, database: Database) -> None:
        async def connect(role: str, **settings: str) -> asyncpg.Connection:
            connection = await database.connect(role, **settings)
            stack.push_async_callback(connection.close)
            return connection

        self.admin = await connect("bench")
        for statement in (*SET_UP, SWITCH % "DISABLE"):
            await self.admin.execute(self.popular.sql(statement))
        self.connection = await connect("ours", **APPLY_SETTINGS)
        self.fast = [await connect("way", synchronous_commit="off") for _ in range(CONNECTIONS)]
        self.durable = [await connect("durable") for _ in range(CONNECTIONS)]

    def _turns(self, followers: int) -> list[int]:
        theirs = [way.follows(followers, self.follows) for way in WAYS]
        return [*[self.window_follows] * self.windows, *theirs] * (self.rounds + 1)

    async def _ours(self, followers: int) -> float:
        """Follows a second, window after window, each of an account that is as popular."""
        seconds = 0.0
        for _ in range(self.windows):
            account = self.popular.account(followers, self.window_follows)
            offsets = range(self.engine.offset + 1, self.engine.offset + 1 + self.window_follows)
            events = [self.popular.event(account, offset) for offset in offsets]
            begun = time.perf_counter()
            await self.engine.apply(self.connection, events)
            seconds += time.perf_counter() - begun
        return self.windows * self.window_follows / seconds

    async def _theirs(self, way: Way, followers: int) -> float:
        count = way.follows(followers, self.follows)
        account = self.popular.account(followers, count)
        rows = [self.popular.row(account) for _ in range(count)]
        connections = (self.durable if way.durable else self.fast)[: way.connections]
        if way.triggered:
            await self.admin.execute(self.popular.sql(SWITCH % "ENABLE"))
        begun = time.perf_counter()
        await asyncio.gather(
            *(
                way.work(connection, self.popular, rows[worker :: way.connections], worker)
                for worker, connection in enumerate(connections)
            )
        )
        seconds = time.perf_counter() - begun
        if way.triggered:
            await self.admin.execute(self.popular.sql(SWITCH % "DISABLE"))
        return count / seconds


async def section(
    place: Place,
    *,
    seed: int = 1,
    rounds: int = 5,
    follows: int = 1_000,
    windows: int = 5,
    window_follows: int = 20_000,
    popularity: Sequence[int] = POPULARITY,
) -> Section:
    """Follows a second by every way, and how many times as many are ours.

    `follows` are those of a round of a way, `windows` of `window_follows` those of a round of ours.
    `popularity` are numbers of followers, the last the one that matters.
    """
    async with place.fresh() as database:
        alternatives = Alternatives(
            place,
            seed,
            rounds=rounds,
            follows=follows,
            windows=windows,
            window_follows=window_follows,
            popularity=popularity,
        )
        return report(await alternatives.measure(database), popularity, window_follows)


def report(rates: Rates, popularity: Sequence[int], window_follows: int) -> Section:
    """The rates as a table, with a ratio for the best of each group of ways."""
    spreads = {key: Spread.of(values) for key, values in rates.items()}
    names = list(dict.fromkeys(name for name, _ in spreads))
    names.sort(key=[OURS, *(way.name for way in WAYS)].index)
    most = popularity[-1]
    times = {name: spreads[OURS, most].over(spreads[name, most]) for name in names}
    heads = ["", *(h for n in popularity for h in (f"follows/s at {n:,} followers", "min–max"))]
    rows = []
    for name in names:
        row = [name]
        for n in popularity:
            row += [spreads[name, n].text(",.0f"), spreads[name, n].span(",.0f")]
        rows.append((*row, times[name].text(), times[name].span()))
    groups: dict[str, str] = {}
    for way in WAYS:
        best = groups.setdefault(way.group, way.name)
        if spreads[way.name, most].median > spreads[best, most].median:
            groups[way.group] = way.name
    return Section(
        f"Against what one would write instead, windows of {window_follows:,} follows",
        (*heads, "ours is times as fast", "min–max"),
        rows,
        [
            f"ours / {name}, at {most:,} followers: {times[name].text()} ({times[name].span()})"
            for name in groups.values()
        ],
        {
            "follows_in_a_window": window_follows,
            "ways": {
                name: {
                    **times[name].figures(f"ours_to_it_at_{most}_followers"),
                    **{
                        key: value
                        for n in popularity
                        for key, value in spreads[name, n]
                        .figures(f"follows_a_second_at_{n}_followers")
                        .items()
                    },
                }
                for name in names
            },
        },
    )
