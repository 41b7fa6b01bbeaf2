"""The server's settings: those that cost data, and those that cost speed, and how much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from projector.doctor.finding import Case, Finding, Severity, size

AREA: Final = "settings"
RELOAD: Final = "; SELECT pg_reload_conf()"
RESTART: Final = "; then restart the server"
MIB: Final = 2**20

SETTINGS: Final = """
SELECT name, setting, unit, source, reset_val FROM pg_settings WHERE name = ANY($1::text[])
"""
UNITS: Final = {"8kB": 8192, "kB": 1024, "MB": MIB, "B": 1, "ms": 1, "s": 1000, "min": 60_000}


@dataclass(frozen=True, slots=True)
class Rule:
    """When a setting is wrong, what that costs, and what to type (after `ALTER SYSTEM SET`).

    Values are text, or numbers of bytes or milliseconds.
    """

    setting: str
    is_wrong: Callable[[str, float], bool]
    severity: Severity
    cost: str
    better: str
    after: str = RELOAD


def _off(text: str, _: float) -> bool:
    return text == "off"


def _below(least: int) -> Callable[[str, float], bool]:
    return lambda _, number: number < least


def _set(_: str, number: float) -> bool:
    return number > 0


# Figures are of ops/bench/RESULTS.md.
RULES: Final = (
    Rule("fsync", _off, "bad", "a crash of the machine may destroy the database", "on"),
    Rule("full_page_writes", _off, "bad", "a crash of the machine may leave pages half written; "
         "all it saves, measured right after a checkpoint, is 13 of 67 µs an event", "on"),
    Rule("synchronous_commit", _off, "bad", "an append is acknowledged before it is on the disk: a "
         "crash loses events that the source does not bring again", "on"),
    Rule("autovacuum", _off, "bad", "tables grow without end, and in the end the server stops to "
         "protect itself from a wraparound", "on"),
    Rule("track_counts", _off, "bad", "autovacuum knows of nothing to do", "on"),
    Rule("shared_buffers", _below(256 * MIB), "warn", "once tables are larger, pages have "
         "to go for each that comes: 15 of 67 µs an event were measured", "'2GB'", RESTART),
    Rule("max_wal_size", _below(2048 * MIB), "warn", "checkpoints come often, and after each "
         "every page is written whole once: up to 13 of 67 µs an event were measured", "'8GB'"),
    Rule("statement_timeout", _set, "warn", "verify, rebuild and archive have statements that take "
         "longer", "0"),
    Rule("lock_timeout", _set, "warn", "whoever waits for a lock that is held a little gives up",
         "0"),
    Rule("wal_compression", _off, "note", "whole pages in the WAL take more room; on large tables "
         "they are most of it", "on"),
)  # fmt: skip


async def check(case: Case) -> list[Finding]:
    """Compares the settings in force for this role and database with the rules."""
    rows = await case.connection.fetch(SETTINGS, [rule.setting for rule in RULES])
    values = {row["name"]: row for row in rows}
    found = []
    for rule in RULES:
        row = values.get(rule.setting)
        if row is None:
            continue
        text, number = str(row["setting"]), _number(row["setting"], row["unit"])
        if rule.is_wrong(text, number):
            shown = size(number) if rule.setting.endswith(("buffers", "size")) else text
            found.append(
                Finding(
                    area=AREA,
                    name=rule.setting.replace("_", "-"),
                    severity=rule.severity,
                    cause=f"{rule.setting} is {shown}: {rule.cost}",
                    cure=_cure(rule, row["source"]),
                )
            )
    return found


def _number(text: str, unit: str | None) -> float:
    try:
        return float(text) * UNITS.get(unit or "", 1)
    except ValueError:
        return 0.0


def _cure(rule: Rule, source: str) -> str:
    places = {"database": "ALTER DATABASE … ", "user": "ALTER ROLE … "}
    if source in places:
        return f"{places[source]}RESET {rule.setting}"
    return f"ALTER SYSTEM SET {rule.setting} = {rule.better}{rule.after}"
