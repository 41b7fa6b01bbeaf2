"""The rolling audit: walks through all accounts, at a set rate, and proves each against the log.

Where it is, and what it found, is in the database: whoever audits next goes on from there. In each
round every account is proven once; which accounts there are comes from the log, and from the
tables themselves, for what no event explains.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final

import asyncpg
import msgspec

from events.crashpoints import crash_point
from events.history import WholeLog
from events.log import LogCorrupt
from projector.counter_audit import find_wrong, look_again, present, put_wrong
from projector.counters import Watched
from projector.database import Database, close_quietly, is_transient, one_line
from projector.declare import Declaration, Projection
from projector.findings import put_findings
from projector.home import quoted
from projector.lease import LeaseKeeper
from projector.prove import Verdict, prove_accounts, read_subjects
from projector.statements import live
from projector.status import read_audit

log = logging.getLogger(__name__)

LEASE: Final = "audit"
LISTED_EVENTS: Final = 20_000
"""How many events are looked through for new accounts at once."""

SHARE: Final = 0.1
"""The most of the time that reading the log for new accounts takes."""

SAY_SECONDS: Final = 600.0
"""How often the log tells how far the audit is."""

TROUBLE_SECONDS: Final = 30.0
"""How long it rests after trouble, which a connection or the archive may have."""

SURVIVED: Final = (asyncpg.PostgresError, LogCorrupt)

DONE: Final = "*"
"""In place of a projection's name: all tables have been looked through in this round."""

# Nobody waits for it: no workers of its own, and little memory.
AUDIT_SETTINGS: Final = {"max_parallel_workers_per_gather": "0", "synchronous_commit": "off"}

STATE: Final = """
SELECT listed_offset, strays_in, strays_after, round, accounts FROM projector.audit_state
"""
ADD: Final = """
WITH new AS (INSERT INTO projector.audit_account (did) SELECT * FROM unnest($1::text[])
    ON CONFLICT (did) DO NOTHING RETURNING 1)
UPDATE projector.audit_state SET accounts = accounts + (SELECT count(*) FROM new),
    updated_at = now() RETURNING (SELECT count(*) FROM new)
"""
LISTED: Final = "UPDATE projector.audit_state SET listed_offset = $1"
WALKED: Final = "UPDATE projector.audit_state SET strays_in = $1, strays_after = $2"
NEXT: Final = """
SELECT did FROM projector.audit_account WHERE round < $1 ORDER BY round, did LIMIT $2
"""
PROVEN: Final = """
UPDATE projector.audit_account SET round = $2, audited_at = now(),
    as_of = CASE WHEN did = ANY($4::text[]) THEN as_of ELSE $3 END
WHERE did = ANY($1::text[]) AND round < $2
"""
ADVANCE: Final = """
UPDATE projector.audit_state SET proven = proven + $1, updated_at = now(),
    round_as_of = CASE WHEN proven = 0 THEN $2 ELSE least(round_as_of, $2) END
"""
NEW_ROUND: Final = """
UPDATE projector.audit_state SET round = round + 1, proven = 0, strays_in = '', strays_after = '',
    complete_as_of = round_as_of
"""
# From account to account by the index on the account, however many rows each has.
OWNERS: Final = """
WITH RECURSIVE c(did, n) AS (
    (SELECT {account}::text, 1 FROM {table} WHERE {account} > $1 ORDER BY {account} LIMIT 1)
    UNION ALL
    SELECT (SELECT {account}::text FROM {table} AS t WHERE t.{account} > c.did
        ORDER BY {account} LIMIT 1), n + 1
    FROM c WHERE c.did IS NOT NULL AND n < $2)
SELECT did FROM c WHERE did IS NOT NULL
"""
# The same by the uris: beyond all that begin with at://did/.
OWNERS_BY_URI: Final = """
WITH RECURSIVE c(did, n) AS (
    (SELECT split_part(uri, '/', 3), 1 FROM {table} WHERE uri > 'at://' || $1::text || '0'
        AND uri LIKE 'at://%' ORDER BY uri LIMIT 1)
    UNION ALL
    SELECT (SELECT split_part(uri, '/', 3) FROM {table} AS t WHERE uri > 'at://' || c.did || '0'
        AND uri LIKE 'at://%' ORDER BY uri LIMIT 1), n + 1
    FROM c WHERE c.did IS NOT NULL AND n < $2)
SELECT did FROM c WHERE did IS NOT NULL
"""


class State(msgspec.Struct, frozen=True):
    """Where the audit is; the columns of `projector.audit_state`."""

    listed_offset: int
    strays_in: str
    strays_after: str
    round: int
    accounts: int


