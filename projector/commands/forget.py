"""`forget`: erases an account, for a legal request."""

from __future__ import annotations

from typing import Annotated

import asyncpg
from cyclopts import Parameter

from projector import schema
from projector.commands.archive import held
from projector.database import APPLY_SETTINGS
from projector.declare import AccountProjection, Projection
from projector.environment import COMMON, Common, declared, opened, settings
from projector.errors import UsageError
from projector.forget import Eraser, Erasure, Receipt
from projector.output import console, print_json

FORGET_SETTINGS = {**APPLY_SETTINGS, "synchronous_commit": "on"}
"""As a projector's, but durable: what was said to be erased is."""


async def forget(
    did: str,
    /,
    *,
    yes: Annotated[bool, Parameter(negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Erase an account: its rows, its events in the log and the archive, its dead letters.

    Counts stay exact, and offsets dense: each event stays as an empty marker. A receipt is kept,
    which `verify` checks. What others wrote about the account stays, and so do your backups. The
    account is not kept out: what it writes from now on comes in.

    Parameters
    ----------
    did
        The account.
    yes
        Do it. There is no way back; without it, only say what would go.
    """
    if not did.startswith("did:"):
        raise UsageError(f"{did} is no DID, such as did:plc:…")
    chosen = settings()
    declarations = declared()
    async with opened(common, chosen) as database:
        connection = await database.first_connect("forget", **FORGET_SETTINGS)
        try:
            await schema.check(connection, declarations)
            await _check_reach(connection)
            projections = [d for d in declarations if isinstance(d, Projection | AccountProjection)]
            eraser = Eraser(connection, projections, chosen.schema, say=console.print)
            if not yes:
                _print_plan(await eraser.find(did), common)
                return
            async with held(database, chosen):
                receipt = await eraser.erase(did, await eraser.find(did))
        finally:
            await connection.close()
    _print_receipt(receipt, common)


async def _check_reach(connection: asyncpg.Connection) -> None:
    """Raises `UsageError` where tables are kept event by event: what of them is the account's, only
    their own rules say."""
    apart = await schema.apart(connection)
    if apart:
        name, its_schema = next(iter(apart.items()))
        raise UsageError(
            f"compat={name} keeps rows of all accounts in the schema {its_schema}, which forget "
            f"does not reach; drop it first; {schema.anew(name)}"
        )


def _print_plan(found: Erasure, common: Common) -> None:
    if common.json:
        print_json({"events": len(found.offsets), "begun": found.id != 0, "done": False})
    else:
        console.print(
            f"{len(found.offsets):,} events would be erased. There is no way back; --yes does it."
        )


def _print_receipt(receipt: Receipt, common: Common) -> None:
    if common.json:
        print_json({"done": True, "receipt": receipt})
        return
    console.print(
        f"Erased: {receipt.events:,} events, {receipt.dead_letters:,} dead letters, "
        f"{receipt.files:,} archive files rewritten. Receipt {receipt.id}, of the account with "
        f"SHA-256 {receipt.did_sha256}.",
        soft_wrap=True,
    )
