"""What a post may embed (lexicons `app.bsky.embed.*`): checked, but kept by no table of ours."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Raw, UnsetType

from projections.blobs import Blob, check_blob
from projections.lexicon import (
    OpenUnion,
    Positive,
    StrongRef,
    Typed,
    check_language,
    check_ref,
    check_uri,
)

IMAGE_BYTES_MAX = 2_000_000
THUMB_BYTES_MAX = 1_000_000
VIDEO_BYTES_MAX = 300_000_000
CAPTION_BYTES_MAX = 20_000


class AspectRatio(Typed, gc=False, tag="app.bsky.embed.defs#aspectRatio"):
    """Width to height; of no particular unit."""

    width: Positive
    height: Positive


class Image(Typed, gc=False, tag="app.bsky.embed.images#image"):
    """One of at most four images."""

    image: Blob
    alt: str
    aspectRatio: AspectRatio | UnsetType = UNSET


class Images(Typed, gc=False, tag="app.bsky.embed.images"):
    """Images; there may be none."""

    images: Annotated[list[Image], Meta(max_length=4)]


class GalleryImage(Typed, gc=False, tag="app.bsky.embed.gallery#image"):
    """The one known kind of gallery item."""

    image: Blob
    alt: str
    aspectRatio: AspectRatio


class Gallery(Typed, gc=False, tag="app.bsky.embed.gallery"):
    """Items of an open union."""

    items: Annotated[list[Raw], Meta(max_length=20)]


class Page(Typed, gc=False, tag="app.bsky.embed.external#external"):
    """A page of the web, and the card that shows it."""

    uri: str
    title: str
    description: str
    thumb: Blob | UnsetType = UNSET
    associatedRefs: list[StrongRef] | UnsetType = UNSET


class External(Typed, gc=False, tag="app.bsky.embed.external"):
    """A link to a page of the web."""

    external: Page


class Caption(Typed, gc=False, tag="app.bsky.embed.video#caption"):
    """Subtitles in one language."""

    lang: str
    file: Blob


class Video(Typed, gc=False, tag="app.bsky.embed.video"):
    """One video."""

    video: Blob
    captions: Annotated[list[Caption], Meta(max_length=20)] | UnsetType = UNSET
    alt: str | UnsetType = UNSET
    aspectRatio: AspectRatio | UnsetType = UNSET
    presentation: str | UnsetType = UNSET


class Record(Typed, gc=False, tag="app.bsky.embed.record"):
    """A quote of a post, or a card of a feed, list, …"""

    record: StrongRef


class RecordWithMedia(Typed, gc=False, tag="app.bsky.embed.recordWithMedia"):
    """A record beside an embed of one of the other kinds."""

    record: Record
    media: Raw


_GALLERY_ITEM = OpenUnion(GalleryImage)
_MEDIA = OpenUnion(Images | Video | Gallery | External)
_EXTERNAL = OpenUnion(External)
_EMBED = OpenUnion(Images | Video | Gallery | External | Record | RecordWithMedia)


def read_embed(raw: Raw, path: str) -> tuple[StrongRef | None, Typed | None]:
    """The record and the media that a post embeds; of an unknown type there is neither.

    Raises unless it is an embed of a post.
    """
    match _EMBED.decode(raw, path):
        case Record(record=record):
            check_ref(record, f"{path}.record")
            return record, None
        case RecordWithMedia(record=inner, media=raw_media):
            check_ref(inner.record, f"{path}.record.record")
            media = _MEDIA.decode(raw_media, f"{path}.media")
            _check_media(media, f"{path}.media")
            return inner.record, media
        case media:
            _check_media(media, path)
            return None, media


def check_external(raw: Raw, path: str) -> None:
    """Raises unless it is an external embed; one of an unknown type is."""
    _check_media(_EXTERNAL.decode(raw, path), path)


def _check_media(media: Typed | None, path: str) -> None:
    match media:
        case Images(images=images):
            for at, image in enumerate(images):
                check_blob(image.image, f"{path}.images[{at}].image", "image/", IMAGE_BYTES_MAX)
        case External(external=page):
            _check_page(page, f"{path}.external")
        case Video():
            _check_video(media, path)
        case Gallery(items=items):
            for at, item in enumerate(items):
                _check_gallery_item(item, f"{path}.items[{at}]")


def _check_page(page: Page, path: str) -> None:
    check_uri(page.uri, f"{path}.uri")
    if page.thumb is not UNSET:
        check_blob(page.thumb, f"{path}.thumb", "image/", THUMB_BYTES_MAX)
    if page.associatedRefs is not UNSET:
        for at, ref in enumerate(page.associatedRefs):
            check_ref(ref, f"{path}.associatedRefs[{at}]")


def _check_video(video: Video, path: str) -> None:
    check_blob(video.video, f"{path}.video", "video/mp4", VIDEO_BYTES_MAX)
    if video.captions is not UNSET:
        for at, caption in enumerate(video.captions):
            check_language(caption.lang, f"{path}.captions[{at}].lang")
            check_blob(caption.file, f"{path}.captions[{at}].file", "text/vtt", CAPTION_BYTES_MAX)


def _check_gallery_item(raw: Raw, path: str) -> None:
    if (item := gallery_image(raw, path)) is not None:
        check_blob(item.image, f"{path}.image", "image/", IMAGE_BYTES_MAX)


def gallery_image(raw: Raw, path: str = "$") -> GalleryImage | None:
    """The image that an item of a gallery is; None for an item of an unknown type."""
    item = _GALLERY_ITEM.decode(raw, path)
    return item if isinstance(item, GalleryImage) else None
