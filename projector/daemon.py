"""The daemon: supervises any subset of projections, each with one owner, and takes over."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from events.tasks import pause
from projector.account_projector import AccountProjector
from projector.archiving import Housekeeper
from projector.auditor import Auditor
from projector.compat import WINDOW_EVENTS_MAX, EventProjector
from projector.database import Database, is_transient, one_line, retrying
from projector.declare import AccountProjection, Fed, Kept, Projection, Row
from projector.effects import EventByEvent
from projector.errors import CheckpointMoved
from projector.failures import note_failure
from projector.formation import Formation
from projector.group_projector import GroupProjector
from projector.groups import Group, groups_of, with_groups
from projector.home import Home
from projector.lease import LeaseKeeper
from projector.movers import movers_of
from projector.pace import AdaptiveWindow
from projector.prober import Prober
from projector.projectors import AggregateProjector, TableProjector
from projector.pulse import PULSE
from projector.reader import READ, LogReader
from projector.settings import Settings
from projector.statements import live
from projector.tasks import first_failure

log = logging.getLogger(__name__)

LONG_RUN_SECONDS = 60.0


Tables = TableProjector | AccountProjector | GroupProjector | EventProjector


class Daemon:
    """Runs projectors side by side in one process, each with its own connection and checkpoint.

    Any number of daemons may run at once: for each projection one owns it, the others wait for
    its lease. Trouble of one projection stays its own: it is retried while the others go on.
    `Corruption` and `SchemaMismatch` end the daemon.
    """

    def __init__(
        self,
        database: Database,
        declarations: Sequence[Kept],
        settings: Settings,
        *,
        only: Sequence[str] = (),
    ) -> None:
        self.database = database
        self.settings = settings
        groups = groups_of(declarations)
        named = with_groups(only, groups)
        chosen = [d for d in declarations if not named or d.name in named]
        projections = [d for d in chosen if isinstance(d, Projection)]
        accounts = [d for d in chosen if isinstance(d, AccountProjection)]
        read = [*(p.collections for p in projections), *(a.collections for a in accounts)]
        self.reader = LogReader(
            database,
            [c for names in read for c in names],
            block_events=settings.window_events_max,
            bytes_max=settings.reader_bytes_max,
        )
        self.keeper = LeaseKeeper(
            database,
            lease_seconds=settings.lease_seconds,
            poll_seconds=settings.poll_seconds,
            on_log=self.reader.head_moved,
            on_outbox=self._wake_aggregates,
        )
        self.movers = movers_of(declarations)
        self.formation = Formation(settings.window_events_max)
        grouped = [group for group in groups if group.judged in projections]
        members = {name for group in grouped for name in group.names}
        self.tables: list[Tables] = [
            *(self._events(d) for d in chosen if isinstance(d, EventByEvent)),
            *(self._group(group) for group in grouped),
            *(self._table(p) for p in projections if p.name not in members),
            *(self._accounts(d) for d in accounts),
        ]
        self.aggregates = [
            AggregateProjector(
                aggregate,
                database,
                home=live(aggregate, settings.schema),
                poll_seconds=settings.poll_seconds,
                outbox_rows_max=settings.outbox_rows_max,
            )
            for aggregate in chosen
            if isinstance(aggregate, Fed)
        ]
        proven = [d for d in declarations if not isinstance(d, EventByEvent)]
        self.auditor = Auditor(
            database,
            self.keeper,
            proven,
            settings.schema,
            accounts_per_second=settings.audit_accounts_per_second,
            accounts_max=settings.audit_accounts_max,
            poll_seconds=settings.poll_seconds,
        )
        self.prober = Prober(database, self.keeper, proven, settings)
        self._unsettled = {name for table in self.tables for name in table.names}

    def _events(self, declaration: EventByEvent) -> EventProjector:
        window = AdaptiveWindow(
            min(self.settings.window_events_max, WINDOW_EVENTS_MAX),
            events_min=1,
            window_seconds=self.settings.window_seconds,
        )
        schema = self.settings.schema
        return EventProjector(declaration, self.database, self.reader, schema=schema, window=window)

    def _table(self, projection: Projection) -> TableProjector:
        return TableProjector(
            projection, self.database, self.reader, home=self._home(projection),
            window=self._window(), formation=self.formation, on_deltas=self._wake_aggregates,
            on_rows=self._on_rows,
        )  # fmt: skip

    def _accounts(self, accounts: AccountProjection) -> AccountProjector:
        return AccountProjector(
            accounts, self.database, self.reader, home=self._home(accounts),
            window=self._window(), formation=self.formation,
        )  # fmt: skip

    def _group(self, group: Group) -> GroupProjector:
        return GroupProjector(
            group, self.database, self.reader, home=self._home, window=self._window(),
            formation=self.formation, on_deltas=self._wake_aggregates, on_rows=self._on_rows,
        )  # fmt: skip

    def _home(self, projection: Projection | AccountProjection) -> Home:
        return live(projection, self.settings.schema)

    def _window(self) -> AdaptiveWindow:
        settings = self.settings
        return AdaptiveWindow(
            settings.window_events_max,
            events_min=settings.window_events_min,
            window_seconds=settings.window_seconds,
        )

    def _on_rows(self, name: str, rows: Sequence[Row]) -> None:
        if self.movers is not None and self.movers.of == name:
            self.movers.take(rows)

    def _wake_aggregates(self) -> None:
        for aggregate in self.aggregates:
            aggregate.wake()

    async def run(self, stop: asyncio.Event, *, until_caught_up: bool = False) -> None:
        """Runs until `stop` is set; with `until_caught_up`, until all that was in the log at the
        start is in the tables and the counts."""
        try:
            until = await self.reader.refresh() if until_caught_up else None
            await self._run(stop, until)
        finally:
            await self.keeper.close()
            await self.reader.close()

    async def _run(self, stop: asyncio.Event, until: int | None) -> None:
        background = [
            asyncio.create_task(self.keeper.run(), name="leases"),
            asyncio.create_task(self._poll_head(), name="head"),
            asyncio.create_task(Housekeeper(self.database, self.keeper).run(), name="housekeeping"),
        ]
        if until is None and self.settings.audit_accounts_per_second:
            background.append(asyncio.create_task(self.auditor.run(), name="audit"))
        if until is None and self.settings.probe_upstream:
            background.append(asyncio.create_task(self.prober.run(), name="probe"))
        if until is not None:
            self._finish_settled()
        work = [asyncio.create_task(self._run_table(t, stop, until), name=t.name)
                for t in self.tables]  # fmt: skip
        work += [
            asyncio.create_task(self._aggregate(a, stop), name=a.name) for a in self.aggregates
        ]
        try:
            await first_failure(work, background)
        finally:
            for task in (*work, *background):
                task.cancel()
            await asyncio.gather(*work, *background, return_exceptions=True)

    async def _poll_head(self) -> None:
        # NOTIFY wakes the readers; this is for when it could not.
        while True:
            await self.reader.refresh()
            await asyncio.sleep(self.settings.poll_seconds)

    async def _run_table(self, table: Tables, stop: asyncio.Event, until: int | None) -> None:
        def has_work() -> bool:
            return self._owns(table.names) and self.reader.head > table.checkpoint

        # At work it hears from its own connections, and from the one that reads the log for it.
        signs = (table.name, f"apply {table.name}", f"probe {table.name}", *READ)
        with PULSE.watched(table.name, has_work, *signs):
            await self._owned(table.names, lambda: table.run(stop, until), stop)
        self._unsettled.difference_update(table.names)
        if until is not None:
            self._finish_settled()

    def _finish_settled(self) -> None:
        """Lets those aggregates finish to which no table of this daemon will add any more."""
        for projector in self.aggregates:
            counts = projector.aggregate.counters.values()
            if self._unsettled.isdisjoint({count.of.name for count in counts}):
                projector.finish()

    async def _aggregate(self, aggregate: AggregateProjector, stop: asyncio.Event) -> None:
        name = aggregate.name
        # It asks for deltas whether there are any or not.
        with PULSE.watched(name, lambda: self._owns([name]), name, f"merge {name}"):
            await self._owned([name], lambda: aggregate.run(stop), stop)

    def _owns(self, names: Sequence[str]) -> bool:
        return self.keeper.held >= {f"projection {name}" for name in names}

    @property
    def is_ready(self) -> bool:
        """Whether it owns each of its projections, or waits for somebody else's lease to end."""
        # Of a group none is asked for beyond the first that another has.
        firsts = [*(table.names[0] for table in self.tables), *(a.name for a in self.aggregates)]
        return self.keeper.asked >= {f"projection {name}" for name in firsts}

    @property
    def sentence(self) -> str:
        """What it does, for whoever supervises it."""
        every = [
            *(n for table in self.tables for n in table.names),
            *(a.name for a in self.aggregates),
        ]
        owned = [name for name in every if self._owns([name])]
        behind = {t.name: self.reader.head - t.checkpoint for t in self.tables if t.name in owned}
        text = f"Runs {len(owned)} of {len(every)} projections"
        if len(owned) < len(every):
            text += ", stands by for the others"
        slowest = max(behind, key=lambda name: behind[name], default="")
        if slowest and behind[slowest] > 0:
            return f"{text}; {slowest} is {behind[slowest]:,} events behind."
        return f"{text}; in step with the log."

    async def _owned(
        self, names: Sequence[str], work: Callable[[], Awaitable[None]], stop: asyncio.Event
    ) -> None:
        """Does `work` while owning the projections, again after every transient trouble."""
        leases = [f"projection {name}" for name in names]
        trying = retrying(
            ", ".join(names),
            backoff_seconds_max=self.settings.backoff_seconds_max,
            sleep=lambda seconds: pause(stop, seconds),
        )
        async for attempt in trying:
            with attempt:
                await self._turns(leases, work, stop)
        for lease in leases:
            await self.keeper.release(lease)

    async def _take_all(self, leases: Sequence[str]) -> bool:
        # In order, and none is kept beyond one that is not free: of two that want them all, whoever
        # has the first gets the others, also where one that was cut off took some of them again.
        for place, lease in enumerate(leases):
            if not await self.keeper.take(lease):
                for beyond in self.keeper.held.intersection(leases[place + 1 :]):
                    await self.keeper.release(beyond)
                return False
        return True

    async def _turns(
        self, leases: Sequence[str], work: Callable[[], Awaitable[None]], stop: asyncio.Event
    ) -> None:
        now = asyncio.get_running_loop().time
        while not stop.is_set():
            if not await self._take_all(leases):
                await pause(stop, self.settings.poll_seconds)
                continue
            begun = now()
            try:
                with self.keeper.used(leases):
                    await work()
                return
            except CheckpointMoved:
                log.warning("%s: another daemon applied the window; looking again", leases[0])
            except Exception as error:
                for lease in leases:
                    await note_failure(self.database, lease.removeprefix("projection "), error)
                # After a long run the first retry is at once, whatever went wrong weeks ago.
                if not is_transient(error) or now() - begun < LONG_RUN_SECONDS:
                    raise
                log.warning("%s: %s; trying again", leases[0], one_line(error))


@contextmanager
def stop_on_signals(deadline_seconds: float) -> Iterator[asyncio.Event]:
    """An event that SIGTERM or SIGINT sets; a second signal, or the deadline, cancels the task."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    task = asyncio.current_task()
    assert task is not None
    hard: list[asyncio.TimerHandle] = []

    def on_signal() -> None:
        if stop.is_set():
            task.cancel()
            return
        log.info("stopping: what was begun is finished first; a second signal stops at once")
        stop.set()
        hard.append(loop.call_later(deadline_seconds, task.cancel))

    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, on_signal)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
        for handle in hard:
            handle.cancel()
