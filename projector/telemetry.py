"""Traces: a span per append and per applied window, exported by OTLP when the environment asks.

Not per event, and not by instrumenting asyncpg (which makes queries several times slower).
Without `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or
`OTEL_TRACES_EXPORTER=otlp` nothing is recorded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from projector import __version__
from projector.fold import Window

LINKS_MAX: Final = 128
"""The most links from one window to the appends whose events it holds."""

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

    name = os.environ.get("OTEL_SERVICE_NAME", "projector")
    provider = TracerProvider(
        resource=Resource.create({"service.name": name, "service.version": __version__})
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()


class AppendSpan:
    """The span of one append."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def traceparent(self) -> str | None:
        """The W3C traceparent of the span, to be kept with the offsets; None when not recorded."""
        if not self._span.is_recording():
            return None
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, trace.set_span_in_context(self._span))
        return carrier.get("traceparent")

    def appended(self, first: int, last: int, duplicates: int, dead: int, size: int) -> None:
        """Says what was appended: offsets, counts, and the size of the messages in bytes."""
        if self._span.is_recording():
            self._span.set_attributes(
                {
                    "projector.offset.first": first,
                    "projector.offset.last": last,
                    "projector.events": max(last - first + 1, 0),
                    "projector.duplicates": duplicates,
                    "projector.dead_letters": dead,
                    "projector.message_bytes": size,
                }
            )


@contextmanager
def append_span(source: str) -> Iterator[AppendSpan]:
    """A span around the append of one batch of `source`."""
    attributes = {"projector.source": source}
    with _tracer().start_as_current_span("append", attributes=attributes) as span:
        yield AppendSpan(span)


class WorkSpan:
    """The span of one applied window, or of one merge of deltas."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def did(self, **counts: int) -> None:
        """Says what was done; each count becomes the attribute `projector.<name>`."""
        if self._span.is_recording():
            self._span.set_attributes({f"projector.{name}": n for name, n in counts.items()})


@contextmanager
def apply_span(projection: str, window: Window, appends: Sequence[str]) -> Iterator[WorkSpan]:
    """A span around one window, linked to the appends (W3C traceparents) its events came by."""
    contexts = (
        trace.get_current_span(_PROPAGATOR.extract({"traceparent": parent})).get_span_context()
        for parent in appends[:LINKS_MAX]
    )
    attributes: dict[str, str | int] = {
        "projector.projection": projection,
        "projector.offset.after": window.after,
        "projector.offset.through": window.through,
        "projector.events": window.events,
    }
    with _tracer().start_as_current_span(
        "apply", attributes=attributes, links=[trace.Link(context) for context in contexts]
    ) as span:
        yield WorkSpan(span)


@contextmanager
def merge_span(aggregate: str) -> Iterator[WorkSpan]:
    """A span around one merge of deltas into an aggregate."""
    attributes = {"projector.projection": aggregate}
    with _tracer().start_as_current_span("merge", attributes=attributes) as span:
        yield WorkSpan(span)


def is_recorded() -> bool:
    """Whether spans go anywhere, so that work done only for them is worth it."""
    nowhere = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)
    return not isinstance(trace.get_tracer_provider(), nowhere)


def _tracer() -> trace.Tracer:
    return trace.get_tracer("projector", __version__)
