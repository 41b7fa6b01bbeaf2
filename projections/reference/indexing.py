"""How a record is put into its tables, replaced and removed, whatever its collection.

The algorithm of the AppView's indexer: a create never overwrites; an update is a delete and an
insert; who loses to another of the same claim is listed in `duplicate_record`, and of those one is
promoted when the holder is deleted, once.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from events.event import Event, to_time_us
from projections.reference.counting import recount
from projections.reference.notices import forget, notify
from projections.reference.reading import Item
from projections.reference.rules import Gone, Made, Rules
from projector.declare import InvalidRecord
from projector.effects import Doing, Effect, Refused, do

PUT_RECORD: Final = """
INSERT INTO record (uri, cid, did, json, "indexedAt") VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING
"""
CHANGE_RECORD: Final = 'UPDATE record SET cid = $2, json = $3, "indexedAt" = $4 WHERE uri = $1'
DROP_RECORD: Final = "DELETE FROM record WHERE uri = $1"
PUT_DUPLICATE: Final = """
INSERT INTO duplicate_record (uri, cid, "duplicateOf", "indexedAt") VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING
"""
CHANGE_DUPLICATE: Final = """
UPDATE duplicate_record SET cid = $2, "duplicateOf" = $3, "indexedAt" = $4 WHERE uri = $1
"""
DROP_DUPLICATE: Final = "DELETE FROM duplicate_record WHERE uri = $1"
NEXT: Final = """
SELECT r.uri, r.cid, r.json, r."indexedAt" FROM duplicate_record AS d JOIN record AS r USING (uri)
WHERE d."duplicateOf" = $1 ORDER BY d."indexedAt", d.uri LIMIT 1
"""


def create(rules: Rules, event: Event) -> Effect:
    """The record is kept, unless there is one of its uri."""
    yield from _create(rules, rules.read(event))


def _create(rules: Rules, item: Item) -> Effect:
    event = item.event
    yield from do(PUT_RECORD, event.uri, event.cid, event.did, item.json, event.indexed_at)
    made = yield from rules.insert(item)
    if made is not None:
        yield from _settle(rules, event, None, made)
        return
    holder = yield from rules.holder(item)
    if holder is not None and holder != event.uri:
        yield from do(PUT_DUPLICATE, event.uri, event.cid, holder, event.indexed_at)


def update(rules: Rules, event: Event) -> Effect:
    """The record takes the place of what was indexed of its uri; if nothing was, as a create."""
    item = rules.read(event)
    uri, cid, at = event.uri, event.cid, event.indexed_at
    yield from do(CHANGE_RECORD, uri, cid, item.json, at)
    holder = yield from rules.holder(item)
    if holder is None:
        yield from do(DROP_DUPLICATE, uri)
    else:
        yield from do(CHANGE_DUPLICATE, uri, cid, holder, at)
    gone = yield from rules.delete(event)
    if gone is None:
        yield from _create(rules, item)
        return
    made = yield from rules.insert(item)
    if made is None:
        raise Refused("the record was removed, but its new form cannot be put in its place")
    yield from _settle(rules, event, gone, made)


def delete(rules: Rules, event: Event) -> Effect:
    """The record goes; the first of those that lost to it takes its place."""
    yield from do(DROP_RECORD, event.uri)
    yield from do(DROP_DUPLICATE, event.uri)
    gone = yield from rules.delete(event)
    if gone is None:
        return
    made = (yield from _promote(rules, event.uri)) if rules.promotes else None
    yield from _settle(rules, event, gone, made)


def _promote(rules: Rules, uri: str) -> Doing[Made | None]:
    for loser, cid, json, indexed_at in (yield from do(NEXT, uri)):
        try:
            item = rules.read(_event_of(loser, cid, json, indexed_at))
        except InvalidRecord:
            return None
        return (yield from rules.insert(item))
    return None


def _event_of(uri: str, cid: str, json: str, indexed_at: str) -> Event:
    """What is kept of a record, as the event that brought it."""
    did, collection, rkey = uri.removeprefix("at://").split("/", 2)
    time_us = to_time_us(datetime.fromisoformat(indexed_at))
    return Event(0, did, "commit", "create", collection, rkey, None, cid, json.encode(), time_us)


def _settle(rules: Rules, event: Event, gone: Gone | None, made: Made | None) -> Effect:
    """Counts and notifications, once the tables are as they are to be."""
    yield from recount(rules.counts, [change.row for change in (gone, made) if change])
    notices = made.notices if made and (gone is None or rules.renews) else []
    if gone is not None:
        notices = gone.notices + notices
        if rules.forgets and (made is None or rules.renews):
            yield from forget(event.uri)
    yield from notify(notices)
