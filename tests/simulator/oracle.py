"""What must have come of a history, derived from the history alone; and the comparison with it.

Naive on purpose, and owing nothing to the code under test: no import of it, own SQL, own rules
(those of the README). Always two comparisons, since a lost event can hide behind a later one: the
log with the history, the tables with the state that the history ends in.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg

from tests.simulator.facts import FOLLOW, POST, TABLES, Fact, moment

Row = dict[str, Any]

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
NO_FLAGS = dict.fromkeys(
    ("invalidReplyRoot", "violatesThreadGate", "violatesEmbeddingRules", "hasThreadGate",
     "hasPostGate")
)  # fmt: skip
COUNTS = {
    "profile_agg": ("did", {"followersCount": ("follow", "subjectDid"),
                            "followsCount": ("follow", "creator"),
                            "postsCount": ("post", "creator")}),
    "post_agg": ("uri", {"likeCount": ("like", "subject"), "replyCount": ("post", "replyParent"),
                         "repostCount": ("repost", "subject"), "quoteCount": None,
                         "bookmarkCount": None}),
}  # fmt: skip
LOG = """
SELECT log_offset, did, kind, action, collection, rkey, rev, cid, record,
    (extract(epoch FROM occurred_at) * 1000000)::bigint AS time_us
FROM projector.event_log ORDER BY log_offset
"""
LETTERS = "SELECT projection, log_offset FROM projector.dead_letter WHERE projection IS NOT NULL"
ERASED = ("", "erased", "erased", None, None, None, None, None, 0)
THROUGH = "SELECT coalesce(max(through_offset), 0) FROM projector.erasure"
UNREADABLE = "SELECT DISTINCT raw FROM projector.dead_letter WHERE raw IS NOT NULL"
BEHIND = """
SELECT projection || ' is at ' || log_offset || ' of ' || head FROM projector.checkpoint
CROSS JOIN projector.log_head
WHERE projection IN ('post', 'follow', 'like', 'repost') AND log_offset <> head
UNION ALL SELECT 'a delta of ' || aggregate || ' waits' FROM projector.outbox
"""


def row_of(fact: Fact) -> Row:
    """The row of a valid record."""
    record, indexed_at = fact.record, moment(fact.time_us)
    created_at = record["createdAt"]
    row: Row = {"uri": fact.uri, "cid": fact.cid, "creator": fact.did, "createdAt": created_at,
                "indexedAt": indexed_at, "sortAt": min(created_at, indexed_at)}  # fmt: skip
    if fact.collection == FOLLOW:
        return row | {"subjectDid": record["subject"]}
    if fact.collection != POST:
        subject, via = record["subject"], record.get("via", {})
        return row | {"subject": subject["uri"], "subjectCid": subject["cid"],
                      "via": via.get("uri"), "viaCid": via.get("cid")}  # fmt: skip
    reply = record.get("reply", {"root": {}, "parent": {}})
    return row | NO_FLAGS | {
        "text": UNSTORABLE.sub("\ufffd", record["text"]),
        "replyRoot": reply["root"].get("uri"), "replyRootCid": reply["root"].get("cid"),
        "replyParent": reply["parent"].get("uri"), "replyParentCid": reply["parent"].get("cid"),
        "langs": _list(record.get("langs")), "tags": _list(record.get("tags")),
    }  # fmt: skip


def _list(texts: list[str] | None) -> str | None:
    return texts and UNSTORABLE.sub("\ufffd", json.dumps(texts, ensure_ascii=False)
                                    .replace("\\u0000", "\0"))  # fmt: skip


def live_rows(facts: Iterable[Fact]) -> dict[str, dict[str, Row]]:
    """By collection and uri, the rows of the records that live after all of the facts.

    A create of what lives with the same content changes nothing; an invalid record, or one that
    cannot be kept, leaves what was there.
    """
    live: dict[str, dict[str, Row]] = {collection: {} for collection in TABLES}
    for fact in facts:
        if fact.removes:
            for rows in live.values():
                for uri in [uri for uri, row in rows.items() if row["creator"] == fact.did]:
                    del rows[uri]
        elif fact.is_commit and fact.fate == "kept":
            rows = live[fact.collection]
            if fact.what == "delete":
                rows.pop(fact.uri, None)
            elif fact.what != "create" or not _says_the_same(rows.get(fact.uri), fact):
                rows[fact.uri] = row_of(fact)
    return live


def _says_the_same(row: Row | None, fact: Fact) -> bool:
    leave = ("indexedAt", "sortAt")
    new = row_of(fact)
    return row is not None and all(row[name] == new[name] for name in new if name not in leave)


def tables(facts: Iterable[Fact]) -> dict[str, list[Row]]:
    """What every table must hold.

    Of records with the same claim the first by (indexedAt, uri) has the row; the others are in
    `duplicate_record`. Counters count rows; who counts nothing has none.
    """
    found: dict[str, list[Row]] = {"duplicate_record": []}
    for collection, rows in live_rows(facts).items():
        subject = "subjectDid" if collection == FOLLOW else "subject"
        groups: dict[object, list[Row]] = defaultdict(list)
        for row in rows.values():
            groups[row["uri"] if collection == POST else (row["creator"], row[subject])].append(row)
        table = found[TABLES[collection]] = []
        for group in groups.values():
            first, *others = sorted(group, key=lambda row: (row["indexedAt"], row["uri"]))
            table.append(first)
            found["duplicate_record"] += [
                {"uri": row["uri"], "cid": row["cid"], "duplicateOf": first["uri"],
                 "indexedAt": row["indexedAt"]}
                for row in others
            ]  # fmt: skip
    for name, (key, counters) in COUNTS.items():
        counts = {
            counter: Counter(row[by[1]] for row in found[by[0]] if row[by[1]]) if by else Counter()
            for counter, by in counters.items()
        }
        keys = {value for counter in counts.values() for value in counter}
        found[name] = [{key: k} | {c: counts[c][k] for c in counters} for k in keys]
    return {name: _sorted(rows) for name, rows in found.items()}


def _sorted(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: str(row.get("uri") or row.get("did")))


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
                return [
                    *[row[0] for row in await connection.fetch(BEHIND)],
                    *log_complaints(rows, self.delivered, exactly=self.exactly,
                                    forgotten=self.forgotten, through=through),
                    *await self._table_complaints(connection, through),
                    *await self._letter_complaints(connection, rows),
                ]  # fmt: skip
        finally:
            await connection.close()

    async def _table_complaints(self, connection: asyncpg.Connection, through: int) -> list[str]:
        found = []
        for name, expected in tables(self.remembered(through)).items():
            # Processes judge posts, by the order of the log, which facts do not have.
            rows = _sorted(
                dict(r) | {flag: None for flag in NO_FLAGS if flag in dict(r)}
                for r in await connection.fetch(f'SELECT * FROM bsky."{name}"')
            )
            if rows != expected:
                has, must = ({tuple(sorted(row.items())) for row in rs} for rs in (rows, expected))
                found.append(
                    f"{name}: {len(must - has)} rows are missing, such as {[*must - has][:1]}; "
                    f"{len(has - must)} are extra, such as {[*has - must][:1]}"
                )
        return found

    async def _letter_complaints(
        self, connection: asyncpg.Connection, rows: Sequence[tuple[Any, ...]]
    ) -> list[str]:
        bad = {fact.logged: TABLES[fact.collection] for fact in self.facts
               if fact.fate != "kept"}  # fmt: skip
        expected = {(bad[row[1:]], row[0]) for row in rows if row[1:] in bad}
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
