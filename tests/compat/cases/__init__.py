"""The scenarios of dataplane.md section 8, by what they are about."""

from __future__ import annotations

from typing import Final

from tests.compat.cases.accounts import ACCOUNTS
from tests.compat.cases.duplicates import DUPLICATES
from tests.compat.cases.gates import GATES
from tests.compat.cases.posts import POSTS
from tests.compat.cases.records import RECORDS
from tests.compat.cases.threads import THREADS
from tests.compat.casting import Case

CASES: Final[list[Case]] = sorted(
    [*DUPLICATES, *POSTS, *THREADS, *GATES, *RECORDS, *ACCOUNTS], key=lambda c: (c.number, c.case)
)

LEFT_OUT: Final = {
    68: "it is about a commit's blocks: none of our sources hands over CAR files, and an event "
    "without its record is a dead letter of the decoder",
    69: "the same: no source of ours decodes a commit's blocks",
}
"""Scenarios that a log of events cannot have, and why."""
