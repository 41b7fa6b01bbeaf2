"""A real receiver of OTLP over HTTP, that keeps the spans it is sent."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

Link = tuple[bytes, bytes]
"""A trace's id and a span's."""


@dataclass(frozen=True, slots=True)
class Span:
    """A span as it came over the wire."""

    name: str
    service: str
    id: Link
    parent: Link | None
    links: list[Link]
    attributes: dict[str, int | str]


class Collector:
    """Listens on loopback while its `with` lasts."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                assert self.path == "/v1/traces"
                collector.spans += spans_of(ExportTraceServiceRequest.FromString(body))
                reply = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def url(self) -> str:
        """What goes into OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def named(self, name: str) -> list[Span]:
        """The spans of one name."""
        return [span for span in self.spans if span.name == name]


def spans_of(request: ExportTraceServiceRequest) -> list[Span]:
    """What a request holds."""
    found = []
    for resource in request.resource_spans:
        named = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
        found += [
            Span(
                span.name,
                named["service.name"],
                (span.trace_id, span.span_id),
                (span.trace_id, span.parent_span_id) if span.parent_span_id else None,
                [(link.trace_id, link.span_id) for link in span.links],
                {
                    pair.key: pair.value.int_value
                    if pair.value.HasField("int_value")
                    else pair.value.string_value
                    for pair in span.attributes
                },
            )
            for scope in resource.scope_spans
            for span in scope.spans
        ]
    return found
