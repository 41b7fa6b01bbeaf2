"""Shadows that are built in the order of the log: those of groups, whose verdicts hang on it.

All members have one, those too that are not asked for: these are scratch, and go in the end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

import asyncpg

from projector import shadow
from projector.building import Site, found
from projector.database import close_quietly
from projector.declare import Declaration, Projection
from projector.group_projector import GroupProjector
from projector.groups import Group, groups_of
from projector.home import Home
from projector.pace import AdaptiveWindow
from projector.reader import LogReader

EVENTS: Final = """
SELECT coalesce(sum(events), 0)::bigint FROM projector.checkpoint WHERE projection = ANY($1::text[])
"""
STEP_WINDOWS: Final = 10
"""After how many windows it is said how far a build is, and rested."""


def groups_to_build(declarations: Sequence[Declaration], names: Collection[str]) -> list[Group]:
    """The groups of which the judged projection is among those named: the others of a group can be
    built without it."""
    return [group for group in groups_of(declarations) if group.name in names]


async def prepare(
    connection: asyncpg.Connection,
    group: Group,
    home: Callable[[Projection], Home],
    through: Callable[[Projection], int],
    is_usable: Callable[[Projection, shadow.Build], bool],
) -> list[Projection]:
    """Finds or makes the shadows of a group, none of them ahead of the judged one; `through` is
    noted with what is made. Returns those that were made."""
    made = []
    limit = 0
    for member in (group.judged, *group.others):
        build = await shadow.find(connection, home(member))
        usable = build is not None and build.phase == shadow.CATCH_UP and is_usable(member, build)
        at = await shadow.checkpoint_of(connection, home(member)) if usable else 0
        if member is group.judged:
            limit = at
        if not usable or at > limit:
            await shadow.drop(connection, home(member))
            await shadow.create(connection, member, home(member), through(member), bare=False)
            made.append(member)
    return made


async def follow(
    group: Group, home: Callable[[Projection], Home], site: Site, reader: LogReader, until: int
) -> None:
    """Brings the shadows of a group to an offset, window by window."""
    window = AdaptiveWindow(site.settings.window_events_max)
    projector = GroupProjector(group, site.database, reader, home=home, window=window)
    connection = await site.database.connect(f"rebuild {group.name}")
    try:
        at = await shadow.checkpoint_of(connection, home(group.judged))
    finally:
        await close_quietly(connection)
    while at < until:
        begun = time.monotonic()
        at = min(at + STEP_WINDOWS * window.events_max, until)
        await projector.run(asyncio.Event(), until=at)
        for member in group.members:
            site.show(member.name, "in order", at, until)
        await site.considerate.rest(time.monotonic() - begun)


async def build(
    group: Group, home: Callable[[Projection], Home], site: Site, reader: LogReader
) -> int:
    """Builds the shadows of a group up to the offset noted with them; returns how many events were
    applied to them."""
    connection = await site.database.connect(f"rebuild {group.name}")
    try:
        noted = await found(connection, home(group.judged))
        await follow(group, home, site, reader, noted.through_offset)
        names = [home(member).name for member in group.members]
        return int(await connection.fetchval(EVENTS, names))
    finally:
        await close_quietly(connection)
