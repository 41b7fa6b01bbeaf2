"""Where tables are, and what they are called in SQL."""

from __future__ import annotations

from dataclasses import dataclass

from projector.declare import Child, Count, Projection, Table


def quoted(name: str) -> str:
    """The identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: tuple[str, ...], prefix: str = "") -> str:
    """The identifiers, quoted, each after `prefix`, with commas between."""
    return ", ".join(prefix + quoted(name) for name in names)


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter that a projection's rows move: which aggregate, which counter, by which column;
    of which child table, where it is not the projection's own; unless which column is true.

    `touches`: it counts by the record itself, for a derived table, which is told of every record
    that was touched, be the move zero.
    """

    aggregate: str
    name: str
    by: str
    child: str | None = None
    unless: str | None = None
    touches: bool = False

    @property
    def cell(self) -> str:
        """The key that a row counts for, as SQL; NULL for none."""
        by = quoted(self.by)
        return f"CASE WHEN {quoted(self.unless)} IS NOT TRUE THEN {by} END" if self.unless else by


def counting(count: Count) -> str:
    """What SQL must add to a condition, so that rows that do not count are left out."""
    return f" AND {quoted(count.unless)} IS NOT TRUE" if count.unless else ""


@dataclass(frozen=True, slots=True)
class Home:
    """Where the tables of a projection are, and by what name the engine knows them.

    `name` is that of the checkpoint, the feeds and the outbox; `schema` has the projection's
    tables, and `engine` its shelf of duplicates and its revisions. A projection that is being built
    beside the live one has a home of its own.
    """

    name: str
    schema: str
    engine: str = "projector"

    def base(self, table: Table) -> str:
        """The projection's table."""
        return f"{quoted(self.schema)}.{quoted(table.name)}"

    def child(self, child: Child) -> str:
        """A child table."""
        return f"{quoted(self.place(child))}.{quoted(child.name)}"

    def place(self, child: Child) -> str:
        """The schema of a child table."""
        return self.engine if child.hidden else self.schema

    def counted(self, count: Count) -> str:
        """The table whose rows are counted."""
        if count.child is not None:
            return self.child(count.of.child(count.child))
        return self.base(count.of.table)

    def tables(self, projection: Projection) -> tuple[str, ...]:
        """The projection's table and its child tables."""
        return (self.base(projection.table), *map(self.child, projection.every_child))

    def list(self, table: Table) -> str:
        """The list of duplicates, which several projections may share."""
        return f"{quoted(self.schema)}.{quoted(table.duplicates)}"

    def shelf(self, table: Table) -> str:
        """The engine's table of whole rows that lost to an earlier duplicate."""
        return f"{quoted(self.engine)}.{quoted('duplicate_' + table.name)}"

    def versions(self, projection: Projection) -> str:
        """The engine's table of revisions: of records that were deleted, updated or made again.

        A record that was created once and never touched needs no row: a repeat of its create is
        known by its content.
        """
        return f"{quoted(self.engine)}.{quoted('version_' + projection.name)}"
