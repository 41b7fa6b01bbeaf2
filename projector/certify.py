"""Certify: an operator's own projection under all that a firehose and its servers do to one.

Everything happens in scratch databases. What must come out is told by `AccountTruth`, one account
after the other, and by invariant 7; neither knows of windows, owners or rebuilds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from typing import Final

import asyncpg

from events.event import Event
from events.generate import Generator
from events.history import WholeLog
from events.log import read_head
from projector import certify_rows
from projector.certify_history import accounts, delivered, interleaved, made_up
from projector.certify_scratch import Cutting, Scratch, Torn, Trial
from projector.certify_sheet import Check, Plan
from projector.certify_tables import ddl_faults
from projector.daemon import Daemon
from projector.database import Database, one_line
from projector.declare import Aggregate, Declaration, Projection, Row
from projector.pace import AdaptiveWindow
from projector.rebuild import Rebuild
from projector.rebuilding import Options
from projector.settings import Settings

TRIAL_SECONDS_MAX: Final = 120.0
"""A trial that is not over by then has failed."""
WINDOW_EVENTS_MAX: Final = 60
RECORDS_MAX: Final = 500
"""How many records are looked at."""
TAIL_EVENTS: Final = 50_000
"""How much of a log's end is searched for records."""
GENERATED_EVENTS: Final = 20_000
SCHEMA: Final = "certify"
"""Not the one that is usual: DDL must not take it for granted."""

Made = list[Row | str | None]


Show = Callable[[str, str], None]
"""Told of the projection and what is being tried."""


def concerned(
    projection: Projection, declarations: Sequence[Declaration]
) -> tuple[list[Aggregate], list[Declaration]]:
    """The aggregates that count a projection's rows, and all that must be in the database for it
    and them."""
    aggregates = [
        d
        for d in declarations
        if isinstance(d, Aggregate) and projection.name in {c.of.name for c in d.counters.values()}
    ]
    counted = {c.of.name for a in aggregates for c in a.counters.values()} | {projection.name}
    others = [d for d in declarations if isinstance(d, Projection) and d.name in counted]
    return aggregates, [*others, *aggregates]


async def log_head(database: Database) -> int:
    """The last offset of a database's log; 0 where there is no log."""
    connection = await database.first_connect("certify head")
    try:
        return await read_head(connection)
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return 0
    finally:
        await connection.close()


async def records_in_log(database: Database, collection: str, through: int) -> list[bytes]:
    """Records of a collection out of the log's last events through an offset.

    The same offset gives the same records, so that a seed repeats what it chose of them.
    """
    connection = await database.first_connect("certify records")
    log = WholeLog()
    try:
        found: set[bytes] = set()
        after = max(through - TAIL_EVENTS, 0)
        async for events in log.scan(connection, after, through, [collection]):
            found |= {event.record for event in events if event.record and event.kind == "commit"}
    finally:
        await log.close()
        await connection.close()
    return Random(0).sample(sorted(found), min(len(found), RECORDS_MAX))


def records_made_up(collection: str) -> list[bytes]:
    """Records of a collection as the generated firehose has them; none where it has not."""
    events = Generator(accounts=1000, invalid=0.0)
    taken = [event for event, _ in zip(events, range(GENERATED_EVENTS), strict=False)]
    found = {e.record for e in taken if e.collection == collection and e.record is not None}
    return sorted(found)[:RECORDS_MAX]


