"""Which projections there are: those of every installed package, found by entry point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Final

from projector.declare import (
    Aggregate,
    Companion,
    Count,
    Declaration,
    Derived,
    Fed,
    Kept,
    Projection,
)
from projector.effects import EventByEvent
from projector.errors import UsageError
from projector.groups import groups_of
from projector.settings import CORRECT

GROUP: Final = "projector.projections"
COMPANIONS: Final = "projector.companions"
EVERYTHING: Final = "*"


def installed() -> list[Declaration]:
    """All projections, before the aggregates that count them, each kind by name.

    Raises `UsageError` when an entry point cannot be loaded, is no declaration, or repeats a name.
    """
    found = [d for d in _all() if not isinstance(d, EventByEvent)]
    order = sorted(found, key=lambda d: (isinstance(d, Fed), d.name))
    _check(order)
    return order


def event_by_event(name: str) -> EventByEvent:
    """What is kept event by event under a name. Raises `UsageError` where there is no such."""
    found = {d.name: d for d in _all() if isinstance(d, EventByEvent)}
    if name not in found:
        raise UsageError(f"compat is {name!r}, which is none of: {', '.join([CORRECT, *found])}")
    return found[name]


def _all() -> list[Kept]:
    found: dict[str, Kept] = {}
    for value, declaration in _loaded(GROUP):
        if not isinstance(declaration, Kept):
            raise UsageError(f"{value} is no declaration of what is kept")
        if declaration.name in found and found[declaration.name] is not declaration:
            raise UsageError(f"two projections are named {declaration.name}; rename one")
        found[declaration.name] = declaration
    return list(found.values())


def companions(names: str) -> list[Companion]:
    """The tables beside those of projections; none where only some projections are kept.

    Raises `UsageError` when an entry point cannot be loaded or is no companion.
    """
    found = []
    everything = EVERYTHING in names.replace(" ", "").split(",")
    for value, companion in _loaded(COMPANIONS) if everything else ():
        if not isinstance(companion, Companion):
            raise UsageError(f"{value} is no Companion")
        found.append(companion)
    return found


def _loaded(group: str) -> Iterator[tuple[str, object]]:
    """What each entry point of a group is, after its value."""
    for entry in entry_points(group=group):
        try:
            yield entry.value, entry.load()
        except Exception as error:
            raise UsageError(f"cannot load {entry.name} ({entry.value}): {error}") from error


def kept(names: str) -> list[Declaration]:
    """Those of all declarations that are named, by commas; `*`: all; `*,-name`: all but that one.

    Raises `UsageError` for a name that is not installed, and for an aggregate without what it
    counts.
    """
    every = installed()
    parts = [name.strip() for name in names.split(",") if name.strip()]
    left_out = chosen([name[1:] for name in parts if name.startswith("-")], every)
    wanted = [name for name in parts if not name.startswith("-") and name != EVERYTHING]
    if EVERYTHING in parts:
        wanted += [declaration.name for declaration in every]
    wanted = chosen(wanted, every)
    found = [d for d in every if d.name in wanted and d.name not in left_out]
    _check(found)
    return found


def chosen(names: Sequence[str], declarations: Sequence[Kept]) -> list[str]:
    """The names, checked. Raises `UsageError` for one that is not installed."""
    known = [declaration.name for declaration in declarations]
    for name in names:
        if name not in known:
            raise UsageError(f"no projection is named {name}; there are: {', '.join(known)}")
    return list(names)


def _check(declarations: Sequence[Declaration]) -> None:
    names = {d.name for d in declarations}
    for declaration in declarations:
        if isinstance(declaration, Fed):
            for counter, count in declaration.counters.items():
                if count.of.name not in names:
                    raise UsageError(
                        f"{declaration.name}.{counter} needs {count.of.name}, which is not "
                        "installed, or not among the projections that are kept"
                    )
        if isinstance(declaration, Aggregate):
            for counter, count in declaration.counters.items():
                if count.of.also:
                    raise UsageError(
                        f"{declaration.name}.{counter} counts {count.of.name}, which reads several "
                        "collections; only rows of one can be counted"
                    )
                if count.by not in columns_of(count):
                    raise UsageError(
                        f"{declaration.name}.{counter} counts by {count.by}, which is no column of "
                        f"{count.table}"
                    )
                if count.unless and (count.child or count.unless not in verdicts_of(count.of)):
                    raise UsageError(
                        f"{declaration.name}.{counter} leaves out rows by {count.unless}, which is "
                        f"no judged column of {count.table}"
                    )
        elif isinstance(declaration, Derived):
            _check_derived(declaration)
        elif isinstance(declaration, Projection):
            _check_table(declaration)
            _check_judged(
                declaration, {d.name: d for d in declarations if isinstance(d, Projection)}
            )
        elif declaration.claim and declaration.claim not in declaration.columns[1:]:
            raise UsageError(f"{declaration.name} claims {declaration.claim}, no column of its own")
    groups_of(declarations)


def _check_derived(derived: Derived) -> None:
    for name, source in derived.sources.items():
        for select in source.selects:
            if unknown := select.values.keys() - set(derived.columns):
                raise UsageError(f"{derived.name}.{name} fills no column {', '.join(unknown)}")
            if derived.key not in select.values:
                raise UsageError(f"{derived.name}.{name} does not say what its {derived.key} is")


def columns_of(count: Count) -> Sequence[str]:
    """The columns of the rows that are counted; none where there is no such child table."""
    if count.child is None:
        return count.of.table.columns
    there = (c.columns for c in count.of.children if c.name == count.child and not c.hidden)
    return next(there, ())


def verdicts_of(projection: Projection) -> Sequence[str]:
    """The columns of a projection's verdicts."""
    return projection.judged.columns if projection.judged else ()


def _check_table(projection: Projection) -> None:
    name, table = projection.name, projection.table
    named = (table.time, table.account, table.tombstone)
    needed = ["uri", *(table.unique or ()), *(column for column in named if column)]
    if table.unique:
        needed += ["creator", "indexedAt", "cid"]
    for column in needed:
        if column not in table.columns:
            raise UsageError(f"{name} has no column {column}")
    if table.columns[0] != "uri":
        raise UsageError(f"the first column of {name} must be uri")
    if table.unique and (projection.children or table.kept or projection.also or projection.judged):
        raise UsageError(
            f"{name} has unique columns, and so neither child tables, nor judged columns, nor "
            "columns kept for others, nor further collections"
        )
    if table.tombstone and (table.unique or projection.children or projection.beside):
        raise UsageError(
            f"{name} keeps rows of deleted records, and so has neither unique columns, nor child "
            "tables, nor judged columns, nor columns kept for others"
        )
    if clash := {*table.kept, *projection.decided} & set(table.columns):
        raise UsageError(f"{name} writes {', '.join(sorted(clash))}, and keeps it for others")


def _check_judged(projection: Projection, others: Mapping[str, Projection]) -> None:
    judged = projection.judged
    if projection.judged_children and judged is None:
        raise UsageError(f"{projection.name} has judged child tables, but is not judged")
    for name in judged.after if judged else ():
        if name in others and others[name].table.tombstone:
            raise UsageError(
                f"{projection.name} is judged after {name}, which keeps rows of deleted records"
            )
    for mark in judged.marks if judged else ():
        if judged is None or mark.projection not in judged.after:
            raise UsageError(f"{projection.name} is marked by {mark.projection}, but not after it")
        other = others.get(mark.projection)
        if other and (other.table.unique or mark.by not in other.table.columns):
            raise UsageError(
                f"{other.name} marks by {mark.by}, which must be a column of it; and it may have "
                "no unique columns"
            )
