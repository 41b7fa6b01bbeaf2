"""The sentence of `projector status` and of the page: what is wrong, and what to type."""

from __future__ import annotations

import msgspec
import pytest

from projector.completeness import ProbeStatus, ShareStatus
from projector.silence import Silence
from projector.status import (
    AuditStatus,
    BuildStatus,
    LetterCount,
    ProjectionStatus,
    SourceStatus,
    Status,
    Trouble,
)

HEAD = 41_210_332
AT = 1_764_424_920.0  # 14:02 UTC
LIKE, POST = "app.bsky.feed.like", "app.bsky.feed.post"


def projection(
    name: str = "like", *, lag: int = 0, seconds: float = 0.0, owner: str | None = "host:1"
) -> ProjectionStatus:
    return ProjectionStatus(
        name=name, kind="table", version=1, checkpoint=HEAD - lag, lag_events=lag,
        lag_seconds=seconds, events_per_second=0.0, events=0, pending_rows=0, dead_letters=0,
        owner=owner,
    )  # fmt: skip


def source(
    name: str = "jetstream", *, idle: float = 0.0, owner: str | None = "host:2"
) -> SourceStatus:
    return SourceStatus(
        name=name, cursor="1", events=1, duplicates=0, undecodable=0, skipped={},
        message_bytes=1, events_per_second=0.0, idle_seconds=idle, owner=owner,
    )  # fmt: skip


def status(
    *projections: ProjectionStatus,
    sources: tuple[SourceStatus, ...] = (),
    letters: tuple[LetterCount, ...] = (),
    builds: tuple[BuildStatus, ...] = (),
    differences: int = 0,
    proven: int = 10,
    silences: tuple[Silence, ...] = (),
    probe: ProbeStatus | None = None,
    troubles: tuple[Trouble, ...] = (),
) -> Status:
    return Status(
        head=HEAD,
        projections=[projection("follow"), *projections],
        sources=list(sources),
        dead_letters=list(letters),
        audit=AuditStatus(
            accounts=10, proven=proven, as_of=HEAD, complete_as_of=None, differences=differences
        ),
        rebuilds=list(builds),
        silences=list(silences),
        probe=probe,
        troubles=list(troubles),
    )


def silence(collection: str, now: float = 0.0) -> Silence:
    return Silence(
        source="jetstream", collection=collection, since=AT, seconds=600.0, usual_per_second=612.4,
        events_per_second=now,
    )  # fmt: skip


def share(collection: str, seen: int, missing: int, in_tables: int = 0) -> ShareStatus:
    since = AT if missing or in_tables else None
    return ShareStatus(
        collection=collection, seen=seen, missing=missing, missing_in_tables=in_tables,
        missing_since=since, seen_total=seen, missing_total=missing + in_tables,
    )  # fmt: skip


def probe(*shares: ShareStatus, age: float = 60.0) -> ProbeStatus:
    return ProbeStatus(
        upstream="wss://h/subscribe", begun_at=AT + 3600, age_seconds=age, shares=list(shares)
    )


BAD_RECORD = LetterCount(where="post", stage="validate", reason="invalid-record", count=3)
REFUSED = LetterCount(where="post", stage="apply", reason="refused", count=1)
DAY_SECONDS = 86_400.0
IN_STEP = "All 2 projections are in step with the log: 41,210,332 events, 0.3 s behind"

