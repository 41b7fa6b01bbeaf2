"""Every setting: one table with its flag, variable, unit and default."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from math import inf
from typing import Any, Final

from projector.database import masked
from projector.errors import UsageError

PREFIX: Final = "PROJECTOR_"
BOOLEANS: Final = {"1": True, "true": True, "0": False, "false": False}
CORRECT: Final = "correct"
"""The setting `compat` that keeps projections, and nothing event by event."""
KINDS: Final = {bool: "true or false", int: "whole number", float: "number", str: "text"}


def _setting(default: Any, help_text: str, least: float = 1, *, secret: bool = False) -> Any:
    metadata = {"help": help_text, "least": least, "secret": secret}
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings; the defaults suit one small machine. Units are in the names."""

    schema: str = _setting("bsky", "Schema of the projections' tables.")
    projections: str = _setting(
        "*", "Projections that are kept: names by commas; *: all; *,-name: but one."
    )
    compat: str = _setting(
        CORRECT, "Whose rows the tables have: correct, or reference: as the AppView's indexer."
    )
    window_events_max: int = _setting(20_000, "Most log offsets applied in one transaction.")
    window_events_min: int = _setting(500, "Least log offsets in a window that was too slow.")
    window_seconds: float = _setting(2.0, "A window that takes longer halves the next.", 0.001)
    reader_bytes_max: int = _setting(32 * 1024**2, "Memory for records read from the log, bytes.")
    outbox_rows_max: int = _setting(24, "Most outbox rows merged in one transaction.")
    batch_events_max: int = _setting(10_000, "Most messages appended in one transaction.")
    partition_events: int = _setting(10_000_000, "Offsets in a new partition of the event log.")
    recent_events: int = _setting(100_000, "Events remembered to keep rewinds out; 0: none.", 0)
    collections: str = _setting("*", "Wanted collections: names, prefix.* or *, by commas.")
    message_bytes_max: int = _setting(2 * 1024**2, "Largest message, bytes; above: dead letter.")
    nesting_levels_max: int = _setting(64, "Deepest nesting of a message; above: dead letter.")
    rkey_bytes_max: int = _setting(512, "Longest record key, bytes; above: dead letter.")
    did_bytes_max: int = _setting(2048, "Longest DID, bytes; above: dead letter.")
    collection_bytes_max: int = _setting(317, "Longest collection name, bytes; above: dead letter.")
    queue_messages_max: int = _setting(
        20_000, "Messages held from a websocket before reading slows."
    )
    queue_bytes_max: int = _setting(
        64 * 1024**2, "Bytes held from a websocket before reading slows."
    )
    rewind_seconds: float = _setting(5.0, "How far a Jetstream resumes before its cursor.", 0)
    silent_seconds: float = _setting(
        20.0, "Silence after which the next Jetstream host is tried.", 0.1
    )
    linger_ms: int = _setting(
        10, "Longest wait for more messages before a batch is appended, ms.", 0
    )
    zstd_dictionary: str = _setting(
        "", "File with Jetstream's zstd dictionary; none: no compression."
    )
    archive_location: str = _setting(
        "", "Folder or URL of the archive's Parquet files; none: archive --to names it."
    )
    stream_entries_max: int = _setting(
        1_000_000, "Entries in a Redis stream before ingest waits.", 2
    )
    stream_group: str = _setting("projector", "Consumer group kept up to date on a Redis stream.")
    stream_trim: bool = _setting(True, "Trim Redis entries that the log has.")
    rebuild_share: float = _setting(
        0.8, "Share of the time that a rebuild works, 1: all of it.", 0.01
    )
    rebuild_lag_seconds_max: float = _setting(
        1.0, "Live projections' lag from which on a rebuild waits for them.", 0.1
    )
    rebuild_memory_mib: int = _setting(256, "Memory of Postgres for making one index, MiB.")
    rebuild_processes: int = _setting(
        0, "Processes that load the log; 0: for a long log one for each core of the share.", 0
    )
    scratch_folder: str = _setting(
        "", "Where verify --rows keeps its copy of tables and log; none: the system's folder."
    )
    audit_accounts_per_second: float = _setting(
        10.0, "Accounts that the rolling audit proves a second; 0: no audit.", 0
    )
    audit_accounts_max: int = _setting(1000, "Accounts that the rolling audit proves at once.")
    probe_upstream: str = _setting(
        "", "Host that run compares the log with, again and again; none: it does not."
    )
    probe_seconds: float = _setting(60.0, "How long a probe listens.", 0.1)
    probe_grace_seconds: float = _setting(30.0, "How long it then waits before it looks.", 0)
    probe_every_seconds: float = _setting(300.0, "Pause between the probes of run.", 0.1)
    resolve: bool = _setting(False, "Whether `up` finds out the handles of accounts, too.")
    resolve_directory: str = _setting("https://plc.directory", "URL of the did:plc directory.")
    resolve_dns: str = _setting(
        "https://cloudflare-dns.com/dns-query", "DNS over HTTPS that answers in JSON; empty: none."
    )
    resolve_concurrency: int = _setting(16, "Accounts that are resolved at once.")
    resolve_seconds: float = _setting(5.0, "Longest wait for a directory or a handle's host.", 0.1)
    resolve_bytes_max: int = _setting(65_536, "Largest answer of these, bytes.")
    resolve_private: bool = _setting(
        False, "Whether hosts of did:web and of handles may be at private addresses, without TLS."
    )
    lease_seconds: float = _setting(5.0, "A daemon that says nothing for so long is replaced.", 0.1)
    poll_seconds: float = _setting(1.0, "How often to look where no NOTIFY came.", 0.01)
    backoff_seconds_max: float = _setting(10.0, "Longest wait between two attempts.", 0.1)
    stop_seconds: float = _setting(30.0, "After SIGTERM: how long a soft stop may take.", 0)
    command_timeout_seconds: float = _setting(300.0, "Longest wait for an answer of Postgres.", 1)
    status_listen: str = _setting(
        "127.0.0.1:7780", "Where the status page and /metrics are served; empty: nowhere."
    )
    status_token: str = _setting(
        "", "What a reader of them must know; beyond loopback there must be one.", secret=True
    )
    redis_password: str = _setting(
        "", "Password for addresses of Redis that have none in them.", secret=True
    )
    status_seconds: float = _setting(
        2.0, "How often the database is read for them, and a sample is kept.", 0.2
    )


