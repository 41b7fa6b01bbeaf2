"""What posts embed → the tables `post_embed_…`, and `quote` where it is another post."""

from __future__ import annotations

from msgspec import UNSET, Raw

from events.event import Event
from projections.embeds import (
    External,
    Gallery,
    GalleryImage,
    Image,
    Images,
    Video,
    gallery_image,
    read_embed,
)
from projections.lexicon import StrongRef
from projections.rows import maybe, no_cid, storable
from projector.declare import Child, Children, Row

IMAGE_COLUMNS = ("postUri", "position", "imageCid", "alt")
EMBED_TABLES = (
    Child("post_embed_image", IMAGE_COLUMNS),
    Child("post_embed_external", ("postUri", "uri", "title", "description", "thumbCid")),
    Child("post_embed_record", ("postUri", "embedUri", "embedCid")),
    Child("post_embed_video", ("postUri", "videoCid", "alt")),
    Child("post_embed_gallery_image", IMAGE_COLUMNS),
    Child("quote", ("uri", "cid", "subject", "subjectCid", "createdAt", "indexedAt")),
)
Cells = tuple[Children | None, ...]
NO_EMBEDS: Cells = (None,) * len(EMBED_TABLES)


def embed_cells(event: Event, raw: Raw, created_at: str) -> Cells:
    """The rows of each of `EMBED_TABLES`. Raises unless it is an embed of a post."""
    uri = event.uri
    ref, media = read_embed(raw, "$.embed")
    images = external = video = gallery = None
    match media:
        case Images(images=found):
            images = tuple(_image_row(uri, at, image) for at, image in enumerate(found)) or None
        case External():
            external = (_external_row(uri, media),)
        case Video():
            video = ((uri, media.video.ref.link, maybe(media.alt)),)
        case Gallery(items=items):
            gallery = _gallery_rows(uri, items) or None
    records = ((uri, ref.uri, ref.cid),) if ref else None
    quotes = (_quote_row(event, ref, created_at),) if ref and is_post(ref.uri) else None
    return images, external, records, video, gallery, quotes


def is_post(uri: str) -> bool:
    """Whether an at-uri is that of a post."""
    return uri.split("/", 4)[3:4] == ["app.bsky.feed.post"]


def _image_row(uri: str, at: int, item: Image | GalleryImage) -> Row:
    return uri, str(at), item.image.ref.link, storable(item.alt)


def _external_row(uri: str, embed: External) -> Row:
    page = embed.external
    thumb = None if page.thumb is UNSET else page.thumb.ref.link
    return uri, storable(page.uri), storable(page.title), storable(page.description), thumb


def _gallery_rows(uri: str, items: list[Raw]) -> Children:
    # An item of an unknown type has a position, but no row.
    found = ((at, gallery_image(item)) for at, item in enumerate(items))
    return tuple(_image_row(uri, at, item) for at, item in found if item is not None)


def _quote_row(event: Event, ref: StrongRef, created_at: str) -> Row:
    cid = event.cid or no_cid()
    return event.uri, cid, ref.uri, ref.cid, created_at, event.indexed_at
