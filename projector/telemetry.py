"""Traces: a span a batch, append, window and merge, exported by OTLP when the environment asks.

receive → forward (into Redis), or receive → append, are one trace each. From there on one piece of
work serves many: an append's receipt is linked to the forwards its messages came by, a window to
its appends, a merge to its windows. The context travels in the stream's entries and in tables.

Not per event, and not by instrumenting asyncpg (which makes queries several times slower).
Without `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or
`OTEL_TRACES_EXPORTER=otlp` nothing is recorded.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from events.event import TRACES_MAX, Batch
from projector import __version__
from projector.fold import Window

Attributes = Mapping[str, str | int | float]

_PROPAGATOR: Final = TraceContextTextMapPropagator()


def is_asked_for(environment: Mapping[str, str]) -> bool:
    """Whether the standard variables ask for traces by OTLP."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    if exporter:
        return "otlp" in exporter.split(",")
    return bool(
        environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        or environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    )


@contextmanager
def exported() -> Iterator[None]:
    """Exports traces, where the environment asks for it, for as long as it lasts."""
    if not is_asked_for(os.environ):
        yield
        return
    # Only now: they take a while, and most commands export nothing.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from projector.sampling import linked

    name = os.environ.get("OTEL_SERVICE_NAME", "projector")
    provider = TracerProvider(
        resource=Resource.create({"service.name": name, "service.version": __version__})
    )
    provider.sampler = linked(provider.sampler)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()


class WorkSpan:
    """The span of one piece of work."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def traceparent(self) -> str | None:
        """The W3C traceparent of the span, to be kept with what it made; None when not recorded."""
        if not self._span.is_recording():
            return None
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, trace.set_span_in_context(self._span))
        return carrier.get("traceparent")

    def did(self, **counts: int) -> None:
        """Says what was done; each count becomes the attribute `projector.<name>`."""
        if self._span.is_recording():
            self._span.set_attributes({f"projector.{name}": n for name, n in counts.items()})

    def appended(self, first: int, last: int, duplicates: int, dead: int, size: int) -> None:
        """Says what was appended: offsets, counts, and the size of the messages in bytes."""
        self.did(
            **{"offset.first": first, "offset.last": last},
            events=max(last - first + 1, 0),
            duplicates=duplicates,
            dead_letters=dead,
            message_bytes=size,
        )


@contextmanager
def receive_span(source: str, batch: Batch) -> Iterator[WorkSpan]:
    """A span around all that is done with one batch of `source`, from its receipt on.

    Linked to what put its messages where they were read. It has the source's own places of the
    first and the last message, by which one finds them there.
    """
    attributes: dict[str, str | int | float] = {
        "projector.source": source,
        "projector.cursor": batch.cursor,
        "projector.events": len(batch.events),
        "projector.message_bytes": batch.message_bytes,
    }
    if batch.events:
        first, last = batch.events[0], batch.events[-1]
        attributes["projector.cursor.first"] = first.source_cursor
        attributes["projector.cursor.last"] = last.source_cursor
        attributes["projector.age_seconds"] = round(time.time() - last.time_us / 1_000_000, 3)
    with _span("receive", attributes, _links(batch.traces)) as span:
        yield span


@contextmanager
def append_span(source: str) -> Iterator[WorkSpan]:
    """A span around the append of one batch of `source`."""
    with _span("append", {"projector.source": source}) as span:
        yield span


@contextmanager
def forward_span(source: str, stream: str, batch: Batch) -> Iterator[WorkSpan]:
    """A span around the writing of one batch of `source` into a stream."""
    attributes: Attributes = {
        "projector.source": source,
        "projector.stream": stream,
        "projector.events": len(batch.events),
        "projector.dead_letters": len(batch.dead),
    }
    with _span("forward", attributes) as span:
        yield span


@contextmanager
def apply_span(projection: str, window: Window, appends: Sequence[str]) -> Iterator[WorkSpan]:
    """A span around one window, linked to the appends (W3C traceparents) its events came by."""
    attributes: Attributes = {
        "projector.projection": projection,
        "projector.offset.after": window.after,
        "projector.offset.through": window.through,
        "projector.events": window.events,
    }
    with _span("apply", attributes, _links(appends)) as span:
        yield span


@contextmanager
def merge_span(aggregate: str, begun_ns: int, windows: Sequence[str]) -> Iterator[WorkSpan]:
    """The span of one merge of deltas into an aggregate, linked to the windows they are of.

    It is made once the merge is done, since only then it is known what was there to be merged.
    """
    attributes = {"projector.projection": aggregate}
    with _span("merge", attributes, _links(windows), begun_ns) as span:
        yield span


def is_recorded() -> bool:
    """Whether spans go anywhere, so that work done only for them is worth it."""
    nowhere = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)
    return not isinstance(trace.get_tracer_provider(), nowhere)


@contextmanager
def _span(
    name: str,
    attributes: Attributes,
    links: Sequence[trace.Link] = (),
    begun_ns: int | None = None,
) -> Iterator[WorkSpan]:
    with trace.get_tracer("projector", __version__).start_as_current_span(
        name, attributes=attributes, links=links, start_time=begun_ns
    ) as span:
        yield WorkSpan(span)


def _links(traceparents: Sequence[str]) -> list[trace.Link]:
    """Links to those spans; what is no traceparent is passed over."""
    contexts = (
        trace.get_current_span(_PROPAGATOR.extract({"traceparent": text})).get_span_context()
        for text in traceparents[:TRACES_MAX]
    )
    return [trace.Link(context) for context in contexts if context.is_valid]
