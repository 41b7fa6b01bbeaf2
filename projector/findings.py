"""Findings: the keys that differ, kept in the database for `heal`, `status` and the next look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg

from projector.prove import Verdict

KNOWN: Final = """
SELECT projection, did, uri, part FROM projector.finding
WHERE projection = ANY($1::text[]) AND ($2::text[] IS NULL OR did = ANY($2))
"""
FORGET: Final = """
DELETE FROM projector.finding AS f
USING unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS g(projection, did, uri, part)
WHERE (f.projection, f.did, f.uri, f.part) = (g.projection, g.did, g.uri, g.part)
"""
PUT: Final = """
INSERT INTO projector.finding (projection, did, uri, part, kind, columns, log_offset, as_of)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (did, projection, uri, part) DO UPDATE
SET kind = excluded.kind, columns = excluded.columns, log_offset = excluded.log_offset,
    as_of = excluded.as_of
"""


async def put_findings(
    connection: asyncpg.Connection, verdicts: Sequence[Verdict], dids: Sequence[str] | None = None
) -> int:
    """Writes what was found in place of what was found before: of these accounts, or of all.

    To be called in a transaction. A finding that is found again keeps its `found_at`. Returns how
    many findings these are.
    """
    names = [verdict.subject.projection.name for verdict in verdicts]
    rows = [
        (d.projection, d.did, d.uri, d.part, d.kind, list(d.columns), d.log_offset,
         verdict.subject.through)
        for verdict in verdicts for d in verdict.differences
    ]  # fmt: skip
    still = {row[:4] for row in rows}
    old = await connection.fetch(KNOWN, names, None if dids is None else list(dids))
    gone = [key for key in map(tuple, old) if key not in still]
    if gone:
        await connection.execute(FORGET, *map(list, zip(*gone, strict=True)))
    if rows:
        await connection.executemany(PUT, rows)
    return len(rows)