class Certifier:
    """Certifies one projection, with the aggregates that count its rows."""

    def __init__(
        self,
        server: Database,
        declarations: Sequence[Declaration],
        settings: Settings,
        projection: Projection,
        *,
        records: Sequence[bytes],
        plan: Plan,
        show: Show = lambda _name, _what: None,
    ) -> None:
        self.projection = projection
        self.records = list(records)
        self.plan = plan
        self.show = show
        self.settings = replace(
            settings,
            schema=SCHEMA,
            window_events_max=WINDOW_EVENTS_MAX,
            window_events_min=1,
            outbox_rows_max=2,
            poll_seconds=0.05,
            rebuild_share=1.0,
            audit_accounts_per_second=0.0,
        )
        self.aggregates, self.everything = concerned(projection, declarations)
        self.scratch = Scratch(server, self.everything, SCHEMA)
        self.checks: list[Check] = []

    async def run(self) -> list[Check]:
        """Tries everything; returns the sheet.

        The trials, from `stored` on, are made only of what passes all before. Raises `UsageError`
        where no scratch database can be made.
        """
        project = self.projection
        self._note("declaration", certify_rows.declared(project))
        made = certify_rows.rows_of(project, self.records)
        self._note("rows", certify_rows.shaped(project, self.records, made))
        self._note("odd records", certify_rows.unmoved(project, self.records))
        self._note("pure", self._differing(made))
        try:
            await self._tables()
            if all(check.passed for check in self.checks):
                with quiet():
                    await self._trials(made)
                # The clock has moved on by now.
                self._note("pure, later", self._differing(made))
        finally:
            await self.scratch.drop()
        return self.checks

    def _differing(self, made: Made) -> Iterator[str]:
        again = certify_rows.rows_of(self.projection, self.records)
        return certify_rows.differing(self.projection, self.records, made, again)

    def _note(self, name: str, faults: Iterator[str], seed: int | None = None) -> None:
        self.show(self.projection.name, name)
        fault = next(faults, None)
        self.checks.append(
            Check(
                projection=self.projection.name, name=name, passed=fault is None,
                detail=fault or "", seed=seed,
            )
        )  # fmt: skip

    async def _tables(self) -> None:
        """Makes the template: the DDL makes what the declaration says."""
        try:
            template = await self.scratch.make_template()
            faults = await ddl_faults(
                template, self.projection, self.aggregates, self.scratch.schema
            )
        except asyncpg.PostgresError as error:
            faults = [f"its DDL is refused: {one_line(error)}"]
        self._note("tables", iter(faults))

    async def _trials(self, made: Made) -> None:
        good = [r for r, row in zip(self.records, made, strict=True) if isinstance(row, tuple)]
        trials: dict[str, Callable[[_Round], Awaitable[list[str]]]] = {
            "stored": _Round.stored,
            "one window": _Round.one_window,
            "torn windows": _Round.torn_windows,
            "repeats": _Round.repeats,
            "reordering": _Round.reordering,
            "kills": _Round.kills,
            "takeover": _Round.takeover,
            "daemons": _Round.daemons,
            "rebuild": _Round.rebuild,
        }
        for name, trial in trials.items():
            self.show(self.projection.name, name)
            for seed in range(self.plan.seed, self.plan.seed + self.plan.rounds):
                faults = await _tried(trial, _Round(self, good, seed))
                if faults:
                    self._note(name, iter(faults), seed)
                    break
            else:
                self._note(name, iter(()))
            if name == "stored" and not self.checks[-1].passed:
                # What is refused is tried again and again, and fails everything after it.
                return


async def _tried(trial: Callable[[_Round], Awaitable[list[str]]], round_: _Round) -> list[str]:
    try:
        async with asyncio.timeout(TRIAL_SECONDS_MAX):
            return await trial(round_)
    except TimeoutError:
        return [f"not over after {TRIAL_SECONDS_MAX:.0f} s"]
    except Exception as error:
        # Whatever stops the engine is the projection's fault: with those of ours it goes on.
        return [f"stops with {type(error).__name__}: {one_line(error)}"]


