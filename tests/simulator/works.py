"""What operators do to a database of the simulator, and what that does to the oracle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet

from tests.simulator.oracle import LETTERS, Oracle
from tests.support.cli import Place
from tests.support.harness import until
from tests.support.watch import Watch

AGAIN = {
    # What was put back is a rebuild under way.
    "rollback": ("rebuild", "post"),
    # The tables may be there already; the next use removes what is left of the builds.
    "as-of": ("as-of", "150", "--into", "later"),
}
"""What to type after a command was killed, where it is not the same command."""
APPLIED_SECONDS_MAX = 300.0
ARCHIVED = ["log_offset", "did", "kind", "action", "collection", "rkey", "rev", "cid", "record"]


class Works:
    """The commands that a case may have killed: how each is prepared, and what it is.

    `rebuilt` says what a rebuild is to build, `kept` what `archive` is to leave of the log: as long
    as repeats may come, what ingest knows them by.
    """

    def __init__(self, place: Place, watch: Watch, oracle: Oracle) -> None:
        self.place = place
        self.watch = watch
        self.oracle = oracle
        self.archive = place.folder / "archive"
        self.rebuilt: Sequence[str] = ("--all",)
        self.kept: Sequence[str] = ("--recent-events", "0")

    async def prepare(self, name: str) -> list[str]:
        """Makes ready what a command is to work on; returns its words."""
        prepare: Callable[[], Awaitable[list[str]]] = getattr(self, name.replace("-", "_"))
        return await prepare()

    def account(self) -> str:
        """The account that says most of those that said anything invalid."""
        said = Counter(f.did for f in self.oracle.facts if f.is_commit and f.fate != "refused")
        bad = {f.did for f in self.oracle.facts if f.fate == "invalid"}
        return next(did for did, _ in said.most_common() if did in bad)

    async def rebuild(self) -> list[str]:
        return ["rebuild", *self.rebuilt]

    async def rollback(self) -> list[str]:
        await self.place.ok("rebuild", "post", "--keep-old")
        return ["rollback", "post"]

    async def as_of(self) -> list[str]:
        return ["as-of", "200", "--into", "earlier"]

    async def archive_all(self) -> list[str]:
        return ["archive", "--to", str(self.archive), *self.kept]

    async def restore(self) -> list[str]:
        await self.place.ok(*await self.archive_all())
        return ["archive", "--to", str(self.archive), "--restore", "1"]

    async def forget(self) -> list[str]:
        self.oracle.forgotten = self.account()
        return ["forget", self.oracle.forgotten, "--yes"]

    async def forget_archived(self) -> list[str]:
        await self.place.ok(*await self.archive_all())
        return await self.forget()

    async def heal(self) -> list[str]:
        """Rows that somebody changed by hand."""
        dids = sorted({fact.did for fact in self.oracle.facts if fact.is_commit})
        await self._applied()
        await self.watch.execute("UPDATE bsky.post SET text = 'by hand'")
        return ["heal", *dids]

    async def replay(self) -> list[str]:
        """Letters that are gone."""
        await self._applied()
        await self.watch.execute("DELETE FROM projector.dead_letter WHERE projection = 'like'")
        return ["replay", "like", "--from", "1"]

    async def retry(self) -> list[str]:
        """A letter of an event that is well."""
        await self._applied()
        await self.watch.execute(
            "INSERT INTO projector.dead_letter (stage, reason, error, projection, log_offset)"
            " SELECT 'apply', 'odd', 'by hand', 'post', log_offset FROM projector.event_log"
            " WHERE collection = 'app.bsky.feed.post' AND (projection, log_offset) NOT IN"
            f" ({LETTERS}) ORDER BY log_offset LIMIT 1".replace("(projection,", "('post',")
        )
        return ["dead-letters", "retry", "--reason", "odd"]

    async def _applied(self) -> None:
        """Waits until what has come by now is applied, so that there is something to damage; more
        may be coming all the while."""
        head = await self.watch.head()

        async def applied() -> bool:
            return await self.watch.tables_at() >= head

        await until(applied, seconds=APPLIED_SECONDS_MAX)

    def read_archive(self) -> None:
        """Tells the oracle what is in the archive's files."""
        self.oracle.archived = [row for path in sorted(self.archive.glob("events-*.parquet"))
                                for row in archived_rows(path)]  # fmt: skip


def archived_rows(path: Path) -> list[tuple[Any, ...]]:
    """The rows of an archive file, as the oracle has those of the log."""
    columns = pyarrow.parquet.read_table(path, columns=[*ARCHIVED, "occurred_at"]).to_pydict()
    times = pyarrow.parquet.read_table(path, columns=["occurred_at"])["occurred_at"]
    columns["occurred_at"] = times.cast("int64").to_pylist()
    return list(zip(*columns.values(), strict=True))
