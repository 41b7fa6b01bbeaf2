"""The loop that keeps a table of accounts in step with the log."""

from __future__ import annotations

import asyncpg

from events.event import Event
from projector.account import AccountFacts, AccountWriter
from projector.database import Database
from projector.declare import AccountProjection
from projector.fold import Letter, Steps, Window
from projector.formation import Formation
from projector.home import Home
from projector.pace import AdaptiveWindow
from projector.projectors import SingleProjector
from projector.reader import LogReader
from projector.windows import Applied, Probed, Step


class AccountProjector(SingleProjector[AccountFacts]):
    """Applies one projection of accounts.

    Windows are left whole: their events are folded where the states of their accounts are known.
    """

    def __init__(
        self,
        accounts: AccountProjection,
        database: Database,
        reader: LogReader,
        *,
        home: Home,
        window: AdaptiveWindow,
        formation: Formation | None = None,
    ) -> None:
        super().__init__(accounts, database, reader, home=home, window=window, formation=formation)
        self.writer = AccountWriter(accounts, home)

    def _fold(self, window: Window) -> Steps[tuple[Window, AccountFacts]]:
        yield
        return window, AccountFacts(events=window.commits)

    def _letter(self, _event: Event, letter: Letter) -> AccountFacts:
        return AccountFacts(letters=[letter])

    async def _write(
        self,
        connection: asyncpg.Connection,
        step: Step,
        folded: AccountFacts,
        _probed: Probed | None,
    ) -> Applied:
        return await self.writer.apply(connection, step, folded)
