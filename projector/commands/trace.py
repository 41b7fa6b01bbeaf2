"""`trace`: from a record to the spans, and the message, that made it."""

from __future__ import annotations

from projector import schema
from projector.commands.explain import READ_SETTINGS, progress
from projector.environment import COMMON, Common, declared, opened, settings
from projector.errors import UsageError
from projector.output import console, print_json
from projector.tracing import SpanId, Way, find_events, find_offset, way_of

NOT_TRACED = "not traced (traces are recorded where OTEL_EXPORTER_OTLP_ENDPOINT is set)"


async def trace(
    what: str,
    /,
    *,
    last: int = 3,
    search_events: int = 2_000_000,
    common: Common = COMMON,
) -> None:
    """Show the way of a record: its events, where they came from, and the spans that did the work.

    Parameters
    ----------
    what
        The at-uri of a record, or an offset of the log.
    last
        How many events of a record to show, the latest first.
    search_events
        How many of the log's latest offsets to look through for them; 0: the whole log.
    """
    if last < 1 or search_events < 0:
        raise UsageError("--last must be 1 or more, --search-events 0 or more")
    declarations = declared()
    async with opened(common, settings()) as database:
        connection = await database.first_connect("trace", **READ_SETTINGS)
        try:
            await schema.check(connection, ())
            if what.isdecimal():
                events = [await find_offset(connection, int(what))]
            else:
                with progress() as report:
                    events = await find_events(connection, what, last, search_events, report)
            ways = [await way_of(connection, event, declarations) for event in events]
        finally:
            await connection.close()
    if common.json:
        print_json(ways)
        return
    for way in ways:
        _print(way)


def _print(way: Way) -> None:
    when = way.occurred_at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    _line(f"offset {way.log_offset:,}, {way.what} {way.of}", style="bold")
    _line(f"  message   {when} UTC, at {way.source_cursor or 'an unknown place'} of its source")
    if way.append is None:
        _line(f"  append    {NOT_TRACED}")
    else:
        stretch = way.append
        _line(f"  append    offsets {stretch.first:,} to {stretch.last:,}, {_of(stretch.span)}")
    for applied in way.applied:
        done = "" if applied.is_applied else ", yet to be applied"
        if applied.window is None:
            _line(f"  {applied.projection}: window {NOT_TRACED}{done}")
            continue
        window = applied.window
        _line(
            f"  {applied.projection}: window of offsets {window.first:,} to {window.last:,}, "
            f"{_of(window.span)}{done}"
        )
        for merge in applied.merges:
            _line(f"    merged into {merge.aggregate}, {_of(merge.span)}")


def _of(span: SpanId) -> str:
    return f"trace {span.trace_id} span {span.span_id}"


def _line(text: str, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, soft_wrap=True)
