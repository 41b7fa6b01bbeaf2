"""What must have come of a history, derived from the history alone; and the comparison with it.

Naive on purpose, and owing nothing to the code under test: no import of it, own SQL, own rules
(those of the README). Always two comparisons, since a lost event can hide behind a later one: the
log with the history, the tables with the state that the history ends in. Only what hangs on the
order in which different accounts' events were applied is judged by the order of the log itself
(`tests.simulator.court`), which the first comparison has found to be right.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import asyncpg

from tests.simulator.court import FLAGS, Court, Entry, Flags
from tests.simulator.facts import CLAIMS, POST, REPOST, TABLES, Fact, moment
from tests.simulator.rows import (
    EMBEDS,
    NOTIFIED,
    Row,
    Rows,
    embeds,
    feed_item,
    owner,
    record_row,
    row_of,
)

KEPT = (*filter(None, TABLES.values()), *EMBEDS, "duplicate_record", "record", "feed_item",
        "op_thread_reply", "notification", "profile_agg", "post_agg", "actor",
        "actor_sync")  # fmt: skip
"""All tables of which it knows what they must hold."""
COUNTS = {
    "profile_agg": ("did", {"followersCount": ("follow", "subjectDid"),
                            "followsCount": ("follow", "creator"),
                            "postsCount": ("post", "creator")}),
    "post_agg": ("uri", {"likeCount": ("like", "subject"), "replyCount": ("post", "replyParent"),
                         "repostCount": ("repost", "subject"), "quoteCount": ("quote", "subject"),
                         "bookmarkCount": None}),
}  # fmt: skip
LEFT_OUT = {"replyCount": "violatesThreadGate"}
"""The column that, where it is true, has a row not counted."""
READERS = {
    POST: ("post", "feed_item", "op_thread_reply", "record"),
    REPOST: ("repost", "feed_item", "record"),
}
"""The projections that read a collection, where they are more than its own and `record`."""
NAMES = {"actor_block": "block"}
"""The names of projections that are not those of their tables."""
OWN_COLUMNS = {"notification": ("id",)}
"""What Postgres numbers."""
ACTOR = {"handle": None, "takedownRef": None, "trustedVerifier": False} | dict.fromkeys(
    f"ageAssurance{name}"
    for name in ("Status", "LastInitiatedAt", "Access", "CountryCode", "RegionCode")
)
LOG = """
SELECT log_offset, did, kind, action, collection, rkey, rev, cid, record,
    (extract(epoch FROM occurred_at) * 1000000)::bigint AS time_us
