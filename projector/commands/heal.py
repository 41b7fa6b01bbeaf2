"""`heal`: what is wrong with an account, as a patch; and the doing of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Annotated

import asyncpg
from cyclopts import Parameter

from events.syntax import is_did
from projector import schema
from projector.aggregate import Difference
from projector.counter_audit import look_again, present
from projector.database import Database
from projector.declare import Declaration, Derived
from projector.differences import ALTERED, EXTRA, MISSING
from projector.environment import COMMON, Common, declared, opened, settings
from projector.errors import CheckFailed, UsageError
from projector.heal import HEAL_SETTINGS, found_accounts, heal_counters, heal_derived
from projector.heal import heal as heal_accounts
from projector.mend import Mender, Patch
from projector.output import console, print_json
from projector.output import shown as shown_cell
from projector.patch import Change

LINES_MAX = 200
"""How many lines of one patch are printed; JSON has all."""
SIGNS = {MISSING: "+", EXTRA: "-", ALTERED: "~"}
CELL_CHARS_MAX = 60


async def heal(
    *dids: str,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    all_differences: Annotated[bool, Parameter(negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Put accounts right: rows, duplicates and revisions as the log has them, and the counters of
    everybody concerned. Each account is one transaction, while ingest and projectors go on.

    Parameters
    ----------
    dids
        The accounts.
    dry_run
        Only show the patch; ends with 1 where there is one.
    all_differences
        All accounts of which an audit found something (projector verify --rows), and then all
        counters that are not what their rows say.
    """
    for did in dids:
        if not is_did(did):
            raise UsageError(f"{did!r} is no DID; write did:plc:… or did:web:…")
    if not dids and not all_differences:
        raise UsageError("say which: DIDs, or --all-differences")
    chosen = settings()
    declarations = declared()
    async with opened(common, chosen) as database:
        connection = await database.first_connect("heal", **HEAL_SETTINGS)
        try:
            await schema.check(connection, declarations)
            mender = Mender(declarations, chosen.schema)
            todo = [*dids, *(await found_accounts(connection) if all_differences else ())]
            derived: list[Difference] = []
            done = await _told(heal_accounts(connection, mender, todo, dry_run=dry_run), common)
            if all_differences:
                done += await _counters(database, connection, mender, common, done, dry_run=dry_run)
                derived = await _derived(database, connection, declarations, common, dry_run)
            if not dry_run:
                counters = await present(connection, declarations, chosen.schema)
                await look_again(connection, counters)
        finally:
            await connection.close()
    differences = sum(patch.differences for patch in done) + len(derived)
    if common.json:
        told = {"dry_run": dry_run, "differences": differences, "accounts": done}
        print_json({**told, "derived": derived})
    else:
        _print_verdict(done, differences, dry_run=dry_run)
    if dry_run and differences:
        raise CheckFailed(f"{differences:,} differences; the same without --dry-run mends them")


async def _counters(
    database: Database,
    connection: asyncpg.Connection,
    mender: Mender,
    common: Common,
    shown: list[Patch],
    *,
    dry_run: bool,
) -> list[Patch]:
    looking = await database.first_connect("heal counters")
    try:
        found = heal_counters(connection, looking, mender, shown, dry_run=dry_run)
        return await _told(found, common)
    finally:
        await looking.close()


async def _derived(
    database: Database,
    connection: asyncpg.Connection,
    declarations: Sequence[Declaration],
    common: Common,
    dry_run: bool,
) -> list[Difference]:
    """Derived tables, once the rows they come of are right; prints a line for each record."""
    tables = [d for d in declarations if isinstance(d, Derived)]
    looking = await database.first_connect("heal derived")
    try:
        schema = settings().schema
        found = await heal_derived(connection, looking, tables, schema, dry_run=dry_run)
    finally:
        await looking.close()
    for d in found[:LINES_MAX] if not common.json else ():
        _say(f"~ {d.aggregate:<19} {d.key}  {d.stored:,} rows too many, {d.counted:,} missing")
    return found


async def _told(patches: AsyncIterator[Patch], common: Common) -> list[Patch]:
    """Collects patches; for people, prints each as it comes."""
    done = []
    async for patch in patches:
        done.append(patch)
        if not common.json:
            print_patch(patch)
    return done


def print_patch(patch: Patch) -> None:
    """Prints a patch: a line for each key and counter, with a sign for what is put and taken."""
    if patch.accounts:
        verdict = f"{patch.differences:,} differences" if patch.differences else "as the log says"
        at = ", ".join(f"{name} {offset:,}" for name, offset in patch.as_of.items())
        who = (
            ", ".join(patch.accounts)
            if len(patch.accounts) < 4
            else (f"{len(patch.accounts):,} accounts")
        )
        _say(f"{who}: {verdict}; {patch.events:,} events, as of {at}")
    lines = list(_lines(patch))
    for line in lines[:LINES_MAX]:
        _say(line)
    if len(lines) > LINES_MAX:
        _say(f"  … and {len(lines) - LINES_MAX:,} more (--json has all)")


def _lines(patch: Patch) -> Iterable[str]:
    for change in patch.changes:
        yield f"{SIGNS[change.kind]} {change.projection:<10} {change.part:<8} {_about(change)}"
    for c in patch.counters:
        counter = f"{c.aggregate}.{c.counter}"
        yield (
            f"~ {counter:<19} {c.key}  stored {c.stored:,}, pending {c.pending:,}, true {c.true:,}"
        )
    for letter in patch.letters:
        yield (
            f"! {letter.projection:<10} event {letter.log_offset:,} is a dead letter: "
            f"{letter.error}"
        )


def _about(change: Change) -> str:
    why = "no event says so"
    if change.log_offset is not None:
        why = f"event {change.log_offset:,}"
    if change.kind != ALTERED:
        return f"{change.uri}  ({why})"
    has, must = change.has or {}, change.must or {}
    cells = ", ".join(f"{name} {_cell(has[name])} → {_cell(must[name])}" for name in must)
    return f"{change.uri}  {cells}  ({why})"


def _cell(value: object) -> str:
    text = shown_cell(value)
    return text if len(text) <= CELL_CHARS_MAX else text[:CELL_CHARS_MAX] + "…"


def _say(line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)


def _print_verdict(done: list[Patch], differences: int, *, dry_run: bool) -> None:
    accounts = sum(len(patch.accounts) for patch in done)
    if not differences:
        console.print(f"{accounts:,} accounts are as the log says; nothing to change.")
    elif not dry_run:
        console.print(f"{differences:,} differences mended.")
