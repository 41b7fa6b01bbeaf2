"""Shadows that follow the log: brought to an offset, window by window."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from projector import ordered, shadow, swap
from projector.account_projector import AccountProjector
from projector.building import Site, found
from projector.declare import AccountProjection, Projection
from projector.groups import Group
from projector.pace import AdaptiveWindow
from projector.projectors import TableProjector
from projector.reader import LogReader

Followed = Projection | AccountProjection | Group


@dataclass(frozen=True, slots=True)
class Follower:
    """Brings the shadows of a rebuild forward."""

    site: Site
    reader: LogReader

    async def follow(self, what: Followed, through: int) -> None:
        """Brings a shadow, or those of a group, to an offset."""
        if isinstance(what, Group):
            await ordered.follow(what, shadow.home_of, self.site, self.reader, through)
            return
        home, database = shadow.home_of(what), self.site.database
        window = AdaptiveWindow(self.site.settings.window_events_max)
        projector: TableProjector | AccountProjector
        if isinstance(what, AccountProjection):
            projector = AccountProjector(what, database, self.reader, home=home, window=window)
        else:
            projector = TableProjector(what, database, self.reader, home=home, window=window)
        await projector.run(asyncio.Event(), until=through)

    async def build_group(self, group: Group) -> int:
        """Builds a group's shadows up to where the live one was; returns how many events it had."""
        return await ordered.build(group, shadow.home_of, self.site, self.reader)

    async def build_accounts(self, accounts: AccountProjection) -> int:
        """The same for a table of accounts."""
        site, home = self.site, shadow.home_of(accounts)
        async with site.database.connected(f"rebuild {accounts.name}") as connection:
            build = await found(connection, home)
            at = await shadow.checkpoint_of(connection, home)
            await self.follow(accounts, max(at, build.through_offset))
            for index in await swap.extra_indexes(connection, accounts, site.settings.schema, home):
                await connection.execute(index)
            return max(build.through_offset - at, 0)