FROM projector.event_log ORDER BY log_offset
"""
KEPT_HERE = "SELECT projection FROM projector.checkpoint"
JUDGED = ("post", "follow", "list_item", "thread_gate", "post_gate")
"""Posts are judged where all of these are kept."""
JUDGED_REASONS = ("mention", "quote", "reply")
"""Whom a post notifies hangs on what its parents and gates are when it is applied."""
LETTERS = "SELECT projection, log_offset FROM projector.dead_letter WHERE projection IS NOT NULL"
ERASED = ("", "erased", "erased", None, None, None, None, None, 0)
THROUGH = "SELECT coalesce(max(through_offset), 0) FROM projector.erasure"
UNREADABLE = "SELECT DISTINCT raw FROM projector.dead_letter WHERE raw IS NOT NULL"
BEHIND = """
SELECT projection || ' is at ' || log_offset || ' of ' || head FROM projector.checkpoint
CROSS JOIN projector.log_head
WHERE projection NOT IN ('profile_agg', 'post_agg', 'notification') AND log_offset <> head
UNION ALL SELECT 'a delta of ' || aggregate || ' waits' FROM projector.outbox
"""


def last_words(facts: Iterable[Fact]) -> tuple[dict[str, Fact], dict[str, Row]]:
    """By uri, the facts by which records live after all of these; and the rows of threads.

    A create of what lives with the same content changes nothing; an invalid record leaves what was
    there. An account's reply in a thread of its own keeps its row when it is deleted, with the
    time, until the record comes again or the account goes.
    """
    live: dict[str, Fact] = {}
    threads: dict[str, Row] = {}
    owned: defaultdict[str, set[str]] = defaultdict(set)
    for fact in facts:
        if fact.removes:
            for uri in owned.pop(fact.did, ()):
                live.pop(uri, None)
                threads.pop(uri, None)
        elif fact.is_commit and fact.fate != "invalid":
            if fact.what == "delete":
                live.pop(fact.uri, None)
                if fact.uri in threads:
                    threads[fact.uri]["deletedAt"] = threads[fact.uri]["deletedAt"] or moment(
                        fact.time_us
                    )
            elif fact.what != "create" or not _says_the_same(live.get(fact.uri), fact):
                live[fact.uri] = fact
                owned[fact.did].add(fact.uri)
                threads.pop(fact.uri, None)
                if row := _in_own_thread(fact):
                    threads[fact.uri] = row
    return live, threads


def _in_own_thread(fact: Fact) -> Row | None:
    reply = fact.record.get("reply") if fact.collection == POST else None
    if not reply or owner(reply["root"]["uri"]) != fact.did:
        return None
    return {"uri": fact.uri, "rootUri": reply["root"]["uri"], "parentUri": reply["parent"]["uri"],
            "deletedAt": None}  # fmt: skip


def _says_the_same(before: Fact | None, fact: Fact) -> bool:
    return before is not None and (before.cid, before.text) == (fact.cid, fact.text)


def court_of(entries: Iterable[Sequence[Any]], facts: Iterable[Fact]) -> Court:
    """Who has heard the log, given as the rows of facts; what their lexicons refuse goes by."""
    invalid = {fact.logged for fact in facts if fact.fate == "invalid"}
    court = Court()
    for row in entries:
        (court.reach if row in invalid else court.eat)(Entry(*row))
    return court


def tables(
    facts: Sequence[Fact],
    logged: Iterable[Sequence[Any]] | None = None,
    flags: Mapping[str, Flags] | None = None,
) -> Rows:
    """What every table must hold, where the log is `logged`, or the facts themselves.

    Of records with the same claim the first by (indexedAt, uri) has the row; the others are in
    `duplicate_record`. Counters count rows; who counts nothing has none. `flags` are those of
    posts, where they are not to be found out.
    """
    if logged is None:
        logged = [fact.logged for fact in facts if fact.what != "garbage"]
    court = court_of(logged, facts)
    live, threads = last_words(facts)
    found: Rows = {name: [] for name in KEPT}
    found["op_thread_reply"] = list(threads.values())
    found["record"] = [record_row(fact) for fact in live.values()]
    for collection, table in TABLES.items():
        if table:
            kept = [f for f in live.values() if f.collection == collection and f.fate == "kept"]
            _fill(found, collection, kept)
    decided = court.flags() if flags is None else flags
    for row in found["post"]:
        row.update(decided[row["uri"]])
    for name, notified in NOTIFIED.items():
        found["notification"] += [told for row in found[name] for told in notified(row)]
    found["notification"] += court.notices()
    found["actor"] = [ACTOR | {"did": did, "indexedAt": since, "upstreamStatus": status}
                      for did, (since, status) in court.actors.items()]  # fmt: skip
    found["actor_sync"] = [{"did": did, "commitCid": cid, "repoRev": rev}
                           for did, (rev, cid) in court.syncs.items()]  # fmt: skip
    for name, (key, counters) in COUNTS.items():
        found[name] = _counted(found, key, counters)
    return {name: _sorted(rows) for name, rows in found.items()}


def _fill(found: Rows, collection: str, facts: Sequence[Fact]) -> None:
    """Puts the rows of a collection's records where they belong."""
    made = [(fact, row) for fact in facts if (row := row_of(fact)) is not None]
    claim = CLAIMS.get(collection, ("uri",))
    groups: dict[object, list[Row]] = defaultdict(list)
    for fact, row in made:
        groups[tuple(row[column] for column in claim)].append(row)
        if collection in (POST, REPOST):
            found["feed_item"].append(feed_item(TABLES[collection], row))
        for name, rows in (embeds(fact, row) if collection == POST else {}).items():
            found[name] += rows
    for group in groups.values():
        first, *others = sorted(group, key=lambda row: (row["indexedAt"], row["uri"]))
        found[TABLES[collection]].append(first)
        found["duplicate_record"] += [
            {"uri": row["uri"], "cid": row["cid"], "duplicateOf": first["uri"],
             "indexedAt": row["indexedAt"]}
            for row in others
        ]  # fmt: skip


