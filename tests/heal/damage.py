"""Damage done to the tables by hand, as an operator, a bug or a bad disk may do it."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg
from hypothesis import strategies as st

from tests.support.harness import CLAIMING, PROJECTIONS
from tests.support.histories import DIDS

TABLES = [f'bsky."{p.table.name}"' for p in PROJECTIONS]
SHELVES = [f'projector."duplicate_{p.table.name}"' for p in CLAIMING]
VERSIONS = [f'projector."version_{p.name}"' for p in PROJECTIONS]

# {0} is a table, $1 which of its rows, counted round.
NTH = (
    "uri = (SELECT uri FROM {0} ORDER BY uri OFFSET ($1::int % (SELECT count(*) FROM {0})) LIMIT 1)"
)
DELETE = f"DELETE FROM {{0}} WHERE {NTH}"
ROW_DAMAGE = {
    "row deleted": DELETE,
    "cid altered": f"UPDATE {{0}} SET cid = 'bafyaltered' WHERE {NTH}",
    "moment altered": f"""UPDATE {{0}} SET "indexedAt" = '2020-01-01T00:00:00.000Z' WHERE {NTH}""",
    "creator altered": f"UPDATE {{0}} SET creator = '{DIDS[3]}' WHERE {NTH}",
}
OTHER_DAMAGE = {
    "list row deleted": DELETE.replace("{0}", "bsky.duplicate_record"),
    "list row altered": (f"""UPDATE {{0}} SET "duplicateOf" = 'at://x/y/z' WHERE {NTH}""").replace(
        "{0}", "bsky.duplicate_record"
    ),
    "counter up": """UPDATE bsky.profile_agg SET "followersCount" = "followersCount" + 1
        WHERE did = (SELECT did FROM bsky.profile_agg ORDER BY did LIMIT 1 OFFSET $1::int % 3)""",
    "counter down": """UPDATE bsky.profile_agg SET "followersCount" = "followersCount" - 1
        WHERE did = (SELECT did FROM bsky.profile_agg ORDER BY did LIMIT 1 OFFSET $1::int % 3)""",
    "counters gone": """DELETE FROM bsky.post_agg
        WHERE uri = (SELECT uri FROM bsky.post_agg ORDER BY uri LIMIT 1 OFFSET $1::int % 3)""",
    "counter of nothing": f"""INSERT INTO bsky.post_agg (uri, "likeCount")
        SELECT 'at://{DIDS[1]}/app.bsky.feed.post/none' || $1::int, 7 ON CONFLICT DO NOTHING""",
    "deltas lost": """DELETE FROM projector.outbox WHERE (aggregate, id) = (
        SELECT aggregate, id FROM projector.outbox ORDER BY id LIMIT 1 OFFSET $1::int % 5)""",
}


@dataclass(frozen=True, slots=True)
class Damage:
    """One damage: what, where, and to which row."""

    what: str
    place: int
    row: int


KINDS = (*ROW_DAMAGE, *OTHER_DAMAGE, "row added", "rev deleted", "rev altered", "shelf row deleted")
damages = st.lists(
    st.builds(Damage, st.sampled_from(KINDS), st.integers(0, 60), st.integers(0, 60)),
    min_size=1,
    max_size=6,
)


async def do(connection: asyncpg.Connection, damage: Damage) -> None:
    """Does the damage; where a constraint forbids it, or nothing is there, it does nothing."""
    try:
        async with connection.transaction():
            await connection.execute(statement(damage), damage.row)
    except (asyncpg.UniqueViolationError, asyncpg.DivisionByZeroError):
        return


def statement(damage: Damage) -> str:
    """The SQL of a damage to something that is there; $1 is which."""
    if damage.what in ROW_DAMAGE:
        places = [*TABLES, *SHELVES]
        return ROW_DAMAGE[damage.what].replace("{0}", places[damage.place % len(places)])
    if damage.what == "shelf row deleted":
        return DELETE.replace("{0}", SHELVES[damage.place % len(SHELVES)])
    if damage.what.startswith("rev"):
        table = VERSIONS[damage.place % len(VERSIONS)]
        if damage.what == "rev deleted":
            return DELETE.replace("{0}", table)
        return f"UPDATE {{0}} SET rev = '2222222222222' WHERE {NTH}".replace("{0}", table)
    if damage.what == "row added":
        at = damage.place % len(TABLES)
        others = ", ".join(f'"{c}"' for c in PROJECTIONS[at].table.columns if c != "uri")
        return (
            f"INSERT INTO {{0}} (uri, {others}) SELECT 'at://{DIDS[2]}/x.y/added', {others}"
            f" FROM {{0}} WHERE {NTH} ON CONFLICT DO NOTHING"
        ).replace("{0}", TABLES[at])
    return OTHER_DAMAGE[damage.what]
