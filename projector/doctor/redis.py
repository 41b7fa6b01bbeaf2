"""Redis, where a stream is the source: what it may forget, and how much it may hold."""

from __future__ import annotations

from typing import Any, Final

from redis.exceptions import RedisError

from events.errors import SourceError
from events.streams.link import RedisLink, RedisPlace, one_line
from projector.doctor.finding import Finding, Severity, size

AREA: Final = "redis"
SECONDS_MAX: Final = 5.0
FULL: Final = 0.8

CONFIG: Final = ("maxmemory-policy", "maxmemory", "appendonly", "appendfsync", "save")


async def check(place: RedisPlace) -> list[Finding]:
    """Asks the server of a stream. What it does not tell this user is noted."""
    link = RedisLink(place.url, SECONDS_MAX)
    try:
        info = _lines(await link.run("INFO"))
        stream = await link.run("TYPE", place.stream)
        config = await _config(link)
    except (RedisError, OSError, SourceError) as error:
        cause = f"{place.name} does not answer: {one_line(error)}"
        cure = "start it; check its address, its password, and that it listens there"
        return [_finding("unreachable", "bad", cause, cure)]
    finally:
        await link.close()
    found = _of_config(config) if config is not None else [_hidden()]
    if info.get("role") != "master":
        found.append(_finding("replica", "bad", "it is a replica: what we acknowledge or write is "
                              "refused, or lost", "name the master"))  # fmt: skip
    if bytes(stream) not in (b"stream", b"none"):
        found.append(_finding("no-stream", "bad", f"{place.stream} is a {bytes(stream).decode()}, "
                              "no stream", "name another by stream= in the address"))  # fmt: skip
    return found + _of_memory(info)


async def _config(link: RedisLink) -> dict[str, str] | None:
    """The settings; None where this user may not read them."""
    found: dict[str, str] = {}
    for reply in await link.together(*(("CONFIG", "GET", name) for name in CONFIG)):
        if isinstance(reply, Exception):
            return None
        words = [bytes(word).decode() for word in reply]
        found.update(zip(words[::2], words[1::2], strict=True))
    return found


def _of_config(config: dict[str, str]) -> list[Finding]:
    found = []
    policy = config.get("maxmemory-policy", "")
    if policy != "noeviction":
        found.append(_finding("policy", "bad", f"maxmemory-policy is {policy}: full, it throws "
                              "away streams that nobody has read",
                              "CONFIG SET maxmemory-policy noeviction"))  # fmt: skip
    if config.get("maxmemory") == "0":
        found.append(_finding("no-limit", "warn", "maxmemory is 0: a reader that stands still "
                              "fills the machine's memory, until the kernel kills Redis",
                              "CONFIG SET maxmemory 1gb; and --stream-entries-max"))  # fmt: skip
    if config.get("appendonly") != "yes":
        found.append(_finding("persistence", "warn", "appendonly is off: a restart loses what the "
                              "log does not have yet", "CONFIG SET appendonly yes"))  # fmt: skip
    elif config.get("appendfsync") == "no":
        found.append(_finding("fsync", "warn", "appendfsync is no: a crash of the machine loses "
                              "half a minute", "CONFIG SET appendfsync everysec"))  # fmt: skip
    return found


def _of_memory(info: dict[str, str]) -> list[Finding]:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not limit or used < FULL * limit:
        return []
    return [_finding("full", "bad" if used > 0.95 * limit else "warn", f"{size(used)} of its "
                     f"{size(limit)} are in use; full, it takes no more events",
                     "see whether projector ingest of the stream runs; or raise maxmemory"
                     )]  # fmt: skip


def _lines(reply: Any) -> dict[str, str]:
    pairs = (line.partition(":") for line in bytes(reply).decode().splitlines())
    return {key: value.strip() for key, _, value in pairs}


def _hidden() -> Finding:
    return _finding("hidden", "note", "this user may not read its settings",
                    "ACL SETUSER … +config|get, or look at them as another")  # fmt: skip


def _finding(name: str, severity: Severity, cause: str, cure: str) -> Finding:
    return Finding(area=AREA, name=name, severity=severity, cause=cause, cure=cure)
