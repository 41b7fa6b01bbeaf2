"""The rolling probe: asks an independent upstream again and again whether anything is missing.

One daemon does so, who holds the lease `probe`. What it finds is kept in the database, for the
status, the metrics and the page.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import asyncpg

from events.log import LogCorrupt
from projector.completeness import ProbeReport, put_report, read_probe
from projector.database import Database, close_quietly, is_transient, one_line
from projector.declare import Declaration, Projection
from projector.errors import CannotConnect
from projector.lease import LeaseKeeper
from projector.probe import Probe
from projector.settings import Settings
from projector.sources import source_of

log = logging.getLogger(__name__)

LEASE: Final = "probe"
SURVIVED: Final = (asyncpg.PostgresError, CannotConnect, LogCorrupt)


class Prober:
    """Probes while it holds the lease; trouble of it is only its own."""

    def __init__(
        self,
        database: Database,
        keeper: LeaseKeeper,
        declarations: Sequence[Declaration],
        settings: Settings,
    ) -> None:
        self.database = database
        self.keeper = keeper
        self.projections = [d for d in declarations if isinstance(d, Projection)]
        self.settings = settings

    async def run(self) -> None:
        """Probes until cancelled."""
        while True:
            seconds = self.settings.poll_seconds
            try:
                if await self.keeper.take(LEASE):
                    seconds = self.settings.probe_every_seconds
                    await self._probe()
            except Exception as error:
                if not is_transient(error) and not isinstance(error, SURVIVED):
                    raise
                log.warning("probe: %s; trying again in %g s", one_line(error), seconds)
            await asyncio.sleep(seconds)

    async def _probe(self) -> None:
        settings = self.settings
        probe = Probe(
            self.database,
            source_of(settings.probe_upstream, settings),
            self.projections,
            settings.schema,
            seconds=settings.probe_seconds,
            grace_seconds=settings.probe_grace_seconds,
        )
        report = await probe.run()
        if LEASE in self.keeper.held:
            await self._keep(report)

    async def _keep(self, report: ProbeReport) -> None:
        connection = await self.database.connect("probe")
        try:
            await put_report(connection, report)
            if not report.is_complete:
                status = await read_probe(connection)
                assert status is not None
                log.warning("probe: %s", status.clause)
        finally:
            await close_quietly(connection)
