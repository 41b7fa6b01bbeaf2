"""The outbox: deltas on their way to the aggregates, and texts on their way to Postgres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

import asyncpg

from projector.children import OUTBOX_KEYS_MAX
from projector.home import Counter
from projector.statements import PUT_OUTBOX

SEPARATORS_END: Final = 0xD800
"""Where the surrogates begin, which Postgres does not take."""


async def put_deltas(
    connection: asyncpg.Connection,
    name: str,
    counters: Sequence[Counter],
    tally: Sequence[Mapping[str, int]],
    through: int,
) -> int:
    """Puts the deltas of each counter into the outbox; returns how many there were.

    `name` is the projection whose rows were counted, and `through` the offset they belong to.
    """
    done = 0
    for counter, counts in zip(counters, tally, strict=True):
        keys = sorted(key for key, n in counts.items() if n or counter.touches)
        for i in range(0, len(keys), OUTBOX_KEYS_MAX):
            part = keys[i : i + OUTBOX_KEYS_MAX]
            deltas = ",".join([str(counts[key]) for key in part])
            (joined,), separator = joined_columns([part])
            await connection.execute(
                PUT_OUTBOX,
                counter.aggregate,
                counter.name,
                joined,
                deltas,
                name,
                through,
                separator,
            )
        done += len(keys)
    return done


def joined_columns(columns: Sequence[Sequence[str]]) -> tuple[list[str], str]:
    """The texts of each column as one text, each after the separator, which none contains.

    To be split by `statements.split`. It takes a tenth of the time that an array takes to send.
    """
    (separator,) = _unused("".join(map("".join, columns)), 1)
    return [separator + separator.join(column) for column in columns], separator


def joined_cells(columns: Sequence[Sequence[str | None]]) -> tuple[list[str], str, str]:
    """The same of columns in which None may be: a second character, the last, stands for it.

    To be split by `statements.split_cells`.
    """
    cells = [cell for column in columns for cell in column if cell]
    separator, none = _unused("".join(cells), 2)
    texts = [
        separator + separator.join([none if cell is None else cell for cell in column])
        for column in columns
    ]
    return texts, separator, none


def _unused(text: str, number: int) -> list[str]:
    """So many characters that the text has not."""
    return list(islice((c for c in map(chr, range(1, SEPARATORS_END)) if c not in text), number))
