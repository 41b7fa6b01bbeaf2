"""Why tables and log differ: in groups, each with a name, its cause and what mends it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import asyncpg
import msgspec

from events.event import Event
from events.history import WholeLog
from projector import aggregate
from projector.differences import (
    ALTERED,
    EXTRA,
    LISTED,
    MISSING,
    ROW,
    WAITING,
    Difference,
    differences,
)
from projector.prove import Subject, Suspect, Verdict

STEPS_MAX: Final = 100
"""How many later events of an account are tried one by one: after which is it as its tables say?"""

RUN_KEYS_MIN: Final = 3
"""So many keys in a row, and none between that is right, are no accident."""

NAMED_MAX: Final = 3
"""The most accounts that a command line names."""

REBUILD_SHARE: Final = 0.2
"""With so many of its keys wrong a projection is rebuilt."""

DERIVED_MANY: Final = 1_000
"""With so many records wrong a derived table is rebuilt: no audit lists more of them."""

HEAL_ALL: Final = "projector heal --all-differences"

NAMES: Final = {
    (ROW, MISSING): ("row-deleted", "rows are missing that events say are there"),
    (ROW, ALTERED): ("row-altered", "rows say something else than their events"),
    (ROW, EXTRA): ("row-added", "rows are there that no event says are there"),
    (WAITING, MISSING): ("waiting-row-deleted", "rows of duplicates are missing on the shelf"),
    (WAITING, ALTERED): ("waiting-row-altered", "rows of duplicates say something else"),
    (WAITING, EXTRA): ("waiting-row-added", "rows are on the shelf that are no duplicates"),
}
LIST_WRONG: Final = (
    "duplicates-list-wrong",
    "records are not in the list of duplicates as they are",
)
REVISION_WRONG: Final = ("revision-wrong", "revisions are not those of the events")


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """Differences with one cause: how many keys, one line that says what it is, what mends it.

    `of` is the projection or aggregate.
    """

    name: str
    of: str
    keys: int
    text: str
    mend: str


async def diagnose(
    connection: asyncpg.Connection, log: WholeLog, verdicts: Sequence[Verdict], head: int
) -> list[Diagnosis]:
    """The causes of what proofs found, by projection."""
    found: list[Diagnosis] = []
    for verdict in verdicts:
        if verdict.count:
            ahead = await _ahead(connection, log, verdict, head)
            found += _causes(verdict, ahead)
    return found


async def _ahead(
    connection: asyncpg.Connection, log: WholeLog, verdict: Verdict, head: int
) -> dict[str, int]:
    """Of the suspects those whose tables are as they must be after a later event; and that."""
    subject, suspects = verdict.subject, verdict.suspects
    if head <= subject.through or not suspects:
        return {}
    collections = subject.projection.collections
    events = await log.of_accounts(connection, sorted(suspects), 0, head, collections)
    by_did: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_did[event.did].append(event)
    matches = {did: _later_match(subject, one, by_did[did]) for did, one in suspects.items()}
    return {did: offset for did, offset in matches.items() if offset is not None}


def _later_match(subject: Subject, suspect: Suspect, events: Sequence[Event]) -> int | None:
    truth = subject.truth()
    steps = 0
    for at, event in enumerate(events, 1):
        truth.eat(event)
        if event.log_offset <= suspect.through:
            continue
        steps += 1
        if steps <= STEPS_MAX or at == len(events):
            wrong = differences(subject.projection, event.did, truth.expected(), suspect.found)
            if next(wrong, None) is None:
                return event.log_offset
    return None


def _causes(verdict: Verdict, ahead: Mapping[str, int]) -> list[Diagnosis]:
    found = []
    rest = [d for d in verdict.differences if d.did not in ahead]
    of, through = verdict.subject.projection.name, verdict.subject.through
    if ahead:
        text = (
            f"its checkpoint is {through:,}, and the tables of {len(ahead):,} accounts are as of "
            f"later events, such as {max(ahead.values()):,}"
        )
        keys = len(keys_of(verdict.differences)) - len(keys_of(rest))
        found.append(Diagnosis(name="checkpoint-moved-back", of=of, keys=keys, text=text,
                               mend="projector run"))  # fmt: skip
    skipped = _skipped(verdict, rest)
    if skipped is not None:
        return [*found, skipped]
    return found + [_of_kind(verdict, name, wrong) for name, wrong in _kinds(rest).items()]


def keys_of(wrong: Iterable[Difference]) -> set[str]:
    """The at-uris that differ."""
    return {d.uri for d in wrong}


def _skipped(verdict: Verdict, wrong: Sequence[Difference]) -> Diagnosis | None:
    """The cause where just the events of one range have left no trace."""
    settled = [d.settled for d in wrong if d.settled is not None]
    keys = len(keys_of(wrong))
    if keys < RUN_KEYS_MIN or len(settled) < len(wrong):
        return None
    first, last = min(settled), max(settled)
    if verdict.right.any(first, last):
        return None
    # Of keys with one claim only the last to come is known by `settled`.
    earliest = min(d.log_offset for d in wrong if d.log_offset is not None)
    if not verdict.right.any(earliest, last):
        first = min(first, earliest)
    of = verdict.subject.projection.name
    return Diagnosis(
        name="checkpoint-moved-forward",
        of=of,
        keys=keys,
        text=f"no event from offset {first:,} to {last:,} was applied",
        mend=f"projector replay {of} --from {first}",
    )


def _kinds(wrong: Iterable[Difference]) -> dict[tuple[str, str], list[Difference]]:
    """The differences by name and cause."""
    found: defaultdict[tuple[str, str], list[Difference]] = defaultdict(list)
    for d in wrong:
        name = LIST_WRONG if d.part == LISTED else NAMES.get((d.part, d.kind), REVISION_WRONG)
        found[name].append(d)
    return found


def _of_kind(verdict: Verdict, name: tuple[str, str], wrong: Sequence[Difference]) -> Diagnosis:
    columns = sorted({column for d in wrong for column in d.columns})
    keys = keys_of(wrong)
    text = name[1] + (f" ({', '.join(columns)})" if columns else "") + f", such as {min(keys)}"
    of = verdict.subject.projection.name
    many = verdict.count > REBUILD_SHARE * max(verdict.keys, 1) and len(keys) > 1000
    mend = f"projector rebuild {of}" if many else heal({d.did for d in wrong})
    return Diagnosis(name=name[0], of=of, keys=len(keys), text=text, mend=mend)


def heal(dids: set[str]) -> str:
    """The command that heals these accounts."""
    if len(dids) > NAMED_MAX or not all(dids):
        return HEAL_ALL
    return f"projector heal {' '.join(sorted(dids))}"


def diagnose_counters(
    found: Sequence[aggregate.Difference], wrong: Sequence[Diagnosis], counted: Mapping[str, str]
) -> list[Diagnosis]:
    """The causes of counters that differ; `counted` names the projection that each counts, as
    `aggregate.counter`, and `wrong` what is known of the projections."""
    groups: defaultdict[tuple[str, str], list[aggregate.Difference]] = defaultdict(list)
    for difference in found:
        groups[difference.aggregate, difference.counter].append(difference)
    rows = {diagnosis.of for diagnosis in wrong}
    return [
        _of_counter(group, rows_differ=counted[f"{of}.{counter}"] in rows)
        for (of, counter), group in groups.items()
    ]


def _of_counter(group: Sequence[aggregate.Difference], *, rows_differ: bool) -> Diagnosis:
    one = group[0]
    name = f"{one.aggregate}.{one.counter}"
    example = (
        f"{name} of {one.key} is {one.stored:,} with {one.pending:,} pending, and there are "
        f"{one.counted:,} rows"
    )
    if rows_differ:
        slug, text = "counter-off", f"{example}; its rows differ from the log as well"
    elif len(group) == 1:
        slug, text = "counter-off", example
    else:
        slug = "outbox-row-lost"
        text = f"{len(group):,} keys of {name} are off at once, deltas were lost; {example}"
    mend = HEAL_ALL if rows_differ or len(group) > 1 else heal({account_of_key(one.key)})
    return Diagnosis(name=slug, of=one.aggregate, keys=len(group), text=text, mend=mend)


def diagnose_derived(found: Sequence[aggregate.Difference]) -> list[Diagnosis]:
    """The causes of derived tables that differ from the rows they come of."""
    groups: defaultdict[str, list[aggregate.Difference]] = defaultdict(list)
    for difference in found:
        groups[difference.aggregate].append(difference)
    return [
        Diagnosis(
            name="derived-rows-wrong",
            of=of,
            keys=len(group),
            text=(
                f"{of} has {sum(d.stored for d in group):,} rows that it should not have and lacks "
                f"{sum(d.counted for d in group):,}, such as of {group[0].key}"
            ),
            mend=HEAL_ALL if len(group) < DERIVED_MANY else f"projector rebuild {of}",
        )
        for of, group in groups.items()
    ]


def account_of_key(key: str) -> str:
    """The account that a counter's key belongs to; empty where it is none's."""
    return key.removeprefix("at://").partition("/")[0] if "did:" in key[:9] else ""