class Auditor:
    """Audits while it holds the lease `audit`, over a connection of its own."""

    def __init__(
        self,
        database: Database,
        keeper: LeaseKeeper,
        declarations: Sequence[Declaration],
        schema: str,
        *,
        accounts_per_second: float,
        accounts_max: int = 1000,
        poll_seconds: float = 1.0,
    ) -> None:
        self.database = database
        self.keeper = keeper
        self.declarations = list(declarations)
        self.projections = [d for d in declarations if isinstance(d, Projection)]
        self.schema = schema
        self.accounts_per_second = accounts_per_second
        self.accounts_max = accounts_max
        self.poll_seconds = poll_seconds
        self.log = WholeLog()
        self._said_at = 0.0
        self._more = True

    async def run(self) -> None:
        """Audits until cancelled; trouble of it is only its own."""
        while True:
            try:
                if await self.keeper.take(LEASE):
                    await self._turns()
            except Exception as error:
                # Whatever Postgres says: a table may be swapped under us, and comes back.
                if not is_transient(error) and not isinstance(error, SURVIVED):
                    raise
                log.warning("audit: %s; trying again", one_line(error))
                await asyncio.sleep(TROUBLE_SECONDS)
            await asyncio.sleep(self.poll_seconds)

    async def _turns(self) -> None:
        connection = await self.database.connect("audit", **AUDIT_SETTINGS)
        now = time.monotonic
        prove_at = now()
        try:
            while LEASE in self.keeper.held:
                begun = now()
                more = await self.list_accounts(connection)
                rest = (now() - begun) / SHARE if more else self.poll_seconds
                if now() >= prove_at:
                    await look_again(connection, await self._counters(connection))
                    proven = await self.prove_next(connection)
                    prove_at = now() + proven / self.accounts_per_second
                await asyncio.sleep(rest)
        finally:
            await close_quietly(connection)

    async def list_accounts(self, connection: asyncpg.Connection) -> bool:
        """Adds the accounts of the next events; False when all have been looked at.

        Only events that every projection has applied count: what is not applied needs no proof.
        """
        state = await read_state(connection)
        subjects = await read_subjects(connection, self.projections, self.schema)
        applied = min((subject.through for subject in subjects), default=0)
        through = min(state.listed_offset + LISTED_EVENTS, applied)
        self._more = through < applied
        if through <= state.listed_offset:
            return False
        collections = [c for projection in self.projections for c in projection.collections]
        events = await self.log.read(connection, state.listed_offset, through, collections)
        dids = sorted({e.did for e in events if e.kind == "commit" or e.removes_account})
        async with connection.transaction():
            await connection.execute(ADD, dids)
            await connection.execute(LISTED, through)
            # Killed here, the same events are looked through again.
            crash_point("audit.listing")
        return self._more

    async def prove_next(self, connection: asyncpg.Connection) -> int:
        """Proves the next accounts of this round; returns how many. After the last one the next
        round begins."""
        state = await read_state(connection)
        walked = await self._add_strays(connection, state)
        dids = [row[0] for row in await connection.fetch(NEXT, state.round, self.accounts_max)]
        if dids:
            await self._prove(connection, state, dids)
        elif walked and state.accounts and not self._more:
            log.info("audit: %s", (await read_audit(connection)).sentence)
            await connection.execute(NEW_ROUND)
        return len(dids)

    async def _prove(self, connection: asyncpg.Connection, state: State, dids: list[str]) -> None:
        verdicts = await self._verdicts(connection, dids)
        miscounted = await find_wrong(connection, await self._counters(connection), dids)
        wrong = sorted({d.did for verdict in verdicts for d in verdict.differences})
        as_of = min((verdict.subject.through for verdict in verdicts), default=0)
        # Killed before this commits, the accounts are proven again; after it, they are done.
        crash_point("audit.proven")
        async with connection.transaction():
            await put_findings(connection, verdicts, dids)
            await put_wrong(connection, miscounted)
            done = await connection.execute(PROVEN, dids, state.round, as_of, wrong)
            await connection.execute(ADVANCE, int(done.split()[-1]), as_of)
            crash_point("audit.committing")
        crash_point("audit.committed")
        if wrong:
            log.warning(
                "audit: %d accounts differ from the log, such as %s: projector verify --rows says "
                "why, projector heal --all-differences mends them",
                len(wrong), wrong[0],
            )  # fmt: skip
        if miscounted:
            first = miscounted[0]
            log.warning(
                "audit: %d counters are not what their rows are, such as %s of %s, %d for %d rows: "
                "projector heal --all-differences mends them",
                len(miscounted), first.counter, first.key, first.kept, first.counted,
            )  # fmt: skip
        await self._say(connection)

    async def _counters(self, connection: asyncpg.Connection) -> list[Watched]:
        return await present(connection, self.declarations, self.schema)

    async def _verdicts(self, connection: asyncpg.Connection, dids: Sequence[str]) -> list[Verdict]:
        verdicts = await prove_accounts(connection, self.log, self.projections, self.schema, dids)
        if not any(verdict.count for verdict in verdicts):
            return verdicts
        # An account may have been forgotten between the look at the tables and that at the log.
        return await prove_accounts(connection, self.log, self.projections, self.schema, dids)

    async def _add_strays(self, connection: asyncpg.Connection, state: State) -> bool:
        """Looks through the next accounts that a table has, for those that the log has not; True
        when this round has done so with all."""
        names = [projection.name for projection in self.projections]
        if state.strays_in == DONE or not names:
            return True
        at = names.index(state.strays_in) if state.strays_in in names else 0
        projection = self.projections[at]
        account = projection.table.account
        sql = (OWNERS if account else OWNERS_BY_URI).format(
            table=live(projection, self.schema).base(projection.table),
            account=quoted(account or ""),
        )
        after = state.strays_after if state.strays_in in names else ""
        rows = await connection.fetch(sql, after, self.accounts_max)
        dids = [row[0] for row in rows]
        if len(dids) == self.accounts_max:
            place = (names[at], dids[-1])
        else:
            place = (names[at + 1] if at + 1 < len(names) else DONE, "")
        async with connection.transaction():
            if dids:
                await connection.execute(ADD, dids)
            await connection.execute(WALKED, *place)
        return False

    async def _say(self, connection: asyncpg.Connection) -> None:
        if time.monotonic() - self._said_at >= SAY_SECONDS:
            self._said_at = time.monotonic()
            log.info("audit: %s", (await read_audit(connection)).sentence)


async def read_state(connection: asyncpg.Connection) -> State:
    """Where the audit is."""
    row = await connection.fetchrow(STATE)
    assert row is not None
    return State(*row)
