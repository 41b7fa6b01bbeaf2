"""A stage on which posts are judged: with gates and list items, the group moved by one hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from events.event import Event
from projections.list_item import list_items
from projections.notification import notifications
from projections.post_gate import post_gates
from projections.thread_gate import thread_gates
from projector import derived
from projector.declare import Declaration, Fed, Projection
from projector.fold import Window
from projector.group_apply import GroupFolder, GroupWriter
from projector.groups import groups_of
from projector.statements import live
from tests.support.engine import DECLARATIONS, create, order, rows_of, table_names
from tests.support.harness import CHECKPOINT, AggregateHand, Hand, Stage, TableHand

KEPT: list[Declaration] = [*DECLARATIONS, list_items, thread_gates, post_gates]
SOURCES = {name: source for name, source in notifications.sources.items() if source.of in KEPT}
TOLD = replace(notifications, sources=SOURCES)
TOGETHER: list[Declaration] = [*KEPT, TOLD]
PROJECTIONS = [d for d in TOGETHER if isinstance(d, Projection)]
(GROUP,) = groups_of(TOGETHER)
HIDDEN = [c.name for p in PROJECTIONS for c in p.every_child if c.hidden]
SINGLE = [p for p in PROJECTIONS if p not in GROUP.members]

_ENGINE = ("event_log", "source_cursor", "outbox", "dead_letter", "lease")
RESET = ";".join(
    [
        *(f"DELETE FROM projector.{name}" for name in _ENGINE),
        *(f'DELETE FROM projector."version_{p.name}"' for p in PROJECTIONS),
        *(f'DELETE FROM projector."duplicate_{p.table.name}"' for p in PROJECTIONS
          if p.table.unique),
        *(f"DELETE FROM projector.{name}" for name in HIDDEN),
        *(f'DELETE FROM bsky."{name}"' for name in table_names(TOGETHER)),
        "UPDATE projector.log_head SET head = 0",
        "UPDATE projector.checkpoint SET log_offset = 0, events = 0",
    ]
)  # fmt: skip


class GroupHand(Hand):
    """The projector of the group, moved by hand."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage, GROUP.name)
        self.writer = GroupWriter(GROUP, lambda projection: live(projection, "bsky"))
        self.folder = GroupFolder(GROUP)
        self.windows = 0

    async def step(self, events: int) -> bool:
        connection = await self.connected()
        if self.checkpoint is None:
            self.checkpoint = await connection.fetchval(CHECKPOINT, self.name)
        part = self.stage.log[self.checkpoint : self.checkpoint + events]
        if not part:
            return False
        wanted = {c for member in GROUP.members for c in member.collections}
        window = Window(
            self.checkpoint,
            part[-1].log_offset,
            [e for e in part if e.collection in wanted],
            [e for e in part if e.removes_account],
        )
        applied = await self.writer.apply(connection, *self.folder.fold_beginning(window))
        self.checkpoint = applied.window.through
        self.windows += 1
        return True


class Court(Stage):
    """A stage with the group in one hand."""

    async def open(self) -> Court:
        await create(self.database, TOGETHER)
        await self.connect()
        return self

    def new_hands(self) -> list[Hand]:
        aggregates = [d for d in TOGETHER if isinstance(d, Fed)]
        return [GroupHand(self), *(TableHand(self, p) for p in SINGLE),
                *(AggregateHand(self, a) for a in aggregates)]  # fmt: skip

    async def begin(self, events: Sequence[Event]) -> None:
        await self.admin.execute(RESET)
        await self.begun(events)

    async def tables(self) -> dict[str, list[dict[str, object]]]:
        found = {name: await rows_of(self.auditor, name) for name in table_names(TOGETHER)}
        return {name: sorted(rows, key=order) for name, rows in found.items()}

    async def everything(self) -> dict[str, list[tuple[object, ...]]]:
        hidden = [f"projector.{name}" for name in HIDDEN]
        shelves = [f'projector."duplicate_{p.table.name}"' for p in PROJECTIONS if p.table.unique]
        ours = [f'bsky."{name}"' for name in table_names(TOGETHER) if name != TOLD.table]
        found = {
            table: [tuple(row) for row in await self.auditor.fetch(
                f"SELECT * FROM {table} ORDER BY 1, 2")]
            for table in (*ours, *hidden, *shelves)
        }  # fmt: skip
        # Its rows are numbered, in whatever order they are made.
        rows = await rows_of(self.auditor, TOLD.table)
        return found | {TOLD.table: sorted((tuple(row.values()) for row in rows), key=repr)}

    async def assert_counts_are_exact(self) -> None:
        await super().assert_counts_are_exact()
        assert await derived.audit(self.auditor, [TOLD], "bsky") == []
