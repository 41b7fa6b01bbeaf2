"""The sentence of `projector status` and of the page: what is wrong, and what to type."""

from __future__ import annotations

import pytest

from projector.status import (
    AuditStatus,
    BuildStatus,
    LetterCount,
    ProjectionStatus,
    SourceStatus,
    Status,
)

HEAD = 41_210_332


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
        f"{IN_STEP}, 0 differences; jetstream is ingested by nobody: projector ingest jetstream.",
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
        f"{IN_STEP}, 0 differences; jetstream has brought nothing for 75 s.",
    ),
    "differences": (
        status(projection(lag=7, seconds=0.3), differences=2),
        "bad",
        f"{IN_STEP}; the audit found 2 differences: projector verify.",
    ),
    "an unfinished rebuild": (
        status(
            projection(lag=7, seconds=0.3),
            builds=(BuildStatus(name="like", phase="load", checkpoint=1, through=9, owner=None),),
        ),
        "warn",
        f"{IN_STEP}, 0 differences; an unfinished rebuild of like: projector rebuild like goes on "
        "with it, with --abandon it removes it.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_sentence(case: str) -> None:
    found, level, sentence = CASES[case]
    assert (found.level, found.sentence) == (level, sentence)
