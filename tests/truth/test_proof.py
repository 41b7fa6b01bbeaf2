"""Proving everything finds what proving account by account finds, however much is spilled."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.event import Event
from events.history import WholeLog
from projector import prove_all, spill
from projector.differences import Difference
from projector.prove import Verdict, merged, prove_accounts
from projector.prove_all import WholeProof
from projector.spill import Spill
from tests.support.harness import CLAIMING, PROJECTIONS, Stage
from tests.support.histories import DIDS, budget, deliveries

TABLES = [f'bsky."{p.table.name}"' for p in PROJECTIONS]
SHELVES = [f'projector."duplicate_{p.table.name}"' for p in CLAIMING]
VERSIONS = [f'projector."version_{p.name}"' for p in PROJECTIONS]
DAMAGE = [
    *(f"DELETE FROM {t} WHERE uri LIKE '%r1'" for t in (*TABLES, *SHELVES, *VERSIONS)),
    *(f"UPDATE {t} SET cid = 'x' WHERE uri LIKE '%r2'" for t in (*TABLES, *SHELVES)),
    *(f"UPDATE {t} SET rev = 'x' WHERE uri LIKE '%r0'" for t in VERSIONS),
    "DELETE FROM bsky.duplicate_record WHERE uri LIKE '%r3'",
    "UPDATE bsky.duplicate_record SET \"duplicateOf\" = 'x' WHERE uri LIKE '%r2'",
    "INSERT INTO bsky.follow VALUES"
    f" ('at://{DIDS[5]}/app.bsky.graph.follow/x', 'c', '{DIDS[5]}', 'd', 't', 't')",
    "UPDATE bsky.post SET langs = '[\"xx\"]' WHERE uri LIKE '%r1'",
]


def found_by(verdicts: Sequence[Verdict]) -> list[Difference]:
    wrong = [d for verdict in verdicts for d in verdict.differences]
    assert [v.count for v in verdicts] == [len(v.differences) for v in verdicts]
    return sorted(wrong, key=lambda d: (d.projection, d.did, d.uri, d.part))


async def by_account(stage: Stage, batch: int) -> list[Difference]:
    dids = sorted({*(event.did for event in stage.log), *DIDS})
    log, parts = WholeLog(), [dids[i : i + batch] for i in range(0, len(dids), batch)]
    return found_by(
        merged(
            [await prove_accounts(stage.auditor, log, PROJECTIONS, "bsky", part) for part in parts]
        )
    )


@budget(20)
@given(
    events=deliveries(),
    damage=st.lists(st.sampled_from(DAMAGE), max_size=3),
    bucket=st.sampled_from((1, 5, 1000)),
)
def test_one_pass_finds_what_looking_at_each_account_finds(
    stage: Stage, runner: asyncio.Runner, events: list[Event], damage: list[str], bucket: int
) -> None:
    async def run() -> None:
        await stage.begin(events)
        await stage.finish()
        for statement in damage:
            await stage.admin.execute(statement)
        proof = await WholeProof(PROJECTIONS, "bsky").run(stage.auditor)
        wrong = found_by(proof.verdicts)
        assert wrong == await by_account(stage, 4)
        assert bool(damage) >= bool(wrong)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prove_all, "BUCKET_RECORDS", bucket)
        patch.setattr(spill, "BUCKETS_MAX", 3)
        patch.setattr(prove_all, "FETCH_ROWS", 2)
        runner.run(run())


def test_a_spill_keeps_the_order_of_each_account(tmp_path: Path) -> None:
    chance = random.Random(1)
    records = [(f"did:plc:{chance.randrange(50)}", n, b"\0\xff" * (n % 7)) for n in range(20_000)]
    full = Spill(tmp_path, 10)
    for record in records:
        full.put(record[0], record)
    full.finish()
    assert sum(full.counts) == len(records)
    assert not list(tmp_path.iterdir())
    read = [record for bucket in range(10) for record in full.read(bucket)]
    assert sorted(read, key=lambda r: r[1]) == records
    for bucket in range(10):
        numbers = [r[1] for r in full.read(bucket)]
        assert numbers == sorted(numbers)
    full.close()
