"""What a post says about its text: facets, the entities before them, tags, languages, labels."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, json

from projections.lexicon import (
    Natural,
    OpenUnion,
    Typed,
    check_bytes,
    check_did,
    check_language,
    check_text,
    check_uri,
)

TAG_BYTES_MAX = 640
TAG_GRAPHEMES_MAX = 64
LABEL_BYTES_MAX = 128


class ByteSlice(Typed, gc=False, tag="app.bsky.richtext.facet#byteSlice"):
    """A part of the text, in bytes; it may end before it starts, or after the text."""

    byteStart: Natural
    byteEnd: Natural


class Facet(Typed, gc=False, tag="app.bsky.richtext.facet"):
    """What a part of the text is; the features are of an open union."""

    index: ByteSlice
    features: list[Raw]


class Mention(Typed, gc=False, tag="app.bsky.richtext.facet#mention"):
    """The account that is mentioned."""

    did: str


class Link(Typed, gc=False, tag="app.bsky.richtext.facet#link"):
    """Where it leads."""

    uri: str


class Tag(Typed, gc=False, tag="app.bsky.richtext.facet#tag"):
    """A tag, without the sign in front of it."""

    tag: str


class TextSlice(Typed, gc=False, tag="app.bsky.feed.post#textSlice"):
    """A part of the text, in UTF-16 code units."""

    start: Natural
    end: Natural


class Entity(Typed, gc=False, tag="app.bsky.feed.post#entity"):
    """What came before facets; still checked where there is one."""

    index: TextSlice
    type: str
    value: str


class SelfLabel(Typed, gc=False, tag="com.atproto.label.defs#selfLabel"):
    """One label."""

    val: str


class SelfLabels(Typed, gc=False, tag="com.atproto.label.defs#selfLabels"):
    """The labels that an author puts on the own post."""

    values: Annotated[list[SelfLabel], Meta(max_length=10)]


_FEATURE = OpenUnion(Mention | Link | Tag)
_LABELS = OpenUnion(SelfLabels)


def check_facets(facets: list[Facet], path: str) -> list[str]:
    """The accounts that are mentioned, each once. Raises unless every feature of a known type is as
    its lexicon says."""
    mentioned: dict[str, None] = {}
    for at, facet in enumerate(facets):
        for of, feature in enumerate(facet.features):
            did = _check_feature(feature, f"{path}[{at}].features[{of}]")
            if did is not None:
                mentioned[did] = None
    return list(mentioned)


class _WithFacets(Struct):
    descriptionFacets: Raw


_decode_facets = json.Decoder(_WithFacets).decode


def facets_json(facets: list[Facet] | UnsetType, record: bytes | None, path: str) -> str | None:
    """The JSON of a description's facets, without white space; None where there are none.

    Raises as `check_facets`.
    """
    if facets is UNSET:
        return None
    check_facets(facets, path)
    raw = bytes(_decode_facets(record or b"").descriptionFacets)
    return json.format(raw, indent=-1).decode()


def check_labels(raw: Raw, path: str) -> None:
    """Raises unless it is a set of labels; one of an unknown type is."""
    match _LABELS.decode(raw, path):
        case SelfLabels(values=labels):
            for at, label in enumerate(labels):
                check_bytes(label.val, f"{path}.values[{at}].val", LABEL_BYTES_MAX)


def check_tags(tags: list[str], path: str) -> None:
    """Raises if a tag is too long."""
    for at, tag in enumerate(tags):
        check_text(tag, f"{path}[{at}]", TAG_BYTES_MAX, TAG_GRAPHEMES_MAX)


def check_languages(languages: list[str], path: str) -> None:
    """Raises unless each is a language tag."""
    for at, language in enumerate(languages):
        check_language(language, f"{path}[{at}]")


def _check_feature(raw: Raw, path: str) -> str | None:
    """The account that a feature mentions."""
    match _FEATURE.decode(raw, path):
        case Link(uri=uri):
            check_uri(uri, f"{path}.uri")
        case Mention(did=did):
            check_did(did, f"{path}.did")
            return did
        case Tag(tag=tag):
            check_text(tag, f"{path}.tag", TAG_BYTES_MAX, TAG_GRAPHEMES_MAX)
    return None
