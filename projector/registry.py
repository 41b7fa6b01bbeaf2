"""Which projections there are: those of every installed package, found by entry point."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Final

from projector.declare import Aggregate, Declaration, Projection
from projector.errors import UsageError

GROUP: Final = "projector.projections"


def installed() -> list[Declaration]:
    """All declarations, projections before the aggregates that count them, each kind by name.

    Raises `UsageError` when an entry point cannot be loaded, is no declaration, or repeats a name.
    """
    found: dict[str, Declaration] = {}
    for entry in entry_points(group=GROUP):
        try:
            declaration = entry.load()
        except Exception as error:
            raise UsageError(
                f"cannot load projection {entry.name} ({entry.value}): {error}"
            ) from error
        if not isinstance(declaration, (Projection, Aggregate)):
            raise UsageError(f"{entry.value} is no Projection and no Aggregate")
        if declaration.name in found and found[declaration.name] is not declaration:
            raise UsageError(f"two projections are named {declaration.name}; rename one")
        found[declaration.name] = declaration
    order = sorted(found.values(), key=lambda d: (isinstance(d, Aggregate), d.name))
    _check(order)
    return order


def chosen(names: Sequence[str], declarations: Sequence[Declaration]) -> list[str]:
    """The names, checked. Raises `UsageError` for one that is not installed."""
    known = [declaration.name for declaration in declarations]
    for name in names:
        if name not in known:
            raise UsageError(f"no projection is named {name}; there are: {', '.join(known)}")
    return list(names)


def _check(declarations: Sequence[Declaration]) -> None:
    names = {d.name for d in declarations}
    for declaration in declarations:
        if isinstance(declaration, Aggregate):
            for counter, count in declaration.counters.items():
                if count.of.name not in names:
                    raise UsageError(
                        f"{declaration.name}.{counter} counts {count.of.name}, which is not "
                        "installed"
                    )
                if count.by not in count.of.table.columns:
                    raise UsageError(
                        f"{declaration.name}.{counter} counts by {count.by}, which is no column of "
                        f"{count.of.table.name}"
                    )
        else:
            for column in ("uri", "creator", "indexedAt", *(declaration.table.unique or ())):
                if column not in declaration.table.columns:
                    raise UsageError(f"{declaration.name} has no column {column}")
            if declaration.table.columns[0] != "uri":
                raise UsageError(f"the first column of {declaration.name} must be uri")
