"""`resolve`: the handles of accounts, found in the network and put into the log as facts."""

from __future__ import annotations

from projector.commands.flow import append_source, checked
from projector.daemon import stop_on_signals
from projector.database import Database
from projector.environment import COMMON, Common, opened, settings
from projector.identity import Resolver
from projector.listen import listening, observed
from projector.output import console, print_json
from projector.resolving import ResolverSource
from projector.settings import Settings
from projector.telemetry import exported
from projector.web import Web


async def resolve(*, common: Common = COMMON) -> None:
    """Find out the handles of accounts that are due, and append what is found to the log.

    It goes behind the log and never ends: an identity event makes its account due, and so does any
    event of an account that was never resolved, not for a day, or without success not for an hour.
    Ctrl-C or SIGTERM finishes the batch under way.
    """
    chosen = settings()
    listening(chosen)
    async with opened(common, chosen) as database:
        await checked(database, ["actor"])
        with exported(), stop_on_signals(chosen.stop_seconds) as stop:
            async with observed(chosen, database):
                done = await append_source(database, source(database, chosen), chosen, stop)
    if common.json:
        print_json(done)
    else:
        console.print(f"{done.events:,} accounts resolved.", soft_wrap=True)


def source(database: Database, chosen: Settings) -> ResolverSource:
    """The source of facts about accounts, by the settings."""
    web = Web(
        seconds=chosen.resolve_seconds,
        bytes_max=chosen.resolve_bytes_max,
        private=chosen.resolve_private,
    )
    resolver = Resolver(web, chosen.resolve_directory, chosen.resolve_dns)
    return ResolverSource(
        database,
        resolver,
        chosen.schema,
        concurrency=chosen.resolve_concurrency,
        poll_seconds=chosen.poll_seconds,
    )
