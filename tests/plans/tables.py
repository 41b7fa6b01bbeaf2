"""The guards of the statements that apply windows and merge deltas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from projections.verdicts import PARENT
from projector.aggregate import merge_statement, prune_statement
from projector.answers import cells_statement, children_statement
from projector.apply import TableWriter, joined_columns
from projector.declare import Aggregate, Derived, Projection
from projector.derived import bases_of, refresh_statement
from projector.marking import mark_statement
from projector.statements import counters_of, live, statements_of
from tests.plans.guards import Guard, Window
from tests.plans.plan import Values
from tests.plans.planted import (
    CROWDED,
    DELTAS,
    NEW,
    OUTBOX_ROWS,
    RIVAL_EVERY,
    TENTH,
    UNHELD,
    account,
    cells,
    counted_key,
    rival_uri,
    row_of,
    uri,
)
from tests.support.court import TOLD
from tests.support.engine import AGGREGATES, DECLARATIONS
from tests.support.harness import PROJECTIONS

SCHEMA: Final = "bsky"
RECORDS: Final = "notification_record_idx"
ACCOUNT_ROWS: Final = 20
"""The rows of a usual account: more than it has rivals or revisions."""
SPREAD: Final = 7919
"""A prime: neighbours in a window are so many rows apart."""

Numbers = Callable[[int, int], Sequence[int]]
"""The numbers of the rows that the n-th window of so many keys is about."""


def held(turn: int, keys: int) -> Sequence[int]:
    """Rows that are there; a few of them have rivals."""
    return [1 + (turn * keys + k) * SPREAD % (TENTH - 1) for k in range(keys)]


def contested(turn: int, keys: int) -> Sequence[int]:
    """Rows that have a rival each, every second of them one that was there before."""
    rivals = TENTH // RIVAL_EVERY - 2
    return [RIVAL_EVERY * (2 + (turn * keys + k) * SPREAD % rivals) for k in range(keys)]


def unheld(turn: int, keys: int) -> Sequence[int]:
    """Rows of which only a rival is there."""
    return [UNHELD + i for i in contested(turn, keys)]


def new(turn: int, keys: int) -> Sequence[int]:
    """Rows of which nothing is there, though their accounts and subjects have others."""
    return [NEW + turn * keys + k for k in range(keys)]


def crowded(turn: int, keys: int) -> Sequence[int]:
    """Rows of which one has very many rivals."""
    return CROWDED


def writer(turn: int) -> str:
    """An account with twenty rows."""
    return account("writer", 1 + turn % (TENTH // 50 - 1))


def of(numbers: Numbers, values: Callable[[Sequence[int]], Values]) -> dict[str, Window]:
    """A window about these numbers, by their name."""
    return {numbers.__name__: lambda turn, keys: values(numbers(turn, keys))}


class Parameters:
    """Parameters of a projection's statements, for rows of these numbers, as apply.py has them."""

    def __init__(self, projection: Projection) -> None:
        self.projection = projection
        self.collection = projection.collection
        self.unique = projection.table.unique or ()

    def uris(self, numbers: Sequence[int]) -> Values:
        return ([uri(self.collection, i) for i in numbers],)

    def rivals(self, numbers: Sequence[int]) -> Values:
        return ([rival_uri(self.projection, i) for i in numbers],)

    def revisions(self, numbers: Sequence[int]) -> Values:
        return (*self.uris(numbers), ["3m00000000000"] * len(numbers))

    def marked(self, numbers: Sequence[int]) -> Values:
        return (*self.uris(numbers), *(["true"] * len(numbers) for _ in self.projection.kept))

    def claims(self, numbers: Sequence[int]) -> Values:
        return tuple(zip(*sorted(set(map(self.claim, numbers))), strict=True))

    def claim(self, i: int) -> tuple[str, ...]:
        known = cells(self.collection, i)
        return tuple([str(known[column]) for column in self.unique])

    def rows(self, numbers: Sequence[int]) -> Values:
        return tuple(zip(*[row_of(self.projection, i) for i in numbers], strict=True))

    def judged(self, numbers: Sequence[int]) -> Values:
        judged = self.projection.judged
        return (
            *self.rows(numbers),
            *([True] * len(numbers) for _ in (judged.columns if judged else ())),
        )

    def keys(self, numbers: Sequence[int], record: str = "") -> Values:
        columns = zip(*map(self.claim, numbers), strict=True)
        uris = [uri(self.collection, i) + record for i in numbers]
        texts, separator = joined_columns([uris, *columns])
        return (separator, *texts)

    def other_keys(self, numbers: Sequence[int]) -> Values:
        return self.keys(numbers, record="other")