def shown(settings: Settings) -> list[tuple[str, str, str, str, str]]:
    """Flag, variable, default, value in force and meaning of every setting; secrets masked."""
    names = {f.name: f.metadata["secret"] for f in fields(Settings)}
    values = [
        "***" if secret and getattr(settings, name) else masked(str(getattr(settings, name)))
        for name, secret in names.items()
    ]
    return [
        (flag, name, default, value, meaning)
        for (flag, name, default, meaning), value in zip(table(), values, strict=True)
    ]


def cores(settings: Settings) -> int:
    """How many processors a rebuild may keep busy."""
    return max(1, int((os.cpu_count() or 1) * settings.rebuild_share))


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def secret_variables() -> frozenset[str]:
    """The environment variables of the settings that are secret."""
    return frozenset(variable(f.name) for f in fields(Settings) if f.metadata["secret"])


def from_environment(environment: Mapping[str, str], others: frozenset[str]) -> dict[str, Any]:
    """The settings that the environment gives; `others` are further variables that are ours.

    Raises `UsageError` for a variable that begins with PROJECTOR_ and is none of ours, or a value
    that cannot be read.
    """
    known: dict[str, Any] = {variable(f.name): f for f in fields(Settings)}
    values: dict[str, Any] = {}
    for name, text in environment.items():
        if not name.startswith(PREFIX) or name in others:
            continue
        if name not in known:
            near = get_close_matches(name, [*known, *others], 1, 0.85)
            hint = (
                f"did you mean {near[0]}?" if near else "projector settings lists those there are"
            )
            raise UsageError(f"unknown variable {name}; {hint}")
        values[known[name].name] = parse(known[name], text, f"{name}={text}")
    return values


def parse(setting: Any, text: str, given: str) -> Any:
    """The value that `text` stands for; `given` is what the operator wrote. Raises `UsageError`."""
    kind = type(setting.default)
    meaning, least = setting.metadata["help"], setting.metadata["least"]
    try:
        value = BOOLEANS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise UsageError(f"{given} is no {KINDS[kind]}: {meaning}") from None
    if kind in (int, float) and not least <= value < inf:
        raise UsageError(f"{given} is out of range, the least is {least:g}: {meaning}")
    return value


def table() -> list[tuple[str, str, str, str]]:
    """Flag, variable, default and meaning of every setting."""
    return [
        ("--" + f.name.replace("_", "-"), variable(f.name), str(f.default), f.metadata["help"])
        for f in fields(Settings)
    ]


def current(overrides: Mapping[str, Any], others: frozenset[str]) -> Settings:
    """The settings from the environment, with those given as flags on top."""
    return Settings(**{**from_environment(os.environ, others), **overrides})