class _Round:
    """The trials of one seed's history; each returns its faults."""

    def __init__(self, certifier: Certifier, records: Sequence[bytes], seed: int) -> None:
        self.certifier = certifier
        self.seed = seed
        self.random = Random(seed)
        self.dids = accounts(seed)
        collection = certifier.projection.collection
        self.facts = made_up(collection, records, seed, certifier.plan.events)
        self.delivered = delivered(self.facts, seed)

    def _trial(self, database: Database) -> Trial:
        c = self.certifier
        return Trial(database, c.projection, c.aggregates, c.scratch.schema)

    def _torn(self) -> Torn:
        return Torn(WINDOW_EVENTS_MAX, random=self.random)

    async def _applied(self, events: Sequence[Event]) -> tuple[list[str], list[asyncpg.Record]]:
        """What is wrong after applying events in one window, and the rows."""
        async with self.certifier.scratch.copy() as database:
            trial = self._trial(database)
            await trial.append(events)
            await trial.apply(AdaptiveWindow(10 * len(events)))
            return await trial.faults(self.dids), await trial.rows()

    async def stored(self) -> list[str]:
        """Postgres takes every row."""
        async with self.certifier.scratch.copy() as database:
            trial = self._trial(database)
            await trial.append(self.facts)
            await trial.apply(AdaptiveWindow(10 * len(self.facts)))
            return [f"Postgres refuses a row: {text}" for text in await trial.refused()]

    async def one_window(self) -> list[str]:
        """All in one transaction."""
        return (await self._applied(self.facts))[0]

    async def torn_windows(self) -> list[str]:
        """In windows of random sizes, with repeats among the events."""
        async with self.certifier.scratch.copy() as database:
            trial = self._trial(database)
            await trial.append(self.delivered)
            await trial.apply(self._torn())
            return await trial.faults(self.dids)

    async def repeats(self) -> list[str]:
        """What was applied is delivered again from a moment on: not a byte changes."""
        async with self.certifier.scratch.copy() as database:
            trial = self._trial(database)
            await trial.append(self.facts)
            await trial.apply(self._torn())
            before = await trial.rows()
            await trial.append(self.facts[self.random.randrange(len(self.facts)) :])
            await trial.apply(self._torn())
            return _unequal(before, await trial.rows()) or await trial.faults(self.dids)

    async def reordering(self) -> list[str]:
        """The same facts with accounts in another order between them: the same rows."""
        faults, rows = await self._applied(self.facts)
        others, other = await self._applied(interleaved(self.facts, self.seed))
        return faults or others or _unequal(rows, other)

    async def kills(self) -> list[str]:
        """Connections are lost after any statement, between effect and checkpoint as well."""
        async with self.certifier.scratch.copy() as database:
            trial = self._trial(database)
            cutting = Cutting(database.url, random=self.random)
            await trial.append(self.delivered)
            await trial.apply(self._torn(), cutting)
            faults = [] if cutting.cuts else ["nothing was cut: too few events"]
            return faults or await trial.faults(self.dids)

    async def takeover(self) -> list[str]:
        """Two that both believe to be the owner apply the same windows side by side."""
        async with self.certifier.scratch.copy() as database:
            trials = [self._trial(database) for _ in range(2)]
            await trials[0].append(self.delivered)
            await asyncio.gather(*(trial.apply(self._torn()) for trial in trials))
            return await trials[0].faults(self.dids)

    async def daemons(self) -> list[str]:
        """Two daemons, as an operator runs them, while events still come."""
        async with self.certifier.scratch.copy() as database:
            trial, half = self._trial(database), len(self.delivered) // 2
            for part in (self.delivered[:half], self.delivered[half:]):
                await trial.append(part)
                await self._daemons(database)
            return await trial.faults(self.dids)

    async def _daemons(self, database: Database) -> None:
        c = self.certifier
        daemons = [Daemon(database, c.everything, c.settings) for _ in range(2)]
        await asyncio.gather(*(d.run(asyncio.Event(), until_caught_up=True) for d in daemons))

    async def rebuild(self) -> list[str]:
        """Built anew from the log, beside what windows made: equal, row by row, and swapped in."""
        c = self.certifier
        async with c.scratch.copy() as database:
            trial = self._trial(database)
            await trial.append(self.delivered)
            await trial.apply(self._torn())
            before = await trial.rows()
            outcome = await Rebuild(
                database, c.everything, c.settings, names=[c.projection.name], options=Options(),
                show=lambda *_: None,
            ).run()  # fmt: skip
            found = outcome.comparison
            faults = [
                f"{x.difference.part} {x.difference.uri} is {x.difference.kind} beside the rebuilt"
                f" one {' '.join(x.difference.columns)}".rstrip()
                for x in found.row_differences
            ]
            faults += [
                f"{x.aggregate}.{x.counter} of {x.key} is {x.live}, and rebuilt {x.rebuilt}"
                for x in found.count_differences
            ]
            return faults or _unequal(before, await trial.rows()) or await trial.faults(self.dids)


def _unequal(before: Sequence[asyncpg.Record], after: Sequence[asyncpg.Record]) -> list[str]:
    """The first row that is another by now."""
    one, other = ({row["uri"]: tuple(row) for row in rows} for rows in (before, after))
    for uri in sorted(one.keys() | other.keys()):
        if one.get(uri) != other.get(uri):
            what = "gone" if uri not in other else "new" if uri not in one else "another"
            return [f"the row {uri} is {what}"]
    return []


@contextmanager
def quiet() -> Iterator[None]:
    """Without log lines of what is broken on purpose."""
    log = logging.getLogger("projector")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
