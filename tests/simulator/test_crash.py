"""Real processes are killed at named points; the end is as if nothing had happened.

These are a few of the cases of `make sweep`, which has every point and 200 random pairs.
"""

from __future__ import annotations

import pytest

from tests.simulator.case import Arm
from tests.simulator.ground import Ground
from tests.support.redis_server import require_redis

CASES = [
    (Arm("ingest", "append.written", 3), Arm("daemon", "apply.written", 2)),
    (Arm("ingest", "append.committed", 2), Arm("daemon", "merge.committed", 2)),
    (Arm("ingest", "partition.made"), Arm("daemon", "apply.halved")),
    (Arm("daemon", "apply.moved", 3), Arm("rival", "lease.taken", 2)),
    (Arm("rebuild", "rebuild.window", 2), Arm("daemon", "apply.committed", 2)),
]
FEW = ("post", "like", "actor", "profile_agg", "notification")
"""Of each kind one, and with `post` all that it is judged by; `make sweep` rebuilds everything."""
STREAMED = (Arm("feed", "stream.written", 2), Arm("tail", "stream.tidying", 2))


@pytest.mark.parametrize(
    ("seed", "arms"), list(enumerate(CASES, 101)), ids=["-".join(map(str, arms)) for arms in CASES]
)
async def test_two_kills(place_of_cases: Ground, seed: int, arms: tuple[Arm, ...]) -> None:
    result = await place_of_cases.run(seed, arms, rebuilt=FEW)
    assert result.complaints == []
    assert result.unfired == []
    assert result.looks > 0


async def test_two_kills_with_a_stream_in_between(place_of_cases: Ground) -> None:
    require_redis()
    result = await place_of_cases.run(111, STREAMED)
    assert (result.complaints, result.unfired) == ([], [])
