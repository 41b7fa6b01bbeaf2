"""A stage with every projection in hand, and what is in its tables as the oracle has it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from events.event import Event
from projector import derived
from projector.account import AccountFacts, AccountWriter
from projector.aggregate import audit
from projector.declare import AccountProjection, Aggregate, Derived, Fed, Projection
from projector.statements import live
from projector.windows import Step
from tests.simulator.oracle import KEPT, rows_of
from tests.simulator.rows import Rows
from tests.support.court import GROUP, GroupHand
from tests.support.engine import ALL, create
from tests.support.harness import CHECKPOINT, AggregateHand, Hand, Stage, TableHand

PROJECTIONS = [d for d in ALL if isinstance(d, Projection)]
FED = [d for d in ALL if isinstance(d, Fed)]
_ENGINE = ("event_log", "source_cursor", "outbox", "dead_letter", "lease")
RESET = ";".join(
    [
        *(f"DELETE FROM projector.{name}" for name in _ENGINE),
        *(f'DELETE FROM projector."version_{p.name}"' for p in PROJECTIONS),
        *(f'DELETE FROM projector."duplicate_{p.table.name}"' for p in PROJECTIONS
          if p.table.unique),
        *(f'DELETE FROM projector."{c.name}"' for p in PROJECTIONS for c in p.every_child
          if c.hidden),
        *(f'DELETE FROM bsky."{name}"' for name in KEPT),
        "UPDATE projector.log_head SET head = 0",
        "UPDATE projector.checkpoint SET log_offset = 0, events = 0",
    ]
)  # fmt: skip


class AccountHand(Hand):
    """Applies windows of a table of accounts."""

    def __init__(self, stage: Stage, accounts: AccountProjection) -> None:
        super().__init__(stage, accounts.name)
        self.accounts = accounts
        self.writer = AccountWriter(accounts, live(accounts, "bsky"))

    async def step(self, events: int) -> bool:
        connection = await self.connected()
        if self.checkpoint is None:
            self.checkpoint = await connection.fetchval(CHECKPOINT, self.name)
        part = self.stage.log[self.checkpoint : self.checkpoint + events]
        if not part:
            return False
        told = [event for event in part if event.kind in self.accounts.reads]
        step = Step(self.checkpoint, part[-1].log_offset, len(told))
        await self.writer.apply(connection, step, AccountFacts(events=told))
        self.checkpoint = part[-1].log_offset
        return True


class Everything(Stage):
    """A stage on which all is kept that the project keeps."""

    async def open(self) -> Everything:
        await create(self.database, ALL)
        await self.connect()
        return self

    def new_hands(self) -> list[Hand]:
        single = [p for p in PROJECTIONS if p not in GROUP.members]
        accounts = [d for d in ALL if isinstance(d, AccountProjection)]
        return [GroupHand(self), *(TableHand(self, p) for p in single),
                *(AccountHand(self, a) for a in accounts),
                *(AggregateHand(self, f) for f in FED)]  # fmt: skip

    async def begin(self, events: Sequence[Event]) -> None:
        await self.admin.execute(RESET)
        await self.begun(events)

    async def found(self, names: Iterable[str] = KEPT) -> Rows:
        """The tables."""
        return {name: await rows_of(self.auditor, name) for name in names}

    async def assert_counts_are_exact(self) -> None:
        aggregates = [d for d in FED if isinstance(d, Aggregate)]
        tables = [d for d in FED if isinstance(d, Derived)]
        assert await audit(self.auditor, aggregates, "bsky") == []
        assert await derived.audit(self.auditor, tables, "bsky") == []
