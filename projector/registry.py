"""Which projections there are: those of every installed package, found by entry point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Final

from projector.declare import Aggregate, Count, Declaration, Derived, Fed, Kept, Projection
from projector.effects import EventByEvent
from projector.errors import UsageError
from projector.groups import groups_of
from projector.settings import CORRECT

GROUP: Final = "projector.projections"


def installed() -> list[Declaration]:
    """All projections, before the aggregates that count them, each kind by name.

    Raises `UsageError` when an entry point cannot be loaded, is no declaration, or repeats a name.
    """
    found = [d for d in _loaded() if not isinstance(d, EventByEvent)]
    order = sorted(found, key=lambda d: (isinstance(d, Fed), d.name))
    _check(order)
    return order


def event_by_event(name: str) -> EventByEvent:
    """What is kept event by event under a name. Raises `UsageError` where there is no such."""
    found = {d.name: d for d in _loaded() if isinstance(d, EventByEvent)}
    if name not in found:
        raise UsageError(f"compat is {name!r}, which is none of: {', '.join([CORRECT, *found])}")
    return found[name]


def _loaded() -> list[Kept]:
    found: dict[str, Kept] = {}
    for entry in entry_points(group=GROUP):
        try:
            declaration = entry.load()
        except Exception as error:
            raise UsageError(
                f"cannot load projection {entry.name} ({entry.value}): {error}"
            ) from error
        if not isinstance(declaration, Kept):
            raise UsageError(f"{entry.value} is no declaration of what is kept")
        if declaration.name in found and found[declaration.name] is not declaration:
            raise UsageError(f"two projections are named {declaration.name}; rename one")
        found[declaration.name] = declaration
    return list(found.values())


def kept(names: str) -> list[Declaration]:
    """Those of all declarations that are named, by commas; `*`: all.

    Raises `UsageError` for a name that is not installed, and for an aggregate without what it
    counts.
    """
    every = installed()
    if names.strip() == "*":
        return every
    wanted = chosen([name.strip() for name in names.split(",") if name.strip()], every)
    found = [declaration for declaration in every if declaration.name in wanted]
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
        else:
            _check_table(declaration)
            _check_judged(
                declaration, {d.name: d for d in declarations if isinstance(d, Projection)}
            )
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
    needed = ["uri", table.time, *(table.unique or ())]
    if table.account:
        needed.append(table.account)
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
    if clash := {*table.kept, *projection.decided} & set(table.columns):
        raise UsageError(f"{name} writes {', '.join(sorted(clash))}, and keeps it for others")


def _check_judged(projection: Projection, others: Mapping[str, Projection]) -> None:
    judged = projection.judged
    for mark in judged.marks if judged else ():
        if judged is None or mark.projection not in judged.after:
            raise UsageError(f"{projection.name} is marked by {mark.projection}, but not after it")
        other = others.get(mark.projection)
        if other and (other.table.unique or mark.by not in other.table.columns):
            raise UsageError(
                f"{other.name} marks by {mark.by}, which must be a column of it; and it may have "
                "no unique columns"
            )
