"""The source: can it be reached, does it say anything, and how far is it behind the clock?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final

from events.event import Limits, Wanted
from events.sources.jetstream import JetstreamSource
from events.sources.jetstream_url import parse_source
from projector.doctor import redis
from projector.doctor.finding import Finding, Severity
from projector.sources import is_stream

AREA: Final = "upstream"
SECONDS_MAX: Final = 10.0
BEHIND_SECONDS_MAX: Final = 30.0
AHEAD_SECONDS_MAX: Final = 2.0


async def check(source: str, group: str, clock: Callable[[], float]) -> list[Finding]:
    """Looks at what `source` names, which the caller has found to be one."""
    scheme = source.partition(":")[0]
    if scheme == "file":
        return await asyncio.to_thread(_file, source.removeprefix("file:").removeprefix("//"))
    if is_stream(source):
        from events.streams.link import parse_place

        return await redis.check(parse_place(source, group))
    if scheme in ("jetstream", "ws", "wss"):
        _, hosts = parse_source(source)
        found = await asyncio.gather(*(_host(host, clock) for host in hosts))
        return [finding for findings in found for finding in findings]
    return []


def _file(text: str) -> list[Finding]:
    path = Path(text).expanduser()
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        cause = f"{path} cannot be read: {error.strerror}"
        return [_finding("unreadable", "bad", cause, "check the path and its permissions")]
    return []


async def _host(host: str, clock: Callable[[], float]) -> list[Finding]:
    """Asks one host for what happens now, and takes the first that it says."""
    said: list[str] = []
    source = JetstreamSource(
        [host], name=parse_source(host)[0], wanted=Wanted(), limits=Limits(), report=said.append,
        linger_ms=0, backoff_seconds_max=1.0,
    )  # fmt: skip
    try:
        async with asyncio.timeout(SECONDS_MAX), aclosing(source.batches(None)) as batches:
            async for batch in batches:
                if batch.events:
                    behind = clock() - batch.events[-1].time_us / 1e6
                    return _of_clock(source.name, behind)
    except TimeoutError:
        pass
    why = next((line for line in reversed(said) if "connected to" not in line), None)
    if why is not None:
        cure = "see whether it is up, and whether a firewall or proxy lets wss:// through"
        return [_finding("unreachable", "bad", why.removeprefix("jetstream: "), cure)]
    cause = f"{source.name} says nothing for {SECONDS_MAX:g} s"
    return [_finding("silent", "warn", cause, "name another host; jetstream changes by itself")]


def _of_clock(name: str, behind: float) -> list[Finding]:
    if behind > BEHIND_SECONDS_MAX:
        cause = f"{name} is {behind:,.0f} s behind the clock"
        return [_finding("behind", "warn", cause, "name another host by its address")]
    if behind < -AHEAD_SECONDS_MAX:
        cause = f"{name} says times that are {-behind:,.1f} s ahead of our clock"
        return [_finding("clock", "warn", cause, "timedatectl set-ntp true, on this machine")]
    return []


def _finding(name: str, severity: Severity, cause: str, cure: str) -> Finding:
    return Finding(area=AREA, name=name, severity=severity, cause=cause, cure=cure)
