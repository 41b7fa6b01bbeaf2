"""What a probe has seen upstream: commits, in bounded memory. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final
from zlib import crc32

import msgspec

from events.event import Event
from projector.declare import Projection, Row
from projector.fold import BAD_RECORD

COMMITS_MAX: Final = 100_000
"""More commits than this, and half of the records are no longer looked for: chosen by their uris,
so that of a record all commits are kept or none."""


class Commit(msgspec.Struct, frozen=True, gc=False):
    """One commit: what it did, when, and the projections in which it leaves a row."""

    uri: str
    did: str
    collection: str
    rev: str
    action: str
    time_us: int
    makes: tuple[str, ...]


class Seen:
    """The commits seen, each once; those without a revision cannot be told apart, and count for
    nothing."""

    def __init__(self, projections: Sequence[Projection], commits_max: int = COMMITS_MAX) -> None:
        self.commits: dict[tuple[str, str, str], Commit] = {}
        self.one_in = 1
        self.last_us = 0
        self._commits_max = commits_max
        self._decoders: defaultdict[str, list[tuple[str, Callable[[Event], Row | None]]]] = (
            defaultdict(list)
        )
        for projection in projections:
            decode = projection.decoder()
            for collection in projection.collections:
                self._decoders[collection].append((projection.name, decode))

    def add(self, event: Event) -> None:
        """Takes an event; those of other kinds than commits are passed over."""
        if event.kind != "commit" or not event.rev or event.collection is None:
            return
        self.last_us = max(self.last_us, event.time_us)
        uri = event.uri
        if not self._is_kept(uri):
            return
        self.commits[uri, event.rev, event.action] = Commit(
            uri, event.did, event.collection, event.rev, event.action, event.time_us,
            self._makes(event),
        )  # fmt: skip
        if len(self.commits) > self._commits_max:
            self.one_in *= 2
            self.commits = {k: c for k, c in self.commits.items() if self._is_kept(c.uri)}

    def _is_kept(self, uri: str) -> bool:
        return not crc32(uri.encode(errors="replace")) % self.one_in

    def _makes(self, event: Event) -> tuple[str, ...]:
        if event.action == "delete":
            return ()
        return tuple(
            name
            for name, decode in self._decoders.get(event.collection or "", ())
            if _makes_row(decode, event)
        )


def _makes_row(decode: Callable[[Event], Row | None], event: Event) -> bool:
    try:
        return decode(event) is not None
    except BAD_RECORD:
        return False  # A dead letter.
