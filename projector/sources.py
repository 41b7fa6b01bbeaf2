"""What an operator writes as a source or a target, made into one."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from events.errors import SourceError
from events.event import Batch, Limits, Source, Wanted
from events.jetstream_wire import JetstreamDecoder
from events.log import Appended
from events.redis_wire import RedisDecoder
from events.sources.file import FileSource
from events.sources.generate import GenerateSource
from events.sources.jetstream import JetstreamSource
from events.sources.jetstream_url import parse_source
from projector import tally
from projector.database import masked
from projector.errors import HeldByAnother, UsageError
from projector.settings import Settings
from projector.telemetry import forward_span

# The client of Redis is imported only where there is a Redis: it takes as long as all the rest.
if TYPE_CHECKING:
    from events.sources.redis import RedisSource

log = logging.getLogger(__name__)

Decoder = JetstreamDecoder | RedisDecoder

FORMS = (
    "jetstream, wss://HOST/subscribe, redis://HOST:PORT/0?stream=NAME, file:PATH or "
    "generate:events=200000,seed=1"
)


def limits_of(settings: Settings) -> Limits:
    """The decoders' limits."""
    return Limits(
        message_bytes_max=settings.message_bytes_max,
        nesting_levels_max=settings.nesting_levels_max,
        did_bytes_max=settings.did_bytes_max,
        collection_bytes_max=settings.collection_bytes_max,
        rkey_bytes_max=settings.rkey_bytes_max,
    )


def wanted_of(settings: Settings) -> Wanted:
    """The wanted collections."""
    return Wanted([part.strip() for part in settings.collections.split(",") if part.strip()])


def source_of(text: str, settings: Settings) -> Source:
    """The source that `text` names. Raises `UsageError` for a text that names none."""
    try:
        return _source(text, settings)
    except SourceError as error:
        raise UsageError(str(error)) from error


def _source(text: str, settings: Settings) -> Source:
    scheme = text.partition(":")[0]
    if scheme == "generate":
        return GenerateSource.parse(text.partition(":")[2], settings.batch_events_max)
    if scheme == "file":
        return FileSource(
            Path(text.removeprefix("file:").removeprefix("//")).expanduser(),
            limits=limits_of(settings),
            wanted=wanted_of(settings),
            batch_events=settings.batch_events_max,
            report=say,
        )
    if scheme in ("jetstream", "ws", "wss"):
        return _jetstream(text, settings)
    if is_stream(text):
        return _redis(text, settings)
    raise UsageError(f"{masked(text)!r} is no source; there are: {FORMS}")


def addressed(text: str, settings: Settings) -> str:
    """The text, with the password of the settings where it is an address of Redis without one.

    Show it by `masked` only.
    """
    if not settings.redis_password or not is_stream(text):
        return text
    scheme, _, rest = text.partition("://")
    user, at, _ = rest.partition("/")[0].rpartition("@")
    if ":" in user:
        return text
    secret = f"{user}:{quote(settings.redis_password, safe='')}@"
    return f"{scheme}://{secret}{rest.removeprefix(user + at)}"


def is_stream(text: str) -> bool:
    """Whether a source or a target is a Redis stream."""
    return text.partition(":")[0] in ("redis", "rediss", "unix")


def _jetstream(text: str, settings: Settings) -> JetstreamSource:
    name, hosts = parse_source(text)
    dictionary = settings.zstd_dictionary
    return JetstreamSource(
        hosts,
        name=name,
        wanted=wanted_of(settings),
        limits=limits_of(settings),
        report=say,
        on_lost=lambda: tally.RECONNECTS.add(1, name),
        batch_events_max=settings.batch_events_max,
        queue_messages_max=settings.queue_messages_max,
        queue_bytes_max=settings.queue_bytes_max,
        rewind_seconds=settings.rewind_seconds,
        silent_seconds=settings.silent_seconds,
        backoff_seconds_max=settings.backoff_seconds_max,
        linger_ms=settings.linger_ms,
        zstd_dictionary=Path(dictionary) if dictionary else None,
    )


def _redis(text: str, settings: Settings) -> RedisSource:
    from events.sources.redis import RedisSource, parse_place

    place = parse_place(text, settings.stream_group)
    return RedisSource(
        place.url,
        place.stream,
        group=place.group,
        after_group=place.after_group,
        consumer="projector",
        limits=limits_of(settings),
        wanted=wanted_of(settings),
        report=say,
        on_lost=lambda: tally.RECONNECTS.add(1, place.name),
        batch_events_max=settings.batch_events_max,
        trim=settings.stream_trim,
        backoff_seconds=(0.1, settings.backoff_seconds_max),
    )


def say(line: str) -> None:
    """Passes on what a source has to say to the operator."""
    log.warning("%s", line)


class StreamTarget:
    """A Redis stream as the target of an ingest: the cursor of the source is kept beside it."""

    def __init__(self, text: str, source: Source, settings: Settings) -> None:
        from events.streams.link import parse_place
        from events.streams.sink import RedisSink

        try:
            place = parse_place(text)
            if place.after_group:
                raise UsageError("after_group is for a stream that is read; leave it out of --to")
            self._sink = RedisSink(
                place.url,
                place.stream,
                report=say,
                on_lost=lambda: tally.RECONNECTS.add(1, place.name),
                entries_max=settings.stream_entries_max,
            )
        except SourceError as error:
            raise UsageError(str(error)) from error
        self.source = source.name
        self._cursor: str | None = None

    @property
    def signs(self) -> tuple[str, ...]:
        """None: it waits for room in the stream as long as it takes."""
        return ()

    async def open(self) -> str | None:
        """Returns the cursor saved in Redis."""
        self._cursor = await self._sink.cursor(self.source)
        return self._cursor

    async def put(self, batch: Batch) -> Appended:
        """Writes a batch and its cursor; waits while the stream is full."""
        from events.streams.sink import SourceClaimed

        begun = time.monotonic()
        with forward_span(self.source, self._sink.name, batch) as span:
            try:
                trace = span.traceparent()
                await self._sink.append(self.source, self._cursor, batch, trace=trace)
            except SourceClaimed as error:
                raise HeldByAnother(str(error)) from error
            seconds = time.monotonic() - begun
            tally.APPEND_SECONDS.add(seconds, self.source, trace_id=tally.current_trace())
        self._cursor = batch.cursor
        return Appended(1, len(batch.events), 0, len(batch.dead))

    async def last_entry(self) -> str | None:
        """The id of the last entry ever added to the stream."""
        return await self._sink.last_entry()

    async def close(self) -> None:
        """Closes the connection."""
        await self._sink.close()


def decoders_of(source: str | None, settings: Settings) -> list[Decoder]:
    """The decoders that may read a message which came from `source`, the likeliest first."""
    jetstream = JetstreamDecoder(limits_of(settings), wanted_of(settings))
    redis = RedisDecoder(limits_of(settings), wanted_of(settings))
    return [redis, jetstream] if is_stream(source or "") else [jetstream]
