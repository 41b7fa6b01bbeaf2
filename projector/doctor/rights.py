"""Rights: what the role in use may do of `init`, `ingest` and `run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from projector.doctor.finding import Case, Finding
from projector.snapshots import tables_of

AREA: Final = "rights"
SHOWN_MAX: Final = 4

INGEST: Final[Mapping[str, str]] = {
    "migration": "SELECT",
    "log_head": "SELECT, UPDATE",
    "log_partition": "SELECT",
    "event_log": "SELECT, INSERT",
    "source_cursor": "SELECT, INSERT, UPDATE",
    "dead_letter": "INSERT",
    "lease": "SELECT, INSERT, UPDATE, DELETE",
    "rate": "SELECT, INSERT, UPDATE, DELETE",
}
RUN: Final[Mapping[str, str]] = {
    "migration": "SELECT",
    "log_head": "SELECT",
    "event_log": "SELECT",
    "log_archive": "SELECT",
    "feed": "SELECT",
    "checkpoint": "SELECT, UPDATE",
    "outbox": "SELECT, INSERT, DELETE",
    "dead_letter": "SELECT, INSERT, UPDATE, DELETE",
    "lease": "SELECT, INSERT, UPDATE, DELETE",
    "audit_state": "SELECT, UPDATE",
    "audit_account": "SELECT, INSERT, UPDATE, DELETE",
    "finding": "SELECT, INSERT, UPDATE, DELETE",
    "probe": "SELECT, INSERT, UPDATE",
    "probe_share": "SELECT, INSERT, UPDATE, DELETE",
}
OWNERSHIP: Final = "the ownership of projector.event_log, of which it makes partitions"
TABLES: Final = "SELECT, INSERT, UPDATE, DELETE"
"""What `run` must be allowed to do with the tables of projections."""

# Of each table that is there, those rights of the list that the role has not.
LACKING: Final = """
SELECT t, string_agg(p, ', ' ORDER BY p) FROM unnest($1::text[], $2::text[]) AS w(t, wanted)
JOIN (SELECT c.oid, '"' || n.nspname || '"."' || c.relname || '"' AS name FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p')) AS c
    ON c.name = t, unnest(string_to_array(wanted, ', ')) AS p
WHERE NOT has_table_privilege(c.oid, p) GROUP BY t ORDER BY t
"""
CLOSED: Final = """
SELECT nspname::text FROM pg_namespace
WHERE nspname = ANY($1::text[]) AND NOT has_schema_privilege(oid, 'USAGE') ORDER BY 1
"""
ROLE: Final = """
SELECT current_user::text, current_database()::text,
    has_database_privilege(current_database(), 'CREATE'),
    (SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'projector'),
    (SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = $1),
    pg_has_role('pg_read_all_stats', 'USAGE')
"""
# Whoever appends makes partitions: as the log's owner, or by a function that does it for others.
PARTITIONS: Final = """
SELECT pg_has_role(c.relowner, 'USAGE') OR EXISTS (
    SELECT FROM pg_proc AS p WHERE p.pronamespace = c.relnamespace AND p.proname = 'make_partition'
        AND has_function_privilege(p.oid, 'EXECUTE'))
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'projector' AND c.relname = 'event_log'
"""


async def check(case: Case) -> list[Finding]:
    """What is missing for each kind of work; bad only where the role can neither ingest nor run."""
    row = await case.connection.fetchrow(ROLE, case.settings.schema)
    assert row is not None
    role, database, may_create, owns_engine, owns_tables, may_see = row
    found = []
    if not may_see:
        found.append(
            _note("stats", f"{role} does not see what others do: a killed daemon is replaced only "
                  "when its lease runs out, and long transactions are not found",
                  f'GRANT pg_read_all_stats TO "{role}"')
        )  # fmt: skip
    if False in (owns_engine, owns_tables) or not (may_create or owns_engine):
        found.append(
            _note("init", f"{role} cannot init: it may not create schemas, or does not own ours",
                  f'type projector init as their owner, or GRANT CREATE ON DATABASE "{database}" '
                  f'TO "{role}"')
        )  # fmt: skip
    if not case.has_engine:
        return (
            found
            if may_create
            else [*found, _bad(role, "init", [f'CREATE ON DATABASE "{database}"'])]
        )
    lacking = await _lacking(case)
    if len(lacking) < 2:
        return found + [_cannot(role, work, what) for work, what in lacking.items()]
    return found + [_bad(role, work, what) for work, what in lacking.items()]


async def _lacking(case: Case) -> dict[str, list[str]]:
    """Of `ingest` and `run`, where it may not do them, what is missing."""
    tables = tables_of(case.declarations, case.settings.schema)
    works = {
        "ingest": (["projector"], _engine(INGEST)),
        "run": (["projector", case.settings.schema], _engine(RUN) | dict.fromkeys(tables, TABLES)),
    }
    found = {}
    for work, (schemas, wanted) in works.items():
        closed = await case.connection.fetch(CLOSED, schemas)
        rows = await case.connection.fetch(LACKING, list(wanted), list(wanted.values()))
        what = [f"USAGE ON SCHEMA {name}" for (name,) in closed]
        what += [f"{rights} ON {table}" for table, rights in rows]
        if work == "ingest" and not await case.connection.fetchval(PARTITIONS):
            what.append(OWNERSHIP)
        if what:
            found[work] = what
    return found


def _engine(rights: Mapping[str, str]) -> dict[str, str]:
    return {f'"projector"."{table}"': wanted for table, wanted in rights.items()}


def _text(what: Sequence[str]) -> str:
    more = f" and {len(what) - SHOWN_MAX} more" if len(what) > SHOWN_MAX else ""
    return "; ".join(what[:SHOWN_MAX]) + more


def _cannot(role: str, work: str, what: Sequence[str]) -> Finding:
    return _note(work, f"{role} cannot {work}: it lacks {_text(what)}", _cure(role, what))


def _bad(role: str, work: str, what: Sequence[str]) -> Finding:
    return Finding(
        area=AREA, name=work, severity="bad", cause=f"{role} cannot {work}: it lacks {_text(what)}",
        cure=_cure(role, what),
    )  # fmt: skip


def _cure(role: str, what: Sequence[str]) -> str:
    grants = [f'GRANT {one} TO "{role}"' for one in what if one != OWNERSHIP]
    return "; ".join(grants[:SHOWN_MAX]) or "connect as the owner of projector.event_log"


def _note(name: str, cause: str, cure: str) -> Finding:
    return Finding(area=AREA, name=name, severity="note", cause=cause, cure=cure)
