"""Mending: accounts' rows and counters compared with the log, and put right, while all is live."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

import asyncpg
import msgspec

from events.crashpoints import crash_point
from events.history import WholeLog
from projector.apply import TableWriter
from projector.counters import (
    Compared,
    CounterChange,
    Keys,
    Watched,
    compare,
    compare_owned,
    correct,
    correction,
    watched_by,
)
from projector.declare import Declaration, Projection
from projector.errors import CheckpointMoved, Corruption, ProjectorError, SchemaMismatch
from projector.fold import Letter
from projector.home import Counter
from projector.lives import Lives, Moved, read_refused
from projector.outbox import put_deltas
from projector.patch import Change, PatchWriter, Plan, Refused, plan, strangers
from projector.snapshots import snapshot, tables_of
from projector.statements import NOTIFY_OUTBOX, live

ATTEMPTS_MAX: Final = 20
"""How often to begin anew where checkpoints are set back, or rows refused, in the meantime."""

CHECKPOINTS: Final = """
SELECT projection, log_offset, version FROM projector.checkpoint WHERE projection = ANY($1::text[])
"""
# Whoever applies windows waits, and looks up again what it looked up ahead.
HOLD: Final = """
UPDATE projector.checkpoint SET edits = edits + 1 WHERE projection = $1
RETURNING projection, log_offset, version
"""
MENDED: Final = """
DELETE FROM projector.finding WHERE did = ANY($1::text[]) AND projection = ANY($2::text[])
"""


class Buried(msgspec.Struct, frozen=True, kw_only=True):
    """An event that became a dead letter."""

    projection: str
    log_offset: int
    error: str


class Patch(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done, or was done, about some accounts as of the projections' offsets.

    `events` is how many events of theirs the log has; `letters` are dead letters that were made.
    """

    accounts: list[str]
    events: int
    as_of: dict[str, int]
    changes: list[Change]
    counters: list[CounterChange]
    letters: list[Buried]

    @property
    def differences(self) -> int:
        """How many keys and counters are not what they must be."""
        return len(self.changes) + len(self.counters)


class _Strangers(Exception):
    """Rows of further accounts are in the way; they are to be mended together."""

    def __init__(self, dids: set[str]) -> None:
        super().__init__()
        self.dids = dids


