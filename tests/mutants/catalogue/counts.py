"""Bugs of counting rows, and of carrying the deltas to the aggregates."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

MODEL = "tests/model/test_model.py::test_tables_are_those_of_the_model_in_any_windows"
SIX = "tests/invariants/test_invariants_2_to_6.py::test_invariant_6_"
SEVEN = "tests/invariants/test_invariant_7.py::test_invariant_7_"
MISSING = "tests/mutants/test_missing_counts.py::"

MUTANTS: Final = (
    Mutant(
        "count-events-not-rows",
        "the delta is of the creates that came, not of the rows that were put in",
        "projector/apply.py",
        old="""        others = await self._taken(rows)
        if others:
            rows = [row for row in rows if row[0] not in others]
""",
        new="""        others = await self._taken(rows)
        self.moves.sent(list(others.values()))
        if others:
            rows = [row for row in rows if row[0] not in others]
""",
        tests=(f"{SIX}deltas_are_what_the_rows_did",),
    ),
    Mutant(
        "count-deletes-by-event",
        "the delta is of the deletes that came, whether or not there was a row",
        "projector/statements.py",
        old='        return f"DELETE FROM {self.base} WHERE uri = ANY($1::text[]) RETURNING '
        '{self.returning}"\n',
        new='        return (f"WITH d AS (DELETE FROM {self.base} WHERE uri = ANY($1::text[])"\n'
        '            f" RETURNING *) SELECT {self.returning} FROM d UNION ALL"\n'
        '            f" SELECT {self.returning} FROM {self.shelf} WHERE uri = ANY($1::text[])"\n'
        "            if self.table.unique else\n"
        '            f"DELETE FROM {self.base} WHERE uri = ANY($1::text[])"\n'
        '            f" RETURNING {self.returning}")\n',
        tests=(f"{SIX}a_claim_that_changes_no_count_makes_no_delta",),
    ),
    Mutant(
        "count-deletes-forgotten",
        "rows that go are not counted down",
        "projector/apply.py",
        old="        self.moves.returned(rows, -1)\n",
        new="",
        tests=(f"{SIX}deltas_are_what_the_rows_did",),
    ),
    Mutant(
        "count-promotions-forgotten",
        "a row that takes over a claim is not counted",
        "projector/apply.py",
        old="        self.moves.returned(promoted, 1)\n",
        new="",
        tests=(f"{SIX}deltas_are_what_the_rows_did", MODEL),
    ),
    Mutant(
        "count-demotions-forgotten",
        "a row that gives up its claim to an earlier one is not counted down",
        "projector/apply.py",
        old="        self.moves.returned(demoted, -1)\n",
        new="",
        tests=(MODEL,),
    ),
    Mutant(
        "count-removals-up",
        "the rows of a removed account are counted up",
        "projector/children.py",
        old="AS k, -count(*)::integer AS n,",
        new="AS k, count(*)::integer AS n,",
        tests=(f"{SIX}deltas_are_what_the_rows_did",),
    ),
    Mutant(
        "count-nulls",
        "a post that replies to nothing counts as a reply to nothing",
        "projector/moves.py",
        old="            if key is not None:\n                tally[key] += sign * n\n",
        new="            tally[key] += sign * n\n",
        tests=(MODEL,),
    ),
    Mutant(
        "outbox-first-part-only",
        "of more keys than one outbox row takes, only the first are put there",
        "projector/outbox.py",
        old="        for i in range(0, len(keys), OUTBOX_KEYS_MAX):\n",
        new="        for i in range(0, min(1, len(keys)), OUTBOX_KEYS_MAX):\n",
        tests=(f"{MISSING}test_more_keys_than_an_outbox_row_takes",),
    ),
    Mutant(
        "merge-other-aggregates",
        "an aggregate takes the deltas of all others out of the outbox",
        "projector/aggregate.py",
        old="FROM projector.outbox WHERE aggregate = $1 ORDER BY id LIMIT $2)",
        new="FROM projector.outbox WHERE length($1) > 0 ORDER BY id LIMIT $2)",
        tests=(f"{SEVEN}the_generators_firehose_is_counted_exactly",),
    ),
    Mutant(
        "merge-replaces",
        "the sum of the deltas takes the place of the counter",
        "projector/aggregate.py",
        old='f"{quoted(n)} = a.{quoted(n)} + excluded.{quoted(n)}" for n in names)\n    zero',
        new='f"{quoted(n)} = excluded.{quoted(n)}" for n in names)\n    zero',
        tests=(f"{SEVEN}the_generators_firehose_is_counted_exactly",),
    ),
    Mutant(
        "merge-of-one-counter",
        "all deltas of a window are added to each counter",
        "projector/aggregate.py",
        old="coalesce(sum(d) FILTER (WHERE counter = '{name}'), 0)",
        new="coalesce(sum(d) FILTER (WHERE counter >= '{name}'), 0)",
        tests=(f"{SEVEN}the_generators_firehose_is_counted_exactly",),
    ),
    Mutant(
        "merge-outside-a-transaction",
        "deltas are taken and added, and what follows is a transaction of its own",
        "projector/aggregate.py",
        old="        async with connection.transaction():\n            merged = await",
        new="        if True:\n            merged = await",
        tests=(f"{SEVEN}a_counter_below_zero_stops_loudly",),
    ),
    Mutant(
        "merge-below-zero-swallowed",
        "a counter below zero is stored, and nobody told",
        "projector/aggregate.py",
        old="        if negative:\n",
        new="        if negative and not rows:\n",
        tests=(f"{SEVEN}a_counter_below_zero_stops_loudly",),
    ),
    Mutant(
        "merge-of-another-version",
        "a program of another version goes on merging into counters that are not its own",
        "projector/aggregate.py",
        old='                if moved != "UPDATE 1":\n',
        new='                if moved == "":\n',
        tests=(f"{MISSING}test_a_merge_of_another_version_changes_nothing",),
    ),
    Mutant(
        "merge-keeps-zeros",
        "a key that counts nothing any more keeps its row",
        "projector/aggregate.py",
        old="        if empty:\n",
        new="        if empty and not rows:\n",
        tests=(MODEL,),
    ),
    Mutant(
        "prune-what-others-count",
        "a row is deleted in which others keep a counter that is not zero",
        "projector/aggregate.py",
        old="for c in (*aggregate.counters, *aggregate.foreign))",
        new="for c in aggregate.counters)",
        tests=(f"{MISSING}test_a_row_in_which_others_count_stays",),
    ),
    Mutant(
        "audit-only-what-is-stored",
        "the audit does not see rows of which no counter is stored",
        "projector/aggregate.py",
        old="FROM s FULL JOIN p USING (k) FULL JOIN c USING (k)\n",
        new="FROM s FULL JOIN p USING (k) LEFT JOIN c USING (k)\n",
        tests=(f"{SEVEN}the_audit_finds_a_planted_difference",),
    ),
    Mutant(
        "audit-without-what-is-pending",
        "the audit takes deltas that wait for differences",
        "projector/aggregate.py",
        old="WHERE coalesce(s.n, 0) + coalesce(p.n, 0) <> coalesce(c.n, 0) ORDER BY k",
        new="WHERE coalesce(s.n, 0) <> coalesce(c.n, 0) ORDER BY k",
        tests=(f"{SEVEN}what_is_pending_counts",),
    ),
    Mutant(
        "run-ends-before-the-counts",
        "a run until all is caught up ends its aggregates before their tables have ended",
        "projector/daemon.py",
        old="            if self._unsettled.isdisjoint({count.of.name for count in counts}):\n",
        new="            if counts:\n",
        tests=("tests/model/test_model.py::test_a_daemon_makes_the_tables_of_the_model",),
    ),
)