def of_projection(projection: Projection) -> Iterator[tuple[str, Guard]]:
    """The guards of a projection's statements, each with the statement's name."""
    sql = statements_of(projection, live(projection, SCHEMA), counters_of(projection, DECLARATIONS))
    table, values = projection.table, Parameters(projection)
    base, shelf, listed = table.name, f"duplicate_{table.name}", f"{table.duplicates}_pkey"
    pkeys = (f"{base}_pkey", f"{shelf}_pkey")
    claim, waiting = f"{base}_unique_subject", f"{shelf}_claim_idx"
    revised = f"version_{projection.name}_pkey"

    def guard(
        name: str, windows: dict[str, Window], *indexes: str, keys: int = 0, pages: int = 16
    ) -> Iterator[tuple[str, Guard]]:
        statement = getattr(sql, name)
        if statement is not None:
            make = partial(Guard, f"{projection.name}: {name}", statement, windows)
            size = {"keys": keys} if keys else {"grows": True}
            yield name, make(frozenset(indexes), "apply", pages_per_key=pages, **size)

    probes = of(new, values.keys) | of(held, values.keys)
    probes["claimed"] = of(held, values.other_keys)["held"]
    yield from guard("taken", probes, *pkeys, revised, claim, pages=16)
    yield from guard("held", of(held, values.rows) | of(new, values.rows), *pkeys, pages=8)
    yield from guard("versions", of(held, values.uris), revised, pages=4)
    yield from guard("known", of(held, values.uris) | of(new, values.uris), *pkeys, revised)
    noted = of(held, values.revisions) | of(new, values.revisions)
    yield from guard("put_versions", noted, revised, pages=11)
    yield from guard("delete", of(held, values.uris) | of(new, values.uris), *pkeys, pages=7)
    rivals = of(contested, values.rivals)
    yield from guard("delete_duplicates", rivals, *pkeys, listed, pages=13)
    yield from guard("shelve", of(new, values.judged), pages=13)
    claims: dict[str, Window] = {}
    for numbers in (held, contested, unheld, new):
        claims |= of(numbers, values.claims)
    yield from guard("demote", claims, waiting, claim, *pkeys, pages=19)
    yield from guard("promote", claims, waiting, claim, *pkeys, listed, pages=38)
    yield from guard("relist_groups", claims, waiting, claim, listed, pages=28)
    yield from guard("relist_uris", rivals, *pkeys, claim, listed, pages=28)
    yield from guard("holders", of(held, values.claims) | of(new, values.claims), claim, pages=8)
    yield from guard("kept", of(held, values.uris), *pkeys, pages=4)
    yield from guard("keep", of(held, values.marked), *pkeys, pages=32)

    def account_of(turn: int, _keys: int) -> Values:
        return ([writer(turn)],)

    one: dict[str, Window] = {"one": account_of}
    through: dict[str, Window] = {"one": lambda turn, keys: (*account_of(turn, keys), turn)}
    uris: dict[str, Window] = {
        "one": lambda turn, _: tuple(f"at://{writer(turn)}{c}" for c in "/0")
    }
    # Where the claim begins with the account, its index serves as well.
    own = [claim] if table.unique and table.unique[0] == "creator" else []
    own.append(f"{base}_creator_cursor_idx")
    losers = (waiting, f"{shelf}_creator_idx", listed)
    yield from guard("remove_accounts", through, *own, keys=ACCOUNT_ROWS, pages=6)
    yield from guard("remove_account_duplicates", one, *losers, keys=ACCOUNT_ROWS, pages=2)
    yield from guard("forget_account", uris, revised, keys=ACCOUNT_ROWS, pages=2)