class Mender:
    """Compares and mends accounts, over all projections or those named.

    `owned`: the counters of all keys that are the accounts' own are compared too, not only of keys
    that the patch moves.
    """

    def __init__(
        self,
        declarations: Sequence[Declaration],
        schema: str,
        names: Collection[str] | None = None,
        *,
        owned: bool = True,
    ) -> None:
        self.schema = schema
        self.owned = owned
        self.log = WholeLog()
        # In the order in which their checkpoints are held.
        self.projections = sorted(
            (
                d
                for d in declarations
                if isinstance(d, Projection) and (names is None or d.name in names)
            ),
            key=lambda d: d.name,
        )
        self.names = [p.name for p in self.projections]
        self.writers = {p.name: TableWriter(p, live(p, schema)) for p in self.projections}
        self.watched = watched_by(declarations, self.names, schema)
        counting = [watched.aggregate for watched in self.watched]
        self.tables = tables_of([*self.projections, *counting], schema)
        self._refusals: dict[str, dict[int, tuple[str, Letter]]] = {name: {} for name in self.names}

    async def lives(
        self, connection: asyncpg.Connection, dids: Iterable[str], moved: Moved | None = None
    ) -> Lives:
        """The lives of accounts up to the checkpoints as they are now."""
        lives = Lives(self.projections, dids, await self._refused(connection), moved)
        await self._reach(connection, lives, await self._checkpoints(connection))
        return lives

    async def look(
        self, connection: asyncpg.Connection, lives: Lives, keys: Keys | None = None
    ) -> Patch:
        """What is to be done about these accounts, and keys of counters; changes nothing."""
        return await self._settled(connection, lives, partial(self._look, connection, keys or {}))

    async def mend(
        self, connection: asyncpg.Connection, lives: Lives, keys: Keys | None = None
    ) -> Patch:
        """Does it, in one transaction; returns what was done."""
        return await self._settled(connection, lives, partial(self._mend, connection, keys or {}))

    async def _settled(
        self,
        connection: asyncpg.Connection,
        lives: Lives,
        attempt: Callable[[Lives], Awaitable[Patch]],
    ) -> Patch:
        """Begins anew as long as what was read turns out to be void, or not to be all."""
        for _ in range(ATTEMPTS_MAX):
            try:
                return await attempt(lives)
            except CheckpointMoved:
                dids = lives.dids
            except _Strangers as more:
                dids = [*lives.dids, *sorted(more.dids)]
            except Refused as refused:
                dids = lives.dids
                self._refusals[refused.projection].update(refused.letters)
            lives = await self.lives(connection, dids, lives.moved)
        raise ProjectorError(
            f"{', '.join(lives.dids[:3])}: what is to be mended does not hold still; is somebody "
            "setting checkpoints? run it again"
        )

    async def _look(self, connection: asyncpg.Connection, keys: Keys, lives: Lives) -> Patch:
        async with snapshot(connection, self.tables):
            await self._reach(connection, lives, await self._checkpoints(connection))
            plans = await self._plans(connection, lives)
            counters: list[CounterChange] = []
            for watched in self.watched:
                moves = plans[watched.count.of.name].moves(watched.count)
                compared = await self._compare(
                    connection, watched, lives, {*moves, *keys.get(watched, ())}
                )
                for key, now in compared.items():
                    after = now.counted + moves[key]
                    if now.stored + now.pending != after or now.stored + now.low < 0:
                        counters.append(_changed(watched, key, now, after))
        return _patch(lives, plans, counters, [])

    async def _mend(self, connection: asyncpg.Connection, keys: Keys, lives: Lives) -> Patch:
        try:
            async with connection.transaction():
                patch = await self._write(connection, keys, lives)
                # Rolled back by Postgres: as if it had not begun.
                crash_point("patch-written")
        except asyncpg.UniqueViolationError as error:
            raise Corruption(
                f"{error.message}; the tables contradict each other, rebuild the projection"
            ) from error
        # Done, and durable; whoever runs it again finds nothing to do.
        crash_point("patch-committed")
        for letter in patch.letters:
            del self._refusals[letter.projection][letter.log_offset]
        return patch

    async def _write(self, connection: asyncpg.Connection, keys: Keys, lives: Lives) -> Patch:
        held = [await connection.fetchrow(HOLD, name) for name in self.names]
        await self._reach(connection, lives, self._offsets([row for row in held if row]))
        for writer in self.writers.values():
            await writer.read_feeds(connection)
        plans = await self._plans(connection, lives)
        moves: dict[Counter, Tally[str]] = {}
        for name, writer in self.writers.items():
            tally = await PatchWriter(writer).write(connection, plans[name])
            moves.update(zip(writer.sql.counters, tally, strict=True))
        counters = await self._count(lives, connection, keys, moves)
        await connection.execute(MENDED, lives.dids, self.names)
        return _patch(lives, plans, counters, await self._bury(connection, lives))

    async def _count(
        self,
        lives: Lives,
        connection: asyncpg.Connection,
        keys: Keys,
        moves: dict[Counter, Tally[str]],
    ) -> list[CounterChange]:
        """Has the rows' moves counted, and puts right what was wrong before them."""
        changes: list[CounterChange] = []
        added: dict[str, dict[str, dict[str, int]]] = {}
        for watched in self.watched:
            moved = moves.setdefault(watched.fed, Tally())
            compared = await self._compare(
                connection, watched, lives, {*moved, *keys.get(watched, ())}
            )
            for key, now in compared.items():
                todo = correction(now, moved[key])
                moved[key] = todo.delta
                if todo.stored:
                    of = added.setdefault(watched.aggregate.name, {}).setdefault(key, {})
                    of[watched.name] = todo.stored
                if todo.stored or now.stored + now.pending != now.counted:
                    changes.append(_changed(watched, key, now, now.counted))
        for name, writer in self.writers.items():
            fed = writer.sql.counters
            if await put_deltas(connection, name, fed, [moves[c] for c in fed], lives.at[name]):
                await connection.execute(NOTIFY_OUTBOX, name)
        for aggregate in {w.aggregate.name: w.aggregate for w in self.watched}.values():
            await correct(connection, aggregate, self.schema, added.get(aggregate.name, {}))
        return changes

    async def _compare(
        self, connection: asyncpg.Connection, watched: Watched, lives: Lives, keys: set[str]
    ) -> dict[str, Compared]:
        found: dict[str, Compared] = {}
        if self.owned:
            keys.update(lives.dids)
            for did in lives.dids:
                found |= await compare_owned(connection, watched, did)
        return found | await compare(connection, watched, keys)

    async def _plans(self, connection: asyncpg.Connection, lives: Lives) -> dict[str, Plan]:
        plans = {
            p.name: await plan(connection, p, self.writers[p.name].home, lives.truths[p.name])
            for p in self.projections
        }
        others = set().union(*(strangers(made, lives.dids) for made in plans.values()))
        if others:
            raise _Strangers(others)
        return plans

    async def _reach(
        self, connection: asyncpg.Connection, lives: Lives, checkpoints: Mapping[str, int]
    ) -> None:
        await lives.reach(connection, self.log, checkpoints, await self._refused(connection))

    async def _refused(self, connection: asyncpg.Connection) -> dict[str, set[int]]:
        refused = await read_refused(connection, self.projections)
        return {name: offsets | self._refusals[name].keys() for name, offsets in refused.items()}

    async def _checkpoints(self, connection: asyncpg.Connection) -> dict[str, int]:
        return self._offsets(await connection.fetch(CHECKPOINTS, self.names))

    def _offsets(self, rows: Iterable[asyncpg.Record]) -> dict[str, int]:
        found = {name: (offset, version) for name, offset, version in rows}
        for p in self.projections:
            if p.name not in found or found[p.name][1] != p.version:
                raise SchemaMismatch(
                    f"{p.name} is not there, or in another version than {p.version}; "
                    f"run: projector rebuild {p.name}, or use the program of that version"
                )
        return {name: offset for name, (offset, _) in found.items()}

    async def _bury(self, connection: asyncpg.Connection, lives: Lives) -> list[Buried]:
        """Puts dead letters for what Postgres refused of these accounts."""
        buried = []
        for name, refused in self._refusals.items():
            letters = [letter for did, letter in refused.values() if did in lives.dids]
            await self.writers[name].put_letters(connection, letters)
            buried += [
                Buried(projection=name, log_offset=x.log_offset, error=x.error) for x in letters
            ]
        return buried


def _changed(watched: Watched, key: str, now: Compared, true: int) -> CounterChange:
    return CounterChange(
        aggregate=watched.aggregate.name,
        counter=watched.name,
        key=key,
        stored=now.stored,
        pending=now.pending,
        true=true,
    )


def _patch(
    lives: Lives,
    plans: Mapping[str, Plan],
    counters: list[CounterChange],
    letters: list[Buried],
) -> Patch:
    return Patch(
        accounts=lives.dids,
        events=sum(lives.events[did] for did in lives.dids),
        as_of=dict(lives.at),
        changes=[change for made in plans.values() for change in made.changes],
        counters=counters,
        letters=letters,
    )