CASES = {
    "well": (
        status(projection(lag=7, seconds=0.3), sources=(source(),)),
        "good",
        f"{IN_STEP}, 0 differences.",
    ),
    "nothing proven yet": (
        status(projection(lag=7, seconds=0.3), proven=0),
        "good",
        f"{IN_STEP}.",
    ),
    "bad records are everyday": (
        status(projection(lag=7, seconds=0.3), letters=(BAD_RECORD,)),
        "good",
        f"{IN_STEP}, 0 differences; 3 dead letters: projector dead-letters list.",
    ),
    "what Postgres refuses is not": (
        status(projection(lag=7, seconds=0.3), letters=(REFUSED,)),
        "warn",
        f"{IN_STEP}, 0 differences; 1 dead letter: projector dead-letters list.",
    ),
    "behind": (
        status(projection(lag=812_000, seconds=90.0)),
        "warn",
        "1 of 2 projections are catching up, like is 812,000 events behind.",
    ),
    "run by nobody": (
        status(projection(lag=1, owner=None)),
        "bad",
        "like behind and run by nobody: projector run.",
    ),
    "a source that nobody ingests": (
        status(projection(lag=7, seconds=0.3), sources=(source(idle=30.0, owner=None),)),
        "bad",
        f"jetstream is ingested by nobody: projector ingest jetstream; {IN_STEP}, 0 differences.",
    ),
    "a source of the past": (
        status(projection(lag=7, seconds=0.3), sources=(source(idle=8 * DAY_SECONDS, owner=None),)),
        "good",
        f"{IN_STEP}, 0 differences.",
    ),
    "a file that has ended": (
        status(projection(lag=7, seconds=0.3), sources=(source("file:a", idle=99.0, owner=None),)),
        "good",
        f"{IN_STEP}, 0 differences.",
    ),
    "silence": (
        status(projection(lag=7, seconds=0.3), sources=(source(idle=75.0),)),
        "warn",
        f"jetstream has brought nothing for 75 s: projector doctor jetstream; {IN_STEP}, "
        "0 differences.",
    ),
    "silence by a long past of few events": (
        status(
            projection(lag=7, seconds=0.3),
            sources=(msgspec.structs.replace(source(idle=75.0), quiet_after_seconds=110.0),),
        ),
        "good",
        f"{IN_STEP}, 0 differences.",
    ),
    "silent collections": (
        status(
            projection(lag=7, seconds=0.3),
            sources=(source(),),
            silences=(silence(LIKE), silence(POST, 1.2), *map(silence, "abc")),
        ),
        "warn",
        f"{LIKE} has brought nothing since 14:02 UTC (before: 612.4/s): "
        f"projector probe; {POST} has brought only 1.2/s since 14:02 UTC (before: 612.4/s): "
        "projector probe; a has brought nothing since 14:02 UTC (before: 612.4/s): projector "
        f"probe; 2 more collections are as silent; {IN_STEP}, 0 differences.",
    ),
    "the incident": (
        status(
            projection(lag=7, seconds=0.3), probe=probe(share(LIKE, 1000, 998), share(POST, 9, 0))
        ),
        "bad",
        f"99.8 % of {LIKE} records are missing since 14:02 UTC: projector probe; {IN_STEP}, "
        "0 differences.",
    ),
    "missing in the tables": (
        status(
            projection(lag=7, seconds=0.3), probe=probe(share(LIKE, 100, 0, 7), share(POST, 9, 1))
        ),
        "bad",
        f"7.0 % of {LIKE} records are missing in the tables since 14:02 UTC, and some of 1 more "
        f"collection: projector probe; {IN_STEP}, 0 differences.",
    ),
    "a probe of long ago": (
        status(projection(lag=7, seconds=0.3), probe=probe(share(LIKE, 1000, 998), age=7200.0)),
        "good",
        f"{IN_STEP}, 0 differences.",
    ),
    "differences": (
        status(projection(lag=7, seconds=0.3), differences=2),
        "bad",
        f"the audit found 2 differences: projector verify; {IN_STEP}.",
    ),
    "troubles": (
        status(projection(lag=7, seconds=0.3), troubles=(Trouble("bad", "x is full: y"),)),
        "bad",
        f"x is full: y; {IN_STEP}, 0 differences.",
    ),
    "a lesser trouble": (
        status(projection(lag=7, seconds=0.3), troubles=(Trouble("warn", "x is slow: y"),)),
        "warn",
        f"x is slow: y; {IN_STEP}, 0 differences.",
    ),
    "an unfinished rebuild": (
        status(
            projection(lag=7, seconds=0.3),
            builds=(BuildStatus(name="like", phase="load", checkpoint=1, through=9, owner=None),),
        ),
        "warn",
        "an unfinished rebuild of like: projector rebuild like goes on with it, with --abandon it "
        f"removes it; {IN_STEP}, 0 differences.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_sentence(case: str) -> None:
    found, level, sentence = CASES[case]
    assert (found.level, found.sentence) == (level, sentence)
