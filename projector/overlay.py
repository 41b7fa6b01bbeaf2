"""What a window did to records before one of its events, as far as that is certain. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from projector.declare import Projection
from projector.fold import Folded, Touch

Claim = tuple[str | None, ...]


class State(Enum):
    """What a record is at some event of a window, where it is not made by a lone create."""

    UNTOUCHED = "what the table has of it"
    REMOVED = "gone with its account"
    DOUBTFUL = "what the tables make of the events before"


def owner_of(uri: str) -> str:
    """The account of an at-uri."""
    return uri.split("/", 3)[2]


@dataclass(slots=True)
class Overlay:
    """What a window holds for one projection, event by event.

    `removed` has the offset of the first removal of each account. `free` are the uris of lone
    creates of which the tables know nothing, neither the record nor its claim. Repeats of what the
    tables have are not among the touches.
    """

    projection: Projection
    folded: Folded
    removed: Mapping[str, int]
    free: Collection[str]
    _claims: dict[Claim, list[Touch]] = field(default_factory=dict)

    def touches(self, uri: str, offset: int) -> Sequence[Touch]:
        """The events of a record before an offset."""
        every = self.folded.touches.get(uri)
        if not every:
            return ()
        return [touch for touch in every if touch.log_offset < offset]

    def at(self, uri: str, offset: int) -> State | Touch:
        """What a record is at an offset; the touch that made it, where that is all there is."""
        before = self.touches(uri, offset)
        removed = self.removed and self.removed.get(owner_of(uri), offset) < offset
        if not before:
            return State.REMOVED if removed else State.UNTOUCHED
        if removed or not self._is_plain(uri, before) or self.projection.table.unique:
            return State.DOUBTFUL
        return before[0]

    def is_claimed(self, claim: Claim, holder: str | None, offset: int) -> bool | None:
        """Whether a claim is made at an offset, by a record of whatever account; None: in doubt.

        `holder` is the uri of who has it in the table.
        """
        if holder is not None:
            # While the holder is there the claim is made, whoever else comes and goes.
            return True if self.at(holder, offset) is State.UNTOUCHED else None
        makers = [t for t in self._makers().get(claim, ()) if t.log_offset < offset]
        if not makers:
            return False
        first, *more = makers
        removed = self.removed.get(owner_of(first.uri), offset) < offset
        sure = self._is_plain(first.uri, self.touches(first.uri, offset))
        return True if sure and not more and not removed else None

    def _is_plain(self, uri: str, touches: Sequence[Touch]) -> bool:
        return len(touches) == 1 and touches[0].is_create and uri in self.free

    def _makers(self) -> dict[Claim, list[Touch]]:
        """The events that make each claim, in order."""
        if not self._claims:
            table = self.projection.table
            at = [table.columns.index(column) for column in table.unique or ()]
            found = defaultdict(list)
            for touches in self.folded.touches.values():
                for touch in touches:
                    if touch.row is not None:
                        found[tuple(touch.row[i] for i in at)].append(touch)
            self._claims.update(found)
        return self._claims
