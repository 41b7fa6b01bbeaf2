"""Profiles, whose `createdAt` the AppView keeps as it came."""

from __future__ import annotations

from msgspec import UNSET

from events.event import Event
from projections.profile import profiles
from projections.reference import telling
from projections.reference.reading import Item
from projections.reference.rules import TableRules

CREATED_AT = profiles.table.columns.index("createdAt")


class ProfileRules(TableRules):
    """Profiles. Where a record states no `createdAt` the AppView has its clock in it; here it is
    the event's time."""

    def __init__(self) -> None:
        super().__init__(profiles, on_insert=telling.profile)
        self._read = self.read
        self.read = self._verbatim

    def _verbatim(self, event: Event) -> Item:
        item = self._read(event)
        if item.row is None or item.record.createdAt is UNSET:
            return item
        cells = list(item.row)
        cells[CREATED_AT] = item.record.createdAt
        return item._replace(row=tuple(cells))
