"""Bugs of derived tables: rows made anew of records that were touched."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

MODEL = "tests/derived/test_model.py::test_rows_are_those_that_the_rows_make"
TWO = "tests/derived/test_model.py::test_of_two_at_once_each_sees_what_the_other_did"

MUTANTS: Final = (
    Mutant(
        "derived-replaced-untold",
        "of a record whose row was replaced nothing is told, since no more and no fewer are there",
        "projector/outbox.py",
        old="if n or counter.touches)",
        new="if n)",
        tests=(TWO, MODEL),
    ),
    Mutant(
        "derived-rows-left",
        "rows are made anew and the old ones stay: what is told twice is there twice",
        "projector/derived.py",
        old="gone AS (DELETE FROM {table} WHERE {quoted(derived.key)} = ANY(ARRAY({told}))),",
        new="gone AS (SELECT),",
        tests=(MODEL, TWO),
    ),
    Mutant(
        "derived-not-held",
        "two make rows anew at once, and neither sees those of the other",
        "projector/derived.py",
        old="WHERE projection = $1 AND version = $2 FOR UPDATE\n",
        new="WHERE projection = $1 AND version = $2\n",
        tests=(TWO,),
    ),
    Mutant(
        "derived-unconditional",
        "a record is told of whatever the condition says: of what one does to oneself, too",
        "projector/derived.py",
        old='AS b"\n        f" WHERE ({select.where})',
        new='AS b"\n        f" WHERE (true OR {select.where})',
        tests=(MODEL,),
    ),
)
