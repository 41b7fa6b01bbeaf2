"""What others do to the server: long transactions, slots that hold WAL, no vacuum; its clock."""

from __future__ import annotations

from typing import Final

from projector.doctor.finding import Case, Finding, size

AREA: Final = "activity"
LONG_SECONDS: Final = 600.0
IDLE_SECONDS: Final = 60.0
PREPARED_SECONDS: Final = 600.0
SLOT_BYTES_BAD: Final = 10 * 10**9
CLOCK_SECONDS_MAX: Final = 2.0
SHOWN_MAX: Final = 5

# Not what they run: it may hold what nobody should read.
TRANSACTIONS: Final = """
SELECT pid, coalesce(usename, '?'), coalesce(nullif(application_name, ''), 'unnamed'),
    state LIKE 'idle in transaction%', extract(epoch FROM clock_timestamp() - xact_start)::float8,
    extract(epoch FROM clock_timestamp() - state_change)::float8
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
    AND datname = current_database()
ORDER BY xact_start
"""
PREPARED: Final = """
SELECT gid, extract(epoch FROM clock_timestamp() - prepared)::float8 FROM pg_prepared_xacts
WHERE database = current_database() ORDER BY prepared
"""
SLOTS: Final = """
SELECT slot_name, active, pg_wal_lsn_diff(
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END,
    restart_lsn)::float8
FROM pg_replication_slots WHERE restart_lsn IS NOT NULL ORDER BY restart_lsn
"""
UNVACUUMED: Final = """
SELECT c.oid::regclass::text FROM pg_class AS c, unnest(c.reloptions) AS o
WHERE c.relnamespace IN (to_regnamespace('projector'), to_regnamespace($1))
    AND o ~ '^autovacuum_enabled=(false|off|0|no)$' ORDER BY 1
"""
NOW: Final = "SELECT extract(epoch FROM clock_timestamp())::float8"


async def check(case: Case) -> list[Finding]:
    """Transactions, slots, vacuum, clock."""
    return [
        *await _transactions(case),
        *await _prepared(case),
        *await _slots(case),
        *await _vacuum(case),
        *await _clock(case),
    ]


async def _transactions(case: Case) -> list[Finding]:
    found = []
    for pid, user, program, is_idle, seconds, idle in await case.connection.fetch(TRANSACTIONS):
        if is_idle and idle > IDLE_SECONDS:
            name, cause = "idle-in-transaction", f"does nothing for {idle:,.0f} s in a transaction"
        elif seconds > LONG_SECONDS:
            name, cause = "long-transaction", f"is in a transaction since {seconds:,.0f} s"
        else:
            continue
        found.append(
            _finding(
                name,
                f"{program} (user {user}, process {pid}) {cause}: since then nothing is vacuumed, "
                "and counters and checkpoints get slower",
                f"SELECT pg_terminate_backend({pid}); and set idle_in_transaction_session_timeout",
            )
        )
    return found[:SHOWN_MAX]


async def _prepared(case: Case) -> list[Finding]:
    return [
        _finding(
            "prepared-transaction",
            f"the prepared transaction {gid!r} is {seconds:,.0f} s old and keeps vacuum from its "
            "work, also after a restart",
            f"ROLLBACK PREPARED '{gid}'",
        )
        for gid, seconds in await case.connection.fetch(PREPARED)
        if seconds > PREPARED_SECONDS
    ][:SHOWN_MAX]


async def _slots(case: Case) -> list[Finding]:
    found = []
    for name, is_active, held in await case.connection.fetch(SLOTS):
        if is_active and held < SLOT_BYTES_BAD:
            continue
        found.append(
            Finding(
                area=AREA,
                name="replication-slot",
                severity="bad" if held >= SLOT_BYTES_BAD else "warn",
                cause=f"the replication slot {name} keeps {size(max(held, 0))} of WAL"
                + ("" if is_active else ", and nobody reads it: it grows until the disk is full"),
                cure=f"SELECT pg_drop_replication_slot('{name}'), or start its reader; and set "
                "max_slot_wal_keep_size",
            )
        )
    return found[:SHOWN_MAX]


async def _vacuum(case: Case) -> list[Finding]:
    rows = await case.connection.fetch(UNVACUUMED, case.settings.schema)
    return [
        _finding(
            "autovacuum-of-table",
            f"autovacuum is off for {table}: it grows without end",
            f"ALTER TABLE {table} RESET (autovacuum_enabled)",
        )
        for (table,) in rows[:SHOWN_MAX]
    ]


async def _clock(case: Case) -> list[Finding]:
    before = case.clock()
    server = await case.connection.fetchval(NOW)
    after = case.clock()
    ahead = server - (before + after) / 2
    if abs(ahead) - (after - before) / 2 <= CLOCK_SECONDS_MAX:
        return []
    side = "ahead of" if ahead > 0 else "behind"
    return [
        _finding(
            "clock",
            f"the server's clock is {abs(ahead):,.1f} s {side} ours: lags, silences and moments "
            "are told wrong by as much",
            "timedatectl set-ntp true, on the one that is wrong",
        )
    ]


def _finding(name: str, cause: str, cure: str) -> Finding:
    return Finding(area=AREA, name=name, severity="warn", cause=cause, cure=cure)