def _counted(found: Rows, key: str, counters: Mapping[str, tuple[str, str] | None]) -> list[Row]:
    counts = {
        counter: Counter(
            row[by[1]] for row in found[by[0]] if row[by[1]] and not row.get(LEFT_OUT.get(counter))
        ) if by else Counter()
        for counter, by in counters.items()
    }  # fmt: skip
    keys = {value for counter in counts.values() for value in counter}
    return [{key: k} | {c: counts[c][k] for c in counters} for k in keys]


def _sorted(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: [
        str(row.get(name)) for name in ("uri", "postUri", "recordUri", "did", "position", "reason")
    ])  # fmt: skip


def log_complaints(
    rows: Sequence[Sequence[Any]],
    delivered: Sequence[Fact],
    *,
    exactly: bool,
    forgotten: str = "",
    through: int = 0,
) -> list[str]:
    """What is wrong with a log, given as rows of `LOG`.

    `exactly`: the source never rewinds, so the log is what was delivered, no more, no less, in the
    same order. Else: every fact at least once; those of an account that was never removed once;
    of each repo the first occurrences in the order of the facts; and nothing that is no fact. What
    an account said up to the offset `through`, when it was forgotten, is empty.
    """
    found = [f"offset {row[0]} stands at place {place}" for place, row in enumerate(rows, 1)
             if row[0] != place][:1]  # fmt: skip
    logged = [tuple(row)[1:] for row in rows]
    sent = [fact for fact in delivered if fact.what != "garbage"]
    expected = [
        ERASED if fact.did == forgotten and offset <= through else fact.logged
        for offset, fact in enumerate(sent, 1)
    ]
    if exactly:
        places = range(max(len(logged), len(expected)))
        first = next((i for i in places if logged[i : i + 1] != expected[i : i + 1]), None)
        if first is not None:
            is_there, must_be = (part[first : first + 1] for part in (logged, expected))
            found.append(
                f"event {first + 1} of {len(expected)} (logged: {len(logged)}): "
                f"{is_there} is not {must_be}"
            )
        return found
    if strangers := set(logged) - set(expected):
        found.append(f"{len(strangers)} events that nobody sent, such as {strangers.pop()}")
    in_order = list(dict.fromkeys(expected))
    firsts = list(dict.fromkeys(logged))
    for did in sorted({fact.did for fact in delivered}):
        want, have = ([row for row in part if row[0] == did] for part in (in_order, firsts))
        if want != have:
            there = set(have)
            lost = [row for row in want if row not in there]
            found.append(f"{did}: {len(lost)} events lost, such as {lost[:1]}" if lost else
                         f"{did}: its events are in another order")  # fmt: skip
    removed = {fact.did for fact in delivered if fact.removes}
    twice = [row for row, n in Counter(logged).items() if n > 1 and row[0] not in removed]
    if twice:
        found.append(f"{len(twice)} events more than once, such as {twice[0]}")
    return found


def refusing(fact: Fact) -> Sequence[str]:
    """The projections that have a dead letter of a fact."""
    table = TABLES[fact.collection]
    own = NAMES.get(table, table)
    if fact.fate == "refused":
        return (own,)  # Only by the index of its own table.
    return READERS.get(fact.collection, tuple(filter(None, (own, "record"))))


def tables_here(kept: set[str]) -> list[str]:
    """The tables of the projections that are kept."""
    tabled = {name for name in KEPT if NAMES.get(name, name) in kept}
    claimed = {"duplicate_record"} if kept & {"like", "follow", "repost"} else set()
    return [name for name in KEPT if name in tabled | claimed | (
        {*EMBEDS} if "post" in kept else set())]  # fmt: skip


async def rows_of(connection: asyncpg.Connection, table: str) -> list[Row]:
    """All rows of a table, in the order in which `tables` has them."""
    numbered = OWN_COLUMNS.get(table, ())
    return _sorted(
        {name: cell for name, cell in row.items() if name not in numbered}
        for row in await connection.fetch(f'SELECT * FROM bsky."{table}"')
    )