def of_judging(projection: Projection) -> Iterator[Guard]:
    """The guards of the statements that answer a judge, and that mark."""
    writer, values = TableWriter(projection, live(projection, SCHEMA)), Parameters(projection)
    assert projection.judged is not None
    name, pkey = projection.name, f"{projection.table.name}_pkey"
    uris = of(held, values.uris) | of(new, values.uris)
    make = partial(Guard, role="apply", grows=True)
    asked = {"parent": PARENT, "above": PARENT[-1:], "all": projection.judged.columns}
    for what, columns in asked.items():
        cells_of = cells_statement(writer, columns)
        yield make(f"{name}: cells, {what}", cells_of, uris, frozenset({pkey}))
    for child in projection.every_child:
        if child.hidden:
            sql, index = children_statement(writer, child.name), f"{child.name}_idx"
            yield make(f"{name}: {child.name}", sql, uris, frozenset({index}))
    for made in writer.sql.children:
        if projection.child(made.name).hidden:
            indexes = frozenset({f"{made.name}_idx"})
            yield make(f"{name}: {made.name} deleted", made.delete, uris, indexes)

    def marked(numbers: Sequence[int]) -> Values:
        return (*values.uris(numbers), [True] * len(numbers))

    for mark in projection.judged.marks:
        sql = mark_statement(writer, mark.column)
        windows = of(held, marked) | of(new, marked)
        yield make(f"{name}: {mark.column}", sql, windows, frozenset({pkey}), pages_per_key=32)


def of_crowded_claims(projection: Projection) -> Iterator[Guard]:
    """The guards of the statements that settle claims, where very many wait for one claim."""
    windows = of(crowded, Parameters(projection).claims)
    for name, guard in of_projection(projection):
        if name in {"demote", "promote", "relist_groups"}:
            yield Guard(f"{guard.name} of a crowd", guard.sql, windows, guard.indexes, guard.role,
                        keys=len(CROWDED), pages_per_key=guard.pages_per_key)  # fmt: skip


def of_aggregate(aggregate: Aggregate) -> Iterator[Guard]:
    """The guards of the statements that merge deltas."""

    def oldest(_turn: int, _keys: int) -> Values:
        return aggregate.name, OUTBOX_ROWS

    def counted(turn: int, keys: int) -> Values:
        return ([counted_key(1 + (turn * keys + k) % TENTH) for k in range(keys)],)

    pkey = f"{aggregate.table}_pkey"
    name, merge = aggregate.name, merge_statement(aggregate, SCHEMA)
    indexes = frozenset({"outbox_pkey", "window_trace_pkey", pkey})
    yield Guard(f"{name}: merge", merge, {"oldest": oldest}, indexes, "merge",
                keys=OUTBOX_ROWS * DELTAS)  # fmt: skip
    prune = prune_statement(aggregate, SCHEMA)
    yield Guard(f"{name}: prune", prune, {"counted": counted}, frozenset({pkey}), "merge",
                grows=True)  # fmt: skip


def of_derived(table: Derived) -> Iterator[Guard]:
    """The guard of the statement that makes rows anew; of likes and reposts it looks twice."""

    def oldest(turn: int, _keys: int) -> Values:
        return f"{table.name} {turn}", OUTBOX_ROWS

    sql = refresh_statement(table, SCHEMA, bases_of(table, lambda of: live(of, SCHEMA)))
    sources = {
        f"{source.child}_idx" if source.child else f"{source.of.table.name}_pkey"
        for source in table.sources.values()
    }
    indexes = frozenset({"outbox_pkey", "window_trace_pkey", RECORDS, *sources})
    yield Guard(f"{table.name}: refresh", sql, {"oldest": oldest}, indexes, "merge",
                keys=2 * OUTBOX_ROWS * DELTAS)  # fmt: skip


TABLES: Final = [
    *(guard for projection in PROJECTIONS for _, guard in of_projection(projection)),
    *(g for p in PROJECTIONS if p.table.unique for g in of_crowded_claims(p)),
    *(g for p in PROJECTIONS if p.judged for g in of_judging(p)),
    *(guard for aggregate in AGGREGATES for guard in of_aggregate(aggregate)),
    *of_derived(TOLD),
]
