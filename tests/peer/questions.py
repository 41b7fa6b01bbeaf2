"""What is asked of the peer's servers: it is taken from the events behind both databases."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

SUBJECTS_MAX: Final = 30
"""How many accounts, posts, lists, … are asked about: those that most events name."""
VIEWERS_MAX: Final = 4
BATCH: Final = 25
PAGE: Final = 30
KNOWN_FOLLOWERS_MAX: Final = 100

SEARCHED: Final = ("someone", "begin", "feed", "renamed")

POST: Final = "app.bsky.feed.post"
AUTHOR_FEEDS: Final = ("posts_with_replies", "posts_and_author_threads")
AUTHOR_FEED_TYPES: Final = range(5)
"""Of the data plane: those two, media only, no replies, video only."""
RECORDS: Final = {
    "GetPostRecords": POST,
    "GetLikeRecords": "app.bsky.feed.like",
    "GetRepostRecords": "app.bsky.feed.repost",
    "GetFollowRecords": "app.bsky.graph.follow",
    "GetBlockRecords": "app.bsky.graph.block",
    "GetListRecords": "app.bsky.graph.list",
    "GetListItemRecords": "app.bsky.graph.listitem",
    "GetListBlockRecords": "app.bsky.graph.listblock",
    "GetStarterPackRecords": "app.bsky.graph.starterpack",
    "GetVerificationRecords": "app.bsky.graph.verification",
    "GetFeedGeneratorRecords": "app.bsky.feed.generator",
    "GetThreadGateRecords": "app.bsky.feed.threadgate",
    "GetPostgateRecords": "app.bsky.feed.postgate",
    "GetLabelerRecords": "app.bsky.labeler.service",
    "GetProfileRecords": "app.bsky.actor.profile",
    "GetStatusRecords": "app.bsky.actor.status",
    "GetActorChatDeclarationRecords": "chat.bsky.actor.declaration",
    "GetNotificationDeclarationRecords": "app.bsky.notification.declaration",
    "GetGermDeclarationRecords": "com.germnetwork.declaration",
}
"""Remote procedures of the data plane that give records, and of which collection."""


@dataclass(frozen=True)
class Question:
    """One call. A name with dots is of the AppView's public interface, asked as `viewer`; the
    others are of the data plane. `paged`: the cursor of the answer is followed."""

    method: str
    params: dict[str, Any] = field(default_factory=dict)
    viewer: str | None = None
    paged: bool = False

    def __str__(self) -> str:
        told = f"{self.method} {json.dumps(self.params, ensure_ascii=False)}"
        return f"{told} as {self.viewer}" if self.viewer else told


@dataclass
class Named:
    """Who and what the events name, the most named first."""

    dids: list[str]
    handles: list[str]
    uris: dict[str, list[str]]

    @property
    def posts(self) -> list[str]:
        return self.uris[POST]


def named(events: Iterable[bytes]) -> Named:
    """Collects them."""
    dids: Counter[str] = Counter()
    uris: Counter[str] = Counter()
    handles = {}
    for line in events:
        event = json.loads(line)
        dids[event["did"]] += 1
        if event["kind"] == "identity":
            handles[event["did"]] = event["identity"].get("handle")
        if event["kind"] == "commit":
            commit = event["commit"]
            own = f"at://{event['did']}/{commit['collection']}/{commit['rkey']}"
            uris[own] += commit["operation"] != "delete"
            for uri in _mentioned(commit.get("record", {})):
                uris[uri] += 1
    by_collection: defaultdict[str, list[str]] = defaultdict(list)
    for uri, _ in sorted(uris.items(), key=lambda item: (-item[1], item[0])):
        collection = uri.split("/")[3] if uri.count("/") == 4 else ""
        if len(by_collection[collection]) < SUBJECTS_MAX:
            by_collection[collection].append(uri)
    busiest = sorted(dids, key=lambda did: (-dids[did], did))[:SUBJECTS_MAX]
    return Named(busiest, [h for did in busiest if (h := handles.get(did))], by_collection)


def _mentioned(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _mentioned(item)
    elif isinstance(value, str) and value.startswith("at://"):
        yield value


def questions(events: Sequence[bytes]) -> list[Question]:
    """Everything that is to be asked."""
    known = named(events)
    return [*_of_the_data_plane(known), *_of_the_appview(known)]


def _batches(of: Sequence[str]) -> Iterator[list[str]]:
    return (list(of[i : i + BATCH]) for i in range(0, len(of), BATCH))


def _paged(method: str, viewer: str | None = None, **params: Any) -> Question:
    return Question(method, {**params, "limit": PAGE}, viewer, paged=True)


def _of_the_data_plane(known: Named) -> Iterator[Question]:
    for method, collection in RECORDS.items():
        yield from (Question(method, {"uris": uris}) for uris in _batches(known.uris[collection]))
    for dids in _batches(known.dids):
        yield Question("GetActors", {"dids": dids})
        yield Question("GetCountsForUsers", {"dids": dids})
        yield Question("GetNotificationPreferences", {"dids": dids})
    for handles in _batches(known.handles):
        yield Question("GetDidsByHandles", {"handles": handles})
    for uris in _batches(known.posts + known.uris["app.bsky.feed.generator"]):
        yield Question("GetInteractionCounts", {"refs": [{"uri": uri} for uri in uris]})
    for method, collection in (("GetListCounts", "list"), ("GetStarterPackCounts", "starterpack")):
        for uris in _batches(known.uris[f"app.bsky.graph.{collection}"]):
            yield Question(method, {"refs": [{"uri": uri} for uri in uris]})
    for uris in _batches(known.posts):
        yield Question("GetPostRecords", {"uris": uris, "includeOpThreadMetadata": True})
    for term in SEARCHED:
        for method in ("SearchActors", "SearchStarterPacks"):
            yield Question(method, {"term": term, "limit": PAGE})
        yield Question("SearchFeedGenerators", {"query": term, "limit": PAGE})
    for did in known.dids:
        yield from _of_an_account(did, known)
    for uri in known.posts + known.uris["app.bsky.feed.generator"]:
        yield from _of_a_post({"uri": uri})
    for uri in known.uris["app.bsky.graph.list"]:
        yield from (_paged(method, listUri=uri) for method in ("GetListMembers", "GetListFeed"))
        yield Question("GetListCount", {"listUri": uri})


def _of_an_account(did: str, known: Named) -> Iterator[Question]:
    for method in ("GetFollowers", "GetFollows", "GetTimeline", "GetActorLikes", "GetActorReposts",
                   "GetNotifications", "GetBlocks", "GetBlocklistSubscriptions", "GetActorLists",
                   "GetActorFeeds", "GetActorStarterPacks"):  # fmt: skip
        yield _paged(method, actorDid=did)
    yield from (_paged("GetAuthorFeed", actorDid=did, feedType=kind) for kind in AUTHOR_FEED_TYPES)
    yield Question("GetUnreadNotificationCount", {"actorDid": did})
    others = known.dids[:BATCH]
    for method in ("GetActorFollowsActors", "GetRelationships", "GetFollowsFollowing"):
        yield Question(method, {"actorDid": did, "targetDids": others})
    pairs = [{"a": did, "b": other} for other in others]
    yield Question("GetBlockExistence", {"pairs": pairs})
    lists = known.uris["app.bsky.graph.list"][:BATCH]
    yield Question("GetListMembership", {"actorDid": did, "listUris": lists})
    refused = {"actorDid": did, "subjectUris": lists}
    yield Question("GetReferencelistoptoutsByActorAndSubjects", refused)
    liked = known.posts[:BATCH]
    yield Question("GetKnownLikers", {"actorDid": did, "subjectUris": liked, "limit": PAGE})
    refs = [{"uri": uri} for uri in liked]
    for method in ("GetLikesByActorAndSubjects", "GetRepostsByActorAndSubjects"):
        yield Question(method, {"actorDid": did, "refs": refs})


def _of_a_post(ref: dict[str, str]) -> Iterator[Question]:
    for method in ("GetLikesBySubject", "GetLikesBySubjectSorted", "GetRepostsBySubject",
                   "GetQuotesBySubjectSorted"):  # fmt: skip
        yield _paged(method, subject=ref)
    yield Question("GetThread", {"postUri": ref["uri"], "above": 20, "below": 10})


def _of_the_appview(known: Named) -> Iterator[Question]:
    viewers = known.dids[:VIEWERS_MAX]
    for viewer in viewers:
        yield _paged("app.bsky.feed.getTimeline", viewer)
        yield _paged("app.bsky.notification.listNotifications", viewer)
        yield _paged("app.bsky.graph.getBlocks", viewer)
        yield _paged("app.bsky.graph.getListBlocks", viewer)
        yield _paged("app.bsky.feed.getActorLikes", viewer, actor=viewer)
        yield Question("app.bsky.notification.getUnreadCount", {}, viewer)
    for i, did in enumerate(known.dids):
        yield from _of_a_profile(did, viewers[i % len(viewers)], known)
    for i, uri in enumerate(known.posts):
        yield from _of_a_thread(uri, (viewers[i % len(viewers)], None)[i % 2])
    for uri in known.uris["app.bsky.graph.list"]:
        yield from (
            _paged(f"app.bsky.{name}", list=uri) for name in ("graph.getList", "feed.getListFeed")
        )
    for uri in known.uris["app.bsky.graph.starterpack"]:
        yield Question("app.bsky.graph.getStarterPack", {"starterPack": uri})
    for uris in _batches(known.uris["app.bsky.feed.generator"]):
        yield Question("app.bsky.feed.getFeedGenerators", {"feeds": uris})
    for uris in _batches(known.uris["app.bsky.labeler.service"]):
        dids = [uri.split("/")[2] for uri in uris]
        yield Question("app.bsky.labeler.getServices", {"dids": dids, "detailed": True})


def _of_a_profile(did: str, viewer: str, known: Named) -> Iterator[Question]:
    yield Question("app.bsky.actor.getProfile", {"actor": did}, viewer)
    yield Question("app.bsky.graph.getRelationships", {"actor": did, "others": known.dids[:BATCH]})
    for name in ("getFollows", "getFollowers", "getLists", "getActorStarterPacks"):
        yield _paged(f"app.bsky.graph.{name}", viewer, actor=did)
    known_followers = {"actor": did, "limit": KNOWN_FOLLOWERS_MAX}
    yield Question("app.bsky.graph.getKnownFollowers", known_followers, viewer)
    yield _paged("app.bsky.feed.getActorFeeds", viewer, actor=did)
    for kind in AUTHOR_FEEDS:
        yield _paged("app.bsky.feed.getAuthorFeed", viewer, actor=did, filter=kind)


def _of_a_thread(uri: str, viewer: str | None) -> Iterator[Question]:
    yield Question("app.bsky.feed.getPostThread", {"uri": uri}, viewer)
    yield Question("app.bsky.unspecced.getPostThreadV2", {"anchor": uri}, viewer)
    yield Question("app.bsky.feed.getPosts", {"uris": [uri]}, viewer)
    for name in ("getLikes", "getRepostedBy", "getQuotes"):
        yield _paged(f"app.bsky.feed.{name}", viewer, uri=uri)
