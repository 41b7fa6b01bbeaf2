"""Which spans are kept: what the standard variables say, and whatever comes of what was kept."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    Decision,
    Sampler,
    SamplingResult,
)
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes


class LinkedSampler(Sampler):
    """Keeps a span whose parent, or one of whose links, is kept; else asks the standard sampler.

    So a share of the batches that were received (`OTEL_TRACES_SAMPLER=traceidratio`) is followed
    through the log into its windows and merges, each of which is a trace of its own.
    """

    def __init__(self, standard: Sampler) -> None:
        self._standard = standard

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """See the class."""
        parent = get_current_span(parent_context).get_span_context()
        contexts = [parent, *(link.context for link in links or ())]
        if any(context.is_valid and context.trace_flags.sampled for context in contexts):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, parent.trace_state)
        return self._standard.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        """The name of the sampler."""
        return f"Linked({self._standard.get_description()})"


def linked(standard: Sampler) -> Sampler:
    """The standard sampler, with what comes of what it keeps; off means off."""
    return standard if standard is ALWAYS_OFF else LinkedSampler(standard)
