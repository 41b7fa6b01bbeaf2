"""Apply: one window of one projection in one transaction, its checkpoint with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter

import asyncpg

from projector.committing import commit_window
from projector.copying import copy_children, copy_judged, copy_rows
from projector.declare import Projection, Row
from projector.errors import Corruption
from projector.fold import Burial, Folded, Letter
from projector.home import Counter, Home, quoted
from projector.judging import Flags
from projector.moves import Moves
from projector.outbox import joined_columns, put_deltas
from projector.statements import (
    EDITS,
    FEEDS,
    NOTIFY_OUTBOX,
    PUT_LETTER,
    statements_of,
)
from projector.windows import Applied, Probed, Step

Cells = asyncpg.Record | tuple[str | None, ...]
"""The counted columns of one row, from Postgres or from the row we sent."""


class TableWriter:
    """Writes the net effect of windows to one projection's tables.

    `told` are columns of which it says what they have in rows that came and went.
    """

    def __init__(self, projection: Projection, home: Home, told: Sequence[str] = ()) -> None:
        self.projection = projection
        self.told = told
        self.home = home
        self.table = projection.table
        self.width = len(self.table.columns)
        self.claim_at = [self.table.columns.index(name) for name in self.table.unique or ()]
        self._feeds_at: int | None = None
        self._feed(())

    def _feed(self, counters: Sequence[Counter]) -> None:
        fed = [replace(c, touches=self.projection.is_key(c.by, c.child)) for c in counters]
        self.sql = statements_of(self.projection, self.home, fed, self.told)

    async def read_feeds(self, connection: asyncpg.Connection) -> None:
        """Reads which counters the rows move; to be called with the checkpoint's row locked, which
        keeps that as it is until the transaction ends."""
        self._feed([Counter(*row) for row in await connection.fetch(FEEDS, self.home.name)])

    async def feed_as_of(self, connection: asyncpg.Connection, edits: int) -> None:
        """The same, where the checkpoint's count of edits is not what it was."""
        if self._feeds_at != edits:
            await self.read_feeds(connection)
            self._feeds_at = edits

    async def probe(self, connection: asyncpg.Connection, folded: Folded) -> Probed:
        """Looks ahead which of a window's fresh rows are taken, on a connection of its own.

        Whoever uses it must have `meanwhile` told of each window applied since it was begun.
        """
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            edits = await connection.fetchval(EDITS, self.home.name)
            return Probed(int(edits or 0), await self.taken(connection, folded.fresh))

    def meanwhile(self, probed: Probed, applied: Folded) -> None:
        """Adds what a window that was applied since may have taken."""
        probed.taken.update(applied.gone)
        probed.taken.update(applied.buried)
        for rows in (applied.fresh, applied.changed):
            probed.taken.update(map(itemgetter(0), rows))
            if self.claim_at:
                probed.claims.update(map(itemgetter(*self.claim_at), rows))

    async def taken(self, connection: asyncpg.Connection, rows: Sequence[Row]) -> set[str]:
        """The uris of those rows whose uri or claim a table has, as the connection sees it."""
        columns = [list(map(itemgetter(at), rows)) for at in (0, *self.claim_at)]
        texts, separator = joined_columns(columns)
        return {record[0] for record in await connection.fetch(self.sql.taken, separator, *texts)}

    async def apply(
        self,
        connection: asyncpg.Connection,
        step: Step,
        folded: Folded,
        probed: Probed | None = None,
    ) -> Applied:
        """Applies a folded window; when it returns all of it is committed, else nothing is.

        What was `probed` before is relied on only as far as Postgres confirms it. Raises
        `CheckpointMoved` when the checkpoint is not at `step.after` (invariant 2), and `Corruption`
        when the tables contradict each other.
        """

        async def write(edits: int) -> Applied:
            await self.feed_as_of(connection, edits)
            valid = probed if probed is not None and probed.edits == edits else None
            return await self.write(connection, folded, step.through, valid)

        try:
            return await commit_window(
                connection, self.home.name, self.projection.version, step, write
            )
        except asyncpg.UniqueViolationError as error:
            if probed is not None:
                return await self.apply(connection, step, folded)
            raise Corruption(
                f"{self.home.name}: {error.message}; its tables contradict each other, "
                "rebuild the projection"
            ) from error

    async def write(
        self,
        connection: asyncpg.Connection,
        folded: Folded,
        through: int,
        probed: Probed | None = None,
    ) -> Applied:
        """Writes a folded window within the transaction that the caller has open, and in which it
        has read the feeds; `through` is the offset that the deltas belong to."""
        if folded.letters:
            await self.put_letters(connection, folded.letters)
        if folded.is_empty:
            return Applied(0, 0, 0)
        work = _Work(connection, self, folded, probed)
        removed = 0
        if folded.removed_accounts:
            removed = await work.remove_accounts(folded.removed_accounts, through)
        await work.write(folded)
        if folded.buried:
            await work.bury(folded.buried)
        deltas = await put_deltas(
            connection, self.home.name, self.sql.counters, work.moves.tally, through
        )
        if removed or deltas:
            await connection.execute(NOTIFY_OUTBOX, self.home.name)
        return Applied(work.inserted, work.deleted + removed, deltas, work.told)

    async def stale(
        self, connection: asyncpg.Connection, uris: list[str], revs: Mapping[str, str]
    ) -> set[str]:
        """Those records of which the tables have this revision, or a later one, already."""
        if not uris:
            return set()
        known = await connection.fetch(self.sql.versions, uris)
        return {uri for uri, rev in known if uri in revs and revs[uri] <= rev}

    async def repeats(
        self, connection: asyncpg.Connection, rows: list[Row], revs: Mapping[str, str]
    ) -> set[str]:
        """Of rows of lone creates those, by uri, that say nothing that the tables do not have."""
        if not rows:
            return set()
        found = await self.stale(connection, [row[0] for row in rows], revs)
        held = await connection.fetch(self.sql.held, *self.columns_of(rows))
        return found.union(record[0] for record in held)

    async def put_letters(self, connection: asyncpg.Connection, letters: Iterable[Letter]) -> None:
        """Writes dead letters, or that the same event could not be applied once more."""
        await put_letters(connection, self.home.name, letters)

    def columns_of(self, rows: Sequence[Row]) -> list[Sequence[object]]:
        """The rows as one array per column, which is how they travel to Postgres."""
        columns: list[Sequence[object]] = list(zip(*rows, strict=True))
        return columns[: self.width]

    def claim_of(self, row: Row) -> tuple[str, ...]:
        """The row's claim: the columns of which an account holds each combination once."""
        return tuple([row[i] for i in self.claim_at])