class Oracle:
    """Knows one history, and says what a database must hold of it.

    `exactly`: see `log_complaints`; then `delivered` is all that came, repeats and all, else the
    facts themselves. An account is `forgotten` only where it is so.
    """

    def __init__(
        self, facts: Sequence[Fact], delivered: Sequence[Fact] = (), *, exactly: bool
    ) -> None:
        self.facts = facts
        self.delivered = delivered or facts
        self.exactly = exactly
        self.forgotten = ""
        self.strays: set[bytes] = set()
        """Messages that are no facts, and must be kept as unreadable."""
        self.archived: list[tuple[Any, ...]] = []

    @property
    def events(self) -> int:
        """How many events the log has at the least."""
        counted = self.delivered if self.exactly else self.facts
        return sum(fact.what != "garbage" for fact in counted)

    def remembered(self, through: int) -> list[Fact]:
        """What tables and letters are made of: of an account that was forgotten when the log went
        up to `through`, only what came later, be it a repeat."""
        sent = [fact for fact in self.delivered if fact.what != "garbage"]
        later = {fact.number for fact in sent[through:]}
        return [f for f in self.facts if f.did != self.forgotten or f.number in later]

    async def verdict(self, url: str) -> list[str]:
        """All that is wrong with a database in which everything has come to rest."""
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                rows = [tuple(row) for row in await connection.fetch(LOG)]
                rows = sorted({row[0]: row for row in (*self.archived, *rows)}.values())
                through = await connection.fetchval(THROUGH)
                kept = {row[0] for row in await connection.fetch(KEPT_HERE)}
                wrong = log_complaints(rows, self.delivered, exactly=self.exactly,
                                       forgotten=self.forgotten, through=through)  # fmt: skip
                # Of a log with something else in it the order tells nothing.
                said = {ERASED, *(fact.logged for fact in self.delivered)}
                logged = rows if all(row[1:] in said for row in rows) else None
                return [
                    *[row[0] for row in await connection.fetch(BEHIND)],
                    *wrong,
                    *await self._table_complaints(connection, logged, through, kept),
                    *await self._letter_complaints(connection, rows, kept),
                ]
        finally:
            await connection.close()

    async def _table_complaints(
        self,
        connection: asyncpg.Connection,
        logged: Sequence[tuple[Any, ...]] | None,
        through: int,
        kept: set[str],
    ) -> list[str]:
        has = {name: await rows_of(connection, name) for name in tables_here(kept)}
        flags = None
        if self.forgotten or not kept.issuperset(JUDGED):
            # What an account said that is forgotten was heard when others were judged, and is not
            # where they are judged anew.
            flags = {row["uri"]: {flag: row[flag] for flag in FLAGS} for row in has["post"]}
            flags = defaultdict(lambda: dict.fromkeys(FLAGS), flags)
        facts = self.remembered(through)
        heard = logged and [row[1:] for row in logged if row[1:] != ERASED]
        must = tables(facts, heard, flags)
        if flags is not None and "notification" in has:
            for of in (has, must):
                of["notification"] = [row for row in of["notification"]
                                      if row["reason"] not in JUDGED_REASONS]  # fmt: skip
        found = []
        for name, rows in has.items():
            if rows != must[name]:
                is_there, wanted = ({tuple(sorted(row.items())) for row in of}
                                    for of in (rows, must[name]))  # fmt: skip
                found.append(
                    f"{name}: {len(wanted - is_there)} rows are missing, such as "
                    f"{[*wanted - is_there][:1]}; {len(is_there - wanted)} are extra, such as "
                    f"{[*is_there - wanted][:1]}"
                )
        return found

    async def _letter_complaints(
        self, connection: asyncpg.Connection, rows: Sequence[tuple[Any, ...]], kept: set[str]
    ) -> list[str]:
        bad = {fact.logged: refusing(fact) for fact in self.facts if fact.fate != "kept"}
        expected = {(name, row[0]) for row in rows for name in bad.get(row[1:], ())
                    if name in kept}  # fmt: skip
        letters = {tuple(row) for row in await connection.fetch(LETTERS)}
        garbage = {fact.text.encode() for fact in self.facts if fact.what == "garbage"}
        garbage |= self.strays
        unreadable = {row[0] for row in await connection.fetch(UNREADABLE)}
        found = []
        if letters != expected:
            found.append(f"letters missing {expected - letters}, extra {letters - expected}")
        if unreadable != garbage:
            found.append(f"{len(garbage - unreadable)} unreadable messages are not kept, "
                         f"{len(unreadable - garbage)} are that were not sent")  # fmt: skip
        return found
