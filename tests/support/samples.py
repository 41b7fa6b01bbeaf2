"""A good record of each collection beside those of `records`: with everything that it may have."""

from __future__ import annotations

from typing import Any

from tests.support.records import DID, MOMENT, PAGE, REF, blob

LABELS = {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "porn"}]}
FACETS = [
    {
        "index": {"byteStart": 0, "byteEnd": 1},
        "features": [{"$type": "app.bsky.richtext.facet#tag", "tag": "x"}],
    }
]
RKEY = "3lb4rbqitunyc"
POST_URI = f"at://{DID}/app.bsky.feed.post/{RKEY}"
LIST_URI = f"at://{DID}/app.bsky.graph.list/{RKEY}"
STRINGS = {"lang": "en", "name": "n", "description": "d"}

SAMPLES: dict[str, dict[str, Any]] = {
    "app.bsky.graph.block": {"subject": DID},
    "app.bsky.graph.listblock": {"subject": LIST_URI},
    "app.bsky.graph.listitem": {"subject": DID, "list": LIST_URI},
    "app.bsky.graph.list": {
        "name": "n", "purpose": "com.example.purpose", "description": "d",
        "descriptionFacets": FACETS, "avatar": blob("image/jpeg"), "labels": LABELS,
    },
    "app.bsky.graph.starterpack": {
        "name": "n", "list": LIST_URI, "description": "d", "descriptionFacets": FACETS,
        "feeds": [{"uri": f"at://{DID}/app.bsky.feed.generator/x"}],
    },
    "app.bsky.feed.generator": {
        "did": "did:web:feeds.example.com", "displayName": "n", "description": "d",
        "descriptionFacets": FACETS, "avatar": blob(), "acceptsInteractions": True,
        "labels": LABELS, "contentMode": "app.bsky.feed.defs#contentModeVideo",
    },
    "app.bsky.labeler.service": {
        "policies": {
            "labelValues": ["porn", "x"],
            "labelValueDefinitions": [
                {"identifier": "x", "severity": "inform", "blurs": "none", "locales": [STRINGS],
                 "defaultSetting": "warn", "adultOnly": False},
            ],
        },
        "labels": LABELS, "reasonTypes": ["x"], "subjectTypes": ["account"],
        "subjectCollections": ["app.bsky.feed.post"],
    },
    "app.bsky.feed.threadgate": {
        "post": POST_URI,
        "allow": [
            {"$type": "app.bsky.feed.threadgate#mentionRule"},
            {"$type": "app.bsky.feed.threadgate#listRule", "list": LIST_URI},
            {"$type": "com.example.rule", "x": 1},
        ],
        "hiddenReplies": [POST_URI],
    },
    "app.bsky.feed.postgate": {
        "post": POST_URI, "detachedEmbeddingUris": [POST_URI],
        "embeddingRules": [{"$type": "app.bsky.feed.postgate#disableRule"}],
    },
    "app.bsky.graph.verification": {
        "subject": DID, "handle": "example.com", "displayName": "n",
    },
    "app.bsky.graph.referencelistoptout": {"subject": LIST_URI},
    "app.bsky.actor.profile": {
        "displayName": "n", "description": "d", "pronouns": "p", "website": "https://example.com",
        "avatar": blob(), "banner": blob("image/jpeg"), "labels": LABELS,
        "joinedViaStarterPack": REF, "pinnedPost": REF,
    },
    "app.bsky.actor.status": {
        "status": "app.bsky.actor.status#live", "durationMinutes": 1,
        "embed": {"$type": "app.bsky.embed.external", "external": PAGE},
    },
    "app.bsky.notification.declaration": {"allowSubscriptions": "followers"},
    "chat.bsky.actor.declaration": {"allowIncoming": "all"},
    "com.germnetwork.declaration": {
        "version": "1.0.0", "currentKey": {"$bytes": "AQ"}, "keyPackage": {"$bytes": "AQ"},
        "messageMe": {"messageMeUrl": "https://example.com", "showButtonTo": "everyone"},
        "continuityProofs": [{"$bytes": "AQ"}],
    },
}  # fmt: skip
"""By collection, without `$type` and `createdAt`."""


def sample(collection: str, **fields: Any) -> dict[str, Any]:
    """The good record, with some fields replaced."""
    return {"$type": collection, "createdAt": MOMENT} | SAMPLES[collection] | fields


def without(record: dict[str, Any], field: str) -> dict[str, Any]:
    """The record without a field."""
    return {name: value for name, value in record.items() if name != field}
