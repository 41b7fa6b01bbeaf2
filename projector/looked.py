"""What a probe has seen upstream, beside what it found in the log and in the tables. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from projector.completeness import Missing, Share, bounded
from projector.declare import Projection
from projector.fold import usable_rev
from projector.seen import Commit, Seen

SAMPLES_MAX: Final = 100
UNKNOWN: Final = "unknown"
"""In place of the PDS host of an account whose DID document the log's newest part does not have."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the log tells of a record: at an offset, an action with a revision."""

    offset: int
    action: str
    rev: str | None


@dataclass(slots=True)
class LogPart:
    """What the log's newest part has of the records seen: their commits, by key and by record; and
    of their accounts the last removals, and the PDS hosts."""

    keys: set[tuple[str, str, str]] = field(default_factory=set)
    told: defaultdict[str, list[Told]] = field(default_factory=lambda: defaultdict(list))
    removed: dict[str, int] = field(default_factory=dict)
    hosts: dict[str, str] = field(default_factory=dict)


class Looked:
    """Compares; `expected` and `found` are asked for each projection, then `shares`."""

    def __init__(self, seen: Seen, part: LogPart) -> None:
        self.seen = seen
        self.part = part
        self.not_applied: set[str] = set()
        self._expected: dict[str, Commit] = {}
        self._lacking: dict[str, tuple[Commit, str]] = {}

    def expected(
        self, projection: Projection, through: int, refused: Collection[tuple[str, int]]
    ) -> dict[str, Commit]:
        """The records that must have a row in a projection's table, by uri.

        Of a record's commits up to the checkpoint the one with the highest revision decides: it
        must be one that was seen, and leaves a row. A removal of the account, or a dead letter,
        takes it away.
        """
        found: dict[str, Commit] = {}
        for key, commit in self.seen.commits.items():
            if projection.name not in commit.makes or key not in self.part.keys:
                continue
            told = [t for t in self.part.told[commit.uri] if t.offset <= through]
            if not told:
                self.not_applied.add(commit.uri)
                continue
            last = max(told, key=lambda t: (usable_rev(t.rev) or "", t.offset))
            is_removed = last.offset < self.part.removed.get(commit.did, 0) <= through
            is_refused = (projection.name, last.offset) in refused
            decides = (last.rev, last.action) == (commit.rev, commit.action)
            if decides and not is_removed and not is_refused:
                found[commit.uri] = commit
        return found

    def found(self, table: str, expected: Mapping[str, Commit], there: Collection[str]) -> None:
        """Notes which of the expected rows a table has."""
        self._expected.update(expected)
        for uri, commit in expected.items():
            if uri not in there:
                self._lacking.setdefault(uri, (commit, table))

    def shares(self) -> tuple[list[Share], list[Share]]:
        """The shares by collection, and by PDS host."""
        collections: dict[str, Share] = {}
        hosts: dict[str, Share] = {}
        for key, commit in self.seen.commits.items():
            host = self.part.hosts.get(commit.did, UNKNOWN)
            is_missing = key not in self.part.keys
            # Of a record's commits the one that decided stands for its row.
            is_expected = self._expected.get(commit.uri) is commit
            is_lacking = is_expected and commit.uri in self._lacking
            for share in (
                collections.setdefault(commit.collection, Share(name=commit.collection)),
                hosts.setdefault(host, Share(name=host)),
            ):
                share.seen += 1
                share.missing += is_missing
                share.expected += is_expected
                share.missing_in_tables += is_lacking
                if is_missing or is_lacking:
                    share.lost(commit.time_us / 1e6)
        return bounded(list(collections.values())), bounded(list(hosts.values()))

    def samples(self) -> list[Missing]:
        """The first that are missing, by time."""
        gone = [(c, "log") for key, c in self.seen.commits.items() if key not in self.part.keys]
        gone += self._lacking.values()
        gone.sort(key=lambda pair: (pair[0].time_us, pair[0].uri))
        return [
            Missing(uri=c.uri, rev=c.rev, action=c.action, at=c.time_us / 1e6, missing_in=where)
            for c, where in gone[:SAMPLES_MAX]
        ]