class _Work:
    """The writing of one window: what it moved, and which claims are to be settled."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        writer: TableWriter,
        folded: Folded,
        probed: Probed | None,
    ) -> None:
        self.connection = connection
        self.revs = folded.revs
        self.decided = folded.decided
        self.judged = folded.judged
        self.probed = probed
        self.writer = writer
        self.sql = writer.sql
        self.moves = Moves(self.sql, writer.projection)
        self.groups: set[tuple[str, ...]] = set()
        self.challengers: list[str] = []
        self.inserted = 0
        self.deleted = 0
        self.told: list[tuple[tuple[str, ...], bool]] = []
        self._claim = self._returned(writer.table.unique or ())
        self._told_of = self._returned(writer.told)
        self._told_at = [writer.table.columns.index(name) for name in writer.told]

    def _returned(self, names: Sequence[str]) -> list[int]:
        """Where in rows that statements return these columns are."""
        return [self.sql.counted.index(quoted(name)) for name in names]

    async def remove_accounts(self, accounts: list[str], through: int) -> int:
        """Removes all rows of accounts; returns how many. Their claims need no settling: every
        row with the same claim is of the same account."""
        if self.sql.remove_account_duplicates:
            await self.connection.execute(self.sql.remove_account_duplicates, accounts)
        fetch, removed = self.connection.fetchval, 0
        for did in accounts:
            span = f"at://{did}/", f"at://{did}0"
            await self.connection.execute(self.sql.forget_account, *span)
            for child in self.sql.children:
                await fetch(child.remove_account, *span, through)
            if self.sql.remove_account:
                removed += int(await fetch(self.sql.remove_account, *span, through))
        if self.sql.remove_accounts:
            removed += int(await fetch(self.sql.remove_accounts, accounts, through))
        return removed

    async def write(self, folded: Folded) -> None:
        """Writes what is newer than what the tables have; notes the revisions they are at now."""
        gone = folded.gone
        if folded.rowless:
            gone = gone + await self._known(folded.rowless)
        uris = [*gone, *(row[0] for row in folded.changed)]
        stale = await self.writer.stale(self.connection, uris, self.revs)
        gone = [uri for uri in gone if uri not in stale]
        changed = [row for row in folded.changed if row[0] not in stale]
        if gone:
            await self.delete(gone)
        if folded.fresh:
            changed = changed + await self._contested(await self.insert_new(folded.fresh))
        if changed:
            await self.replace(changed)
        if self.groups:
            await self.settle()
        await self._note_revs([*gone, *(row[0] for row in changed)], self.revs)

    async def bury(self, buried: Mapping[str, Burial]) -> None:
        """Notes the deletion of records whose rows stay, where it is newer than what is known."""
        assert self.sql.bury
        revs = {uri: grave.rev for uri, grave in buried.items() if grave.rev}
        stale = await self.writer.stale(self.connection, list(buried), revs)
        times = {uri: grave.time for uri, grave in buried.items() if uri not in stale}
        await self.connection.execute(self.sql.bury, list(times), list(times.values()))
        await self._note_revs(list(times), revs)

    async def _known(self, uris: list[str]) -> list[str]:
        """Those of which the tables know anything."""
        return [row[0] for row in await self.connection.fetch(self.sql.known, uris)]

    async def _contested(self, rows: list[Row]) -> list[Row]:
        """Of rows that could not simply be inserted, those that are no repeats."""
        repeats = await self.writer.repeats(self.connection, rows, self.revs)
        return [row for row in rows if row[0] not in repeats]

    async def _note_revs(self, uris: list[str], revs: Mapping[str, str]) -> None:
        noted = [uri for uri in uris if uri in revs]
        if noted:
            values = [revs[uri] for uri in noted]
            await self.connection.execute(self.sql.put_versions, noted, values)

    async def delete(self, uris: list[str]) -> None:
        """Deletes rows, from wherever they are; claims they held are to be settled."""
        rows = await self.connection.fetch(self.sql.delete, uris)
        self.deleted += len(rows)
        self.moves.returned(rows, -1)
        if self._told_of:
            self.told += [(tuple(row[at] for at in self._told_of), False) for row in rows]
        for child in self.sql.children:
            gone = await self.connection.fetch(child.delete, uris)
            self.moves.returned(gone, -1, child.name)
        if self.sql.delete_duplicates:
            self._contest(rows)
            await self.connection.execute(self.sql.delete_duplicates, uris)

    async def insert_new(self, rows: list[Row]) -> list[Row]:
        """Inserts rows where uri and claim are free; returns the others.

        The others are looked for first, so that the rest can be loaded by COPY, which writes
        whole pages and probes nothing. The checkpoint's row lock keeps every other writer out.
        """
        if self.groups:
            # A claim just given up may have somebody waiting who was there before these rows.
            await self.settle()
        others = await self._taken(rows)
        if others:
            rows = [row for row in rows if row[0] not in others]
        of, home = self.writer.projection, self.writer.home
        await copy_rows(self.connection, of, home, rows, self.decided)
        await self._put_judged(rows)
        self._put(rows)
        return list(others.values())

    async def _taken(self, rows: list[Row]) -> dict[str, Row]:
        """Those rows, by uri, whose uri or claim is taken, by a table or by a row before."""
        claim_at = self.writer.claim_at
        probed = self.probed
        taken = probed.taken if probed else await self.writer.taken(self.connection, rows)
        others = {row[0]: row for row in rows if row[0] in taken} if taken else {}
        if not claim_at:
            return others
        claims = list(map(itemgetter(*claim_at), rows))
        if len(set(claims)) < len(claims):
            firsts: dict[tuple[str, ...], str] = {}
            others.update(
                (row[0], row)
                for row, claim in zip(rows, claims, strict=True)
                if firsts.setdefault(claim, row[0]) != row[0]
            )
        if probed and not probed.claims.isdisjoint(claims):
            others.update(
                (row[0], row)
                for row, claim in zip(rows, claims, strict=True)
                if claim in probed.claims
            )
        return others

    async def replace(self, rows: list[Row]) -> None:
        """Puts rows in place of what has their uri; with claims, to compete for them."""
        uris = [row[0] for row in rows]
        kept = await self.connection.fetch(self.sql.kept, uris) if self.sql.kept else []
        await self.delete(uris)
        verdicts = self._verdicts(uris)
        await self.connection.execute(self.sql.shelve, *self.writer.columns_of(rows), *verdicts)
        if self.writer.table.unique is None:
            await copy_children(self.connection, self.writer.projection, self.writer.home, rows)
            await self._put_judged(rows)
            self._put(rows)
            if kept and self.sql.keep:
                await self.connection.execute(self.sql.keep, *map(list, zip(*kept, strict=True)))
            return
        self.groups.update(self.writer.claim_of(row) for row in rows)
        self.challengers += [row[0] for row in rows]

    def _verdicts(self, uris: Sequence[str]) -> list[list[bool | None]]:
        """The verdicts on rows, as one array per column."""
        judged = self.writer.projection.judged
        none: Flags = (None,) * len(self.writer.projection.decided)
        cells = [self.decided.get(uri, none) for uri in uris]
        return [[cell[at] for cell in cells] for at in range(len(judged.columns) if judged else 0)]

    async def settle(self) -> None:
        """Gives each contested claim to its first row, and lists the others under it."""
        assert self.sql.demote and self.sql.promote and self.sql.relist_groups
        assert self.sql.relist_uris
        arrays = list(zip(*sorted(self.groups), strict=True))
        demoted = await self.connection.fetch(self.sql.demote, *arrays)
        promoted = await self.connection.fetch(self.sql.promote, *arrays)
        self.deleted += len(demoted)
        self.inserted += len(promoted)
        self.moves.returned(demoted, -1)
        self.moves.returned(promoted, 1)
        if promoted:
            claims = {tuple(row[i] for i in self._claim) for row in promoted}
            arrays = list(zip(*sorted(claims), strict=True))
            await self.connection.execute(self.sql.relist_groups, *arrays)
        if self.challengers:
            await self.connection.execute(self.sql.relist_uris, self.challengers)
        self.groups.clear()
        self.challengers.clear()

    async def _put_judged(self, rows: Sequence[Row]) -> None:
        """Writes what the judge gave besides values of columns."""
        cells = [self.judged[row[0]] for row in rows if row[0] in self.judged]
        if cells:
            of, home = self.writer.projection, self.writer.home
            await copy_judged(self.connection, of, home, cells)
            self.moves.sent_judged(cells)

    def _put(self, rows: Sequence[Row]) -> None:
        self.inserted += len(rows)
        self.moves.sent(rows, self.decided)
        if self._told_at:
            self.told += [(tuple(row[at] for at in self._told_at), True) for row in rows]

    def _contest(self, rows: Iterable[Cells]) -> None:
        self.groups.update(tuple(str(row[i]) for i in self._claim) for row in rows)


async def put_letters(connection: asyncpg.Connection, name: str, letters: Iterable[Letter]) -> None:
    """Writes dead letters of the projection that is at home under `name`."""
    await connection.executemany(
        PUT_LETTER,
        [(name, x.log_offset, x.stage, x.reason, _storable(x.error)) for x in letters],
    )


def _storable(text: str) -> str:
    # An error may quote what Postgres refuses to store.
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
