"""What a judge asks, answered from the records as they are now: of `record`, in whatever version,
also where the record lost its row to another.

A record has the fields of its lexicon where its uri is of that collection; what others have under
the same names nobody has checked.
"""

from __future__ import annotations

import json
from typing import Any, Final

from projections.post_embed import is_post
from projections.verdicts import CLOSED, DISABLE, FOLLOWER, FOLLOWING, LIST, MENTION
from projector.effects import Doing, do
from projector.judging import Asking, CellsOf, ChildrenOf, Claims, Flags, Question

RECORD: Final = "SELECT json FROM record WHERE uri = $1"
PARENT: Final = """
SELECT r.json, p."invalidReplyRoot" FROM record AS r LEFT JOIN post AS p USING (uri)
WHERE r.uri = $1
"""
CLAIMED: Final = {
    "follow": 'SELECT FROM follow WHERE creator = $1 AND "subjectDid" = $2',
    "list_item": 'SELECT FROM list_item WHERE "listUri" = $1 AND "subjectDid" = $2',
}
RULES: Final = {
    "app.bsky.feed.threadgate#mentionRule": MENTION,
    "app.bsky.feed.threadgate#followerRule": FOLLOWER,
    "app.bsky.feed.threadgate#followingRule": FOLLOWING,
    "app.bsky.feed.threadgate#listRule": LIST,
    "app.bsky.feed.postgate#disableRule": DISABLE,
}
MENTION_FEATURE: Final = "app.bsky.richtext.facet#mention"

Record = dict[str, Any]


def answered(judging: Asking[Flags]) -> Doing[Flags]:
    """The verdict of a judge who is answered."""
    answer: object = None
    while True:
        try:
            question = judging.send(answer)
        except StopIteration as end:
            verdict: Flags = end.value
            return verdict
        answer = yield from _answer(question)


def _answer(question: Question) -> Doing[object]:
    match question:
        case CellsOf(uri=uri):
            for text, invalid in (yield from do(PARENT, uri)):
                return _root_of(json.loads(text) if is_post(uri) else {}), invalid
            return None
        case ChildrenOf(child="post_mention", uri=uri):
            post = (yield from record_of(uri)) if is_post(uri) else None
            return [(uri, did) for did in mentions(post or {})]
        case ChildrenOf(child="thread_gate_rule", uri=uri):
            gate = (yield from record_of(uri)) or {}
            rules = [(uri, rule, about) for rule, about in _rules(gate.get("allow", ()))]
            return [(uri, CLOSED, None), *rules] if "allow" in gate else []
        case ChildrenOf(uri=uri):
            gate = (yield from record_of(uri)) or {}
            return [(uri, rule) for rule, _ in _rules(gate.get("embeddingRules", ()))]
        case Claims(projection=projection, claim=claim):
            return bool((yield from do(CLAIMED[projection], *claim)))


def record_of(uri: str) -> Doing[Record | None]:
    """The record of a uri."""
    for (text,) in (yield from do(RECORD, uri)):
        record: Record = json.loads(text)
        return record
    return None


def mentions(post: Record) -> list[str]:
    """Whom the facets of a post mention."""
    features = (feature for facet in post.get("facets", ()) for feature in facet["features"])
    return [feature["did"] for feature in features if feature["$type"] == MENTION_FEATURE]


def _root_of(parent: Record) -> str | None:
    """The root that a post replies under; None where it is no reply."""
    return parent["reply"]["root"]["uri"] if "reply" in parent else None


def _rules(rules: list[Record]) -> list[tuple[str, str | None]]:
    known = ((RULES.get(rule["$type"]), rule.get("list")) for rule in rules)
    return [(rule, about) for rule, about in known if rule is not None]
