"""The guards of the statements on the engine's own tables: log, checkpoints, outbox, leases."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Final

from events import history, log, recent
from projector import aggregate, lease, statements, status, window_traces
from tests.plans.guards import Guard
from tests.plans.plan import Values
from tests.plans.planted import LETTERS_EVERY, NEW, ROWS, TENTH, TRACED_EVENTS

MODULES: Final = (statements, aggregate, log, recent, lease, window_traces)
_SQL: Final = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b")
READ_EVENTS: Final = 100


@dataclass(frozen=True)
class Case:
    """How a statement is tried: by whom, with which parameters, and by which indexes it may go."""

    role: str
    values: Callable[[int], Values]
    indexes: tuple[str, ...] = ()
    keys: int = 1


def after(turn: int) -> int:
    """The offset before the n-th window of the log, somewhere in its first tenth."""
    return turn * READ_EVENTS % (TENTH - READ_EVENTS)


def read(turn: int) -> tuple[int, int]:
    """A window of the log, its first offset and its last."""
    return after(turn) + 1, after(turn) + READ_EVENTS


POINT: Final = "checkpoint_pkey"
SOURCE: Final = "source_cursor_pkey"
LETTER: Final = ("dead_letter_event_idx", "dead_letter_message_idx")
CASES: Final = {
    "statements.MOVE_CHECKPOINT": Case("apply", lambda n: ("like", 1, 0, n, 50, 1.0), (POINT,)),
    "statements.EDITS": Case("apply", lambda n: ("like",), (POINT,)),
    "statements.FEEDS": Case("apply", lambda n: ("like",), ("feed_pkey",)),
    "statements.CHECKPOINT": Case("apply", lambda n: ("like",), (POINT,)),
    "statements.PUT_OUTBOX": Case(
        "apply", lambda n: ("post_agg", "likeCount", ",x,y,z", "1,2,3", "like", n, ","), keys=3
    ),
    "statements.PUT_LETTER": Case(
        "apply", lambda n: ("like", 1 + n * LETTERS_EVERY % TENTH, "apply", "why", "x"), LETTER[:1]
    ),
    "aggregate.MOVE_CHECKPOINT": Case("merge", lambda n: ("post_agg", 1, n, 9, 1.0), (POINT,)),
    "log.CLAIM_SOURCE": Case("append", lambda n: ("source 1",), (SOURCE,)),
    "log.SOURCE": Case("append", lambda n: ("source 1",), (SOURCE,)),
    "log.MOVE_CURSOR": Case(
        "append", lambda n: ("source 1", 0, str(n), 5, 0, 0, 99, 1.0), (SOURCE,)
    ),
    "log.COUNT_SKIPPED": Case("append", lambda n: ("source 1", '{"unwanted": 1}'), (SOURCE,)),
    "log.MOVE_HEAD": Case("append", lambda n: (n,)),
    "log.HEAD": Case("reader", lambda n: ()),
    "log.DEAD_LETTER": Case(
        "append",
        lambda n: ("why", "x", "source 1", str(1 + n * LETTERS_EVERY % TENTH), b"x"),
        LETTER[1:],
    ),
    "log.TRACE": Case("append", lambda n: (NEW + n, NEW + n, "trace")),
    "log.FORGET_TRACES": Case(
        "append", lambda n: (1 + 10 * TRACED_EVENTS,), ("append_trace_pkey",), keys=10
    ),
    "log.TRACES": Case("reader", read, ("append_trace_pkey",), READ_EVENTS // TRACED_EVENTS),
    "log.PARTITIONS": Case("append", lambda n: (), ("log_partition_first_offset_key",)),
    "recent.TAIL": Case(
        "append", lambda n: (ROWS - READ_EVENTS,), ("event_log_pkey",), READ_EVENTS
    ),
    "window_traces.KEEP_WINDOW": Case(
        "apply",
        lambda n: ("like", NEW + n, NEW + n + 1, "trace", 1 + 10 * TRACED_EVENTS),
        ("window_trace_pkey", "merge_trace_pkey"),
        keys=20,
    ),
    "window_traces.KEEP_MERGE": Case("merge", lambda n: (["like"], [NEW + n], "post_agg", "trace")),
    "lease.TAKE": Case("leases", lambda n: ("projection 1", "owner 1", 5.0), ("lease_pkey",)),
    "lease.RENEW": Case(
        "leases", lambda n: ("owner 1", 5.0, ["projection 1"]), ("lease_pkey",), keys=1
    ),
    "lease.RELEASE": Case("leases", lambda n: ("owner 1", "projection 1"), ("lease_pkey",)),
    "lease.OWNER": Case("leases", lambda n: ("projection 1",), ("lease_pkey",)),
}
NO_TABLE: Final = {"statements.NOTIFY_OUTBOX", "log.NOTIFY", "log.MAKE_PARTITION"}
"""Statements that read and write nothing."""
READ: Final = Case(
    "reader", lambda n: (*read(n), ["app.bsky.feed.post"]), ("event_log_pkey",), READ_EVENTS
)
ASKED: Final = Case(
    "status", lambda n: (status.RATE_SECONDS,), ("event_log_pkey", "lease_pkey", POINT), keys=6
)
"""The status, which is asked for again and again while somebody looks: of the log it needs a row
for each projection."""


def constants() -> dict[str, str]:
    """The statements that the modules of the hot path hold, by module and name."""
    found = {}
    for module in MODULES:
        for name, value in vars(module).items():
            if name.isupper() and isinstance(value, str) and _SQL.match(value):
                found[f"{_short(module)}.{name}"] = value
    return found


def _short(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def _guards() -> Iterator[Guard]:
    others = {"status.CHECKPOINTS": status.CHECKPOINTS, "history.READ": history.READ}
    found = constants() | others
    for name, case in (CASES | {"status.CHECKPOINTS": ASKED, "history.READ": READ}).items():
        windows = {"one": lambda turn, _keys, case=case: case.values(turn)}
        yield Guard(name, found[name], windows, frozenset(case.indexes), case.role, case.keys)


ENGINE: Final = list(_guards())
