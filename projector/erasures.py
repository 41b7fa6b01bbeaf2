"""The receipts of erasures against the log: what `verify` checks of them."""

from __future__ import annotations

from typing import Final

import asyncpg

from events.history import WholeLog
from events.log import read_head
from events.rows import times_in_microseconds
from projector.forget import ERASED, RANGE_EVENTS, is_marker, offsets_digest
from projector.logcheck import LogFault

RECEIPTS: Final = """
SELECT id, offsets, offsets_sha256, finished_at IS NOT NULL FROM projector.erasure ORDER BY id
"""
# A file that was replaced must not be what readers take.
STALE: Final = """
SELECT f.erasure, a.location FROM projector.erasure_file AS f
JOIN projector.log_archive AS a ON a.first_offset = f.first_offset AND a.sha256 = f.old_sha256
WHERE f.old_sha256 <> f.new_sha256 ORDER BY 1, 2
"""
AGAIN: Final = "projector forget DID, of the account in question, goes on"
TAMPERED: Final = "restore table projector.erasure from a backup"


async def check_erasures(connection: asyncpg.Connection) -> list[LogFault]:
    """Compares each receipt with the log: its offsets are empty markers, and no other is one.

    Faults: `erasure-unfinished`, `erasure-receipt-altered`, `erasure-undone` (an erased event is
    back), `erasure-unknown` (a marker without a receipt), `erasure-file-undone`.
    """
    await times_in_microseconds(connection)
    receipts = await connection.fetch(RECEIPTS)
    faults = []
    known: set[int] = set()
    for number, offsets, digest, finished in receipts:
        known.update(offsets)
        if not finished:
            text = f"erasure {number} was begun and not finished"
            faults.append(LogFault(name="erasure-unfinished", text=text, mend=AGAIN))
        if offsets_digest(offsets) != digest:
            text = f"the receipt of erasure {number} is not what was written"
            faults.append(LogFault(name="erasure-receipt-altered", text=text, mend=TAMPERED))
    markers = await _markers(connection)
    for number, offsets, _, finished in receipts:
        back = [offset for offset in offsets if offset not in markers] if finished else []
        if back:
            text = f"{len(back):,} events of erasure {number} are back, such as {back[0]:,}"
            faults.append(LogFault(name="erasure-undone", text=text, mend=AGAIN))
    if strange := sorted(markers - known):
        text = f"{len(strange):,} events are empty without a receipt, such as {strange[0]:,}"
        faults.append(LogFault(name="erasure-unknown", text=text, mend=TAMPERED))
    for number, location in await connection.fetch(STALE):
        text = f"{location} is from before erasure {number}"
        faults.append(LogFault(name="erasure-file-undone", text=text, mend=AGAIN))
    return faults


async def _markers(connection: asyncpg.Connection) -> set[int]:
    """The offsets of all empty markers, in the archive and the live log."""
    whole = WholeLog()
    markers: set[int] = set()
    head = await read_head(connection)
    try:
        for after in range(0, head, RANGE_EVENTS):
            through = min(after + RANGE_EVENTS, head)
            found = await whole.of_accounts(connection, [""], after, through)
            markers.update(e.log_offset for e in found if e.kind == ERASED and is_marker(e))
    finally:
        await whole.close()
    return markers
