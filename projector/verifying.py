"""What `verify` does, part by part, and what comes of it."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Final

import asyncpg
import msgspec

from events.history import WholeLog
from events.log import LogCorrupt, read_head
from projector import aggregate, derived
from projector.archive_files import check_archive
from projector.database import one_line
from projector.declare import Aggregate, Declaration, Derived, Projection
from projector.diagnosis import Diagnosis, diagnose, diagnose_counters, diagnose_derived
from projector.differences import Difference
from projector.erasures import check_erasures
from projector.findings import put_findings
from projector.logcheck import LogFault, check_log
from projector.prove import Verdict, batches_of, merged, prove_accounts, sample
from projector.prove_all import Report, WholeProof

SAMPLE_ACCOUNTS_MAX: Final = 1000
"""How many accounts of a sample are proven in one snapshot."""

PARTITION_NAMES: Final = frozenset({"partition-lost", "log-gap"})
"""Faults of the archive's own check that the log's check names already."""


NOT_WHOLE: Final = frozenset(
    {"partition-missing", "partition-detached", "event-missing", "head-missing"}
)
"""Faults of a log that cannot be read from end to end."""


class ProvenRows(msgspec.Struct, frozen=True, kw_only=True):
    """How far the rows of one projection were proven, and how many keys differ."""

    projection: str
    as_of: int
    accounts: int
    keys: int
    differences: int


class Verification(msgspec.Struct, kw_only=True):
    """What `verify` found; that of parts which were not asked for is empty.

    `differences` are of counters, `row_differences` the first of those of rows. `unproven` says why
    not everything was compared that was asked for.
    """

    counters: int = 0
    keys: int = 0
    differences: list[aggregate.Difference] = msgspec.field(default_factory=list)
    rows: list[ProvenRows] = msgspec.field(default_factory=list)
    row_differences: list[Difference] = msgspec.field(default_factory=list)
    log: list[LogFault] = msgspec.field(default_factory=list)
    findings: list[Diagnosis] = msgspec.field(default_factory=list)
    events: int = 0
    scratch_bytes: int = 0
    unproven: str | None = None

    @property
    def is_exact(self) -> bool:
        """Whether nothing was found."""
        return not (self.differences or self.row_differences or self.log)


class Verifier:
    """Runs the parts of a verification over one connection."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        declarations: Sequence[Declaration],
        schema: str,
        report: Report,
    ) -> None:
        self.connection = connection
        self.projections = [d for d in declarations if isinstance(d, Projection)]
        self.aggregates = [d for d in declarations if isinstance(d, Aggregate)]
        self.derived = [d for d in declarations if isinstance(d, Derived)]
        self.schema = schema
        self.report = report
        self.found = Verification()

    async def log(self, *, full: bool) -> None:
        """The log against itself, with its archive where `full`."""
        self.report("checking the log", 0, 0)
        self.found.log += await check_log(self.connection, full=full)
        if full:
            archive = await check_archive(self.connection)
            self.found.log += [fault for fault in archive if fault.name not in PARTITION_NAMES]
            await self._if_readable(self._erasures())

    async def _erasures(self) -> None:
        self.found.log += await check_erasures(self.connection)

    async def rows(self, folder: Path | None) -> None:
        """Every row against the log."""
        await self._if_readable(self._rows(folder))

    async def sample(self, accounts: int, seed: int) -> None:
        """The rows of some accounts against the log."""
        await self._if_readable(self._sample(accounts, seed))

    async def _if_readable(self, work: Coroutine[None, None, None]) -> None:
        """Does the work where there is a log to compare with: else every row would seem wrong."""
        if not self._log_is_whole():
            work.close()
            self.found.unproven = "the log is not whole, and there is nothing to compare with"
            return
        try:
            await work
        except LogCorrupt as error:
            self.found.unproven = one_line(error)
            if not self.found.log:
                mend = "projector verify --log says what is wrong with it"
                fault = LogFault(name="log-unreadable", text=one_line(error), mend=mend)
                self.found.log.append(fault)

    def _log_is_whole(self) -> bool:
        return not any(fault.name in NOT_WHOLE for fault in self.found.log)

    async def _rows(self, folder: Path | None) -> None:
        proof = WholeProof(self.projections, self.schema, folder=folder, report=self.report)
        done = await proof.run(self.connection)
        self.found.events, self.found.scratch_bytes = done.events, done.spilled_bytes
        await self._conclude(done.verdicts, None)

    async def _sample(self, accounts: int, seed: int) -> None:
        log = WholeLog()
        dids = await sample(self.connection, log, accounts, seed)
        batches = []
        for part in batches_of(dids, SAMPLE_ACCOUNTS_MAX):
            batches.append(
                await prove_accounts(self.connection, log, self.projections, self.schema, part)
            )
            self.report("comparing accounts", len(batches) * SAMPLE_ACCOUNTS_MAX, len(dids))
        await self._conclude(merged(batches), dids)

    async def _conclude(self, verdicts: Sequence[Verdict], dids: Sequence[str] | None) -> None:
        async with self.connection.transaction():
            await put_findings(self.connection, verdicts, dids)
        head = await read_head(self.connection)
        self.found.findings += await diagnose(self.connection, WholeLog(), verdicts, head)
        for verdict in verdicts:
            self.found.row_differences += verdict.differences
            self.found.rows.append(
                ProvenRows(
                    projection=verdict.subject.projection.name,
                    as_of=verdict.subject.through,
                    accounts=verdict.accounts,
                    keys=verdict.keys,
                    differences=verdict.count,
                )
            )

    async def counters(self) -> None:
        """Every counter against its rows (invariant 7)."""
        self.report("comparing counters with their rows", 0, 0)
        found = self.found
        found.differences = await aggregate.audit(self.connection, self.aggregates, self.schema)
        found.keys = await aggregate.audited_keys(self.connection, self.aggregates, self.schema)
        found.counters = sum(len(a.counters) for a in self.aggregates)
        counted = {
            f"{a.name}.{counter}": count.of.name
            for a in self.aggregates
            for counter, count in a.counters.items()
        }
        found.findings += diagnose_counters(found.differences, found.findings, counted)
        wrong = await derived.audit(self.connection, self.derived, self.schema)
        found.differences += wrong
        found.findings += diagnose_derived(wrong)
