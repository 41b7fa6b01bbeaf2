"""Gates, which mark the posts they are of: as far as those are there at the time."""

from __future__ import annotations

from typing import Final

from events.event import Event
from projections.reference.reading import Item
from projections.reference.rules import Gone, Made, TableRules
from projector.declare import Projection
from projector.effects import Doing, do

MARK: Final = 'UPDATE post SET "{column}" = $2 WHERE uri = $1'


class GateRules(TableRules):
    """A gate of a post; `column` says of the post whether it has one."""

    def __init__(self, projection: Projection, column: str) -> None:
        super().__init__(projection)
        self._mark = MARK.format(column=column)
        self._post = projection.table.columns.index("postUri")

    def insert(self, item: Item) -> Doing[Made | None]:
        """As of any table; the post is marked even where the gate was there."""
        made = yield from super().insert(item)
        assert item.row is not None
        yield from do(self._mark, item.row[self._post], True)
        return made

    def delete(self, event: Event) -> Doing[Gone | None]:
        """As of any table."""
        gone = yield from super().delete(event)
        if gone is not None:
            yield from do(self._mark, gone.row[self._post], False)
        return gone
