"""How fast the way to the server is, and its disk: measured on the spot."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Final

from projector.doctor.finding import Case, Finding

AREA: Final = "speed"
TRIES: Final = 7
ROUND_TRIP_SECONDS_MAX: Final = 0.002
COMMIT_SECONDS_MAX: Final = 0.02

ROUND_TRIPS_A_WINDOW: Final = 6
"""How many a window takes (ops/bench/RESULTS.md)."""

# A message in the WAL that nobody reads: to write it takes no table, only that the disk has it.
COMMIT: Final = "SELECT pg_logical_emit_message(true, 'projector doctor', '')"


async def check(case: Case) -> list[Finding]:
    """Round trip and commit, the median of a few each."""
    connection = case.connection
    trip = await _median(lambda: connection.fetchval("SELECT 1"))
    found = []
    if trip > ROUND_TRIP_SECONDS_MAX:
        found.append(
            Finding(
                area=AREA,
                name="round-trip",
                severity="warn",
                cause=f"a round trip to the server takes {trip * 1000:.1f} ms, and a window "
                f"{ROUND_TRIPS_A_WINDOW} of them: {trip * ROUND_TRIPS_A_WINDOW * 1000:.0f} ms "
                "before anything is done",
                cure="run projector on the server's machine, or on one next to it",
            )
        )
    if await connection.fetchval("SELECT current_setting('transaction_read_only') = 'on'"):
        return found
    commit = max(await _median(lambda: connection.fetchval(COMMIT)) - trip, 0.0)
    if commit > COMMIT_SECONDS_MAX:
        found.append(
            Finding(
                area=AREA,
                name="slow-commit",
                severity="warn",
                cause=f"the disk takes {commit * 1000:.0f} ms for a commit, and every append waits "
                f"for one: {1 / commit:,.0f} batches a second at the most",
                cure="put pg_wal on a faster disk (an SSD with a write cache that survives power "
                "loss); see commit_delay and synchronous_standby_names",
            )
        )
    return found


async def _median(ask: Callable[[], Awaitable[object]]) -> float:
    await ask()  # The first prepares.
    times = []
    for _ in range(TRIES):
        begun = time.perf_counter()
        await ask()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)
