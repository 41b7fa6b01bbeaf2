"""Bugs of rebuilding, mending, archiving, retrying and auditing."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

REBUILD = "tests/rebuild/test_rebuild.py::"
FORGET = "tests/forget/test_forget.py::"
MISSING = "tests/mutants/test_missing_tools.py::"

MUTANTS: Final = (
    Mutant(
        "rebuild-snapshot-not-repeatable",
        "rows are counted in one snapshot, and the deltas that it has are thrown away in another",
        "projector/shadow_counts.py",
        old='    async with connection.transaction(isolation="repeatable_read"):\n',
        new="    async with connection.transaction():\n",
        tests=(f"{MISSING}test_deltas_that_come_while_rows_are_counted_are_kept",),
    ),
    Mutant(
        "rebuild-deltas-counted-twice",
        "deltas of rows that were counted anew are added as well",
        "projector/shadow_counts.py",
        old="        await connection.execute(THROW_AWAY, home.name)\n",
        new="",
        tests=(f"{MISSING}test_deltas_that_come_while_rows_are_counted_are_kept",),
    ),
    Mutant(
        "rebuild-feeds-unannounced",
        "those who feed a new aggregate are not told to read their feeds again",
        "projector/shadow_counts.py",
        old="        await connection.execute(CHANGED, feeders)\n",
        new="",
        tests=(f"{MISSING}test_feeding_follows_a_swap",),
    ),
    Mutant(
        "rebuild-removed-accounts-stay",
        "rows of accounts that were removed are loaded as if they were there",
        "projector/busy.py",
        old="        await connection.execute(NOTE_REMOVED.format(**names))\n",
        new="",
        tests=(f"{REBUILD}test_a_rebuild_equals_live_tables_and_the_model",),
    ),
    Mutant(
        "rebuild-last-of-a-key",
        "of records with several events only the first is loaded",
        "projector/bulk.py",
        old='            if event.action != "create" or uri in busy or',
        new='            if event.action == "none" or uri in busy or',
        tests=(f"{REBUILD}test_a_rebuild_equals_live_tables_and_the_model",),
    ),
    Mutant(
        "rebuild-batch-edge-lost",
        "what follows a full batch of busy events is passed over",
        "projector/settle.py",
        old="            after = through if whole else events[-1].log_offset\n",
        new="            after = through\n",
        tests=(f"{MISSING}test_busy_events_beyond_one_batch_are_settled",),
    ),
    Mutant(
        "swap-meets-who-refreshes",
        "a swap has the tables before the checkpoint that who refreshes them holds: it gives way",
        "projector/swap.py",
        old="[d.name for d in declarations if isinstance(d, Derived)]",
        new="[]",
        tests=(
            "tests/rebuild/test_readers.py::"
            "test_who_refreshes_a_derived_table_waits_and_is_not_in_its_way",
        ),
    ),
    Mutant(
        "swap-old-deltas-kept",
        "deltas that wait for the old counters are added to the new ones",
        "projector/swap.py",
        old="    await connection.execute(DROP_DELTAS, name)\n",
        new="",
        tests=(f"{MISSING}test_a_swap_drops_the_deltas_of_the_old_counters",),
    ),
    Mutant(
        "swap-feeders-unannounced",
        "projectors that go on feed the counters that were swapped out",
        "projector/swap.py",
        old="    await connection.execute(FEEDS_CHANGED, feeders)\n",
        new="",
        tests=(f"{MISSING}test_feeding_follows_a_swap",),
    ),
    Mutant(
        "swap-locks-one-by-one",
        "tables are locked as they are moved: whoever reads two of them keeps the swap out",
        "projector/rebuild.py",
        old="        await swap.lock_live(connection, self.everything, schema)\n",
        new="",
        tests=("tests/rebuild/test_readers.py",),
    ),
    Mutant(
        "swap-engine-tables-astray",
        "the engine's tables of a projection are moved to where the projection's are",
        "projector/swap.py",
        old="            moved.append((relation, name.engine if own else schema))\n",
        new="            moved.append((relation, schema))\n",
        tests=(f"{MISSING}test_a_swap_brings_what_the_engine_notes",),
    ),
    Mutant(
        "swap-others-counters-lost",
        "counters that others keep in the same table are not taken over",
        "projector/swap.py",
        old="        await _copy_foreign(connection, aggregate, table, new)\n",
        new="        pass\n",
        tests=(f"{REBUILD}test_counters_that_others_keep_are_taken_over",),
    ),
    Mutant(
        "heal-without-hold",
        "rows are compared and mended while a projector moves them",
        "projector/mend.py",
        old="""UPDATE projector.checkpoint SET edits = edits + 1 WHERE projection = $1
RETURNING projection, log_offset, version
""",
        new="SELECT projection, log_offset, version FROM projector.checkpoint"
        " WHERE projection = $1\n",
        tests=(f"{MISSING}test_mending_holds_the_projector",),
    ),
    Mutant(
        "heal-not-lifted",
        "a counter is put right so that it would fall below zero on its way",
        "projector/counters.py",
        old="    lift = max(0, -(compared.stored + stored + compared.low))\n",
        new="    lift = 0\n",
        tests=("tests/heal/test_counters.py",),
    ),
    Mutant(
        "heal-rows-moved-twice",
        "rows that are mended are counted at once, and by their deltas as well",
        "projector/counters.py",
        old="    stored, delta = (0, moved) if short == moved else (short, 0)\n",
        new="    stored, delta = (0, moved) if short == moved else (short, moved)\n",
        tests=("tests/heal/test_counters.py",),
    ),
    Mutant(
        "retry-the-letter-alone",
        "a letter is applied again without what came after it: the deleted comes back",
        "projector/letters.py",
        old="""e.kind == "commit" and e.log_offset > after]""",
        new="""e.kind == "commit" and e.log_offset == letter.log_offset]""",
        tests=(
            "tests/cli/test_dead_letters.py::"
            "test_a_retry_never_brings_back_what_a_later_event_decided",
        ),
    ),
    Mutant(
        "retry-without-hold",
        "a letter is applied while the projector applies a window",
        "projector/letters.py",
        old="UPDATE projector.checkpoint SET edits = edits + 1 WHERE projection = $1 "
        "RETURNING log_offset\n",
        new="SELECT log_offset FROM projector.checkpoint WHERE projection = $1\n",
        tests=(f"{MISSING}test_a_retry_holds_the_projector",),
    ),
    Mutant(
        "archive-partition-in-use",
        "a partition is archived that a projection has not read to its end",
        "projector/archiving.py",
        old="    wanted = [p for p in sealed if p.end_offset <= through + 1]\n",
        new="    wanted = [p for p in sealed if p.first_offset <= through]\n",
        tests=("tests/archive/test_command.py::test_what_a_policy_lets_go",),
    ),
    Mutant(
        "archive-uncompared",
        "a file takes the place of its partition without being compared with it",
        "projector/archiving.py",
        old="        await self._compare(partition, written)\n",
        new="",
        tests=(
            "tests/archive/test_compared.py::"
            "test_a_file_that_differs_does_not_take_the_place_of_its_partition",
        ),
    ),
    Mutant(
        "archive-under-a-snapshot",
        "a partition goes while a reader's snapshot knows neither that nor of its file",
        "projector/partitions.py",
        old="        await wait_for_older_snapshots(connection)\n",
        new="",
        tests=("tests/archive/test_readers.py::test_a_snapshot_keeps_its_partitions",),
    ),
    Mutant(
        "forget-deletes-from-the-log",
        "the events of an account that is forgotten are deleted: offsets are missing",
        "projector/forget.py",
        old="""UPDATE projector.event_log SET did = '', kind = 'erased', action = 'erased', """
        """collection = NULL,
    rkey = NULL, rev = NULL, cid = NULL, source_cursor = '', record = NULL,
    occurred_at = '1970-01-01T00:00:00Z'
WHERE log_offset""",
        new="DELETE FROM projector.event_log WHERE log_offset",
        tests=(f"{FORGET}test_an_account_is_erased",),
    ),
    Mutant(
        "forget-later-rows-lost",
        "rows of what a forgotten account said afterwards are taken out and not put back",
        "projector/forget.py",
        old="                await writer.write(self.connection, folded, checkpoint)\n"
        "                _, rest",
        new="                _, rest",
        tests=(f"{FORGET}test_what_was_applied_meanwhile_stays",),
    ),
    Mutant(
        "forget-before-it-is-applied",
        "events are erased that a projection has yet to meet: it passes a deletion over",
        "projector/forget.py",
        old="        await self._wait_applied(found.through)\n",
        new="",
        tests=(f"{FORGET}test_what_a_projection_has_not_met_stays",),
    ),
    Mutant(
        "verify-gap-of-one",
        "a single event that is missing from the log is not noticed",
        "projector/logcheck.py",
        old="WHERE log_offset <> before + 1 ORDER BY 1 LIMIT $3\n",
        new="WHERE log_offset > before + 2 ORDER BY 1 LIMIT $3\n",
        tests=("tests/verify/test_damage.py::test_deleted_events_are_found",),
    ),
    Mutant(
        "truth-last-wins",
        "the second opinion gives a claim to the last of its rivals",
        "projector/truth.py",
        old="        winner = min(rows, key=",
        new="        winner = max(rows, key=",
        tests=("tests/truth/test_truth.py::test_the_truth_is_that_of_the_model",),
    ),
    Mutant(
        "truth-repeats-decide",
        "in the second opinion an event that comes again counts as a newer one",
        "projector/truth.py",
        old="rev is not None and rev <= known.floor:",
        new="rev is not None and rev < known.floor:",
        tests=(f"{MISSING}test_a_repeat_is_none_to_the_second_opinion",),
    ),
    Mutant(
        "settings-unknown-passed-over",
        "a variable that is spelt wrongly is passed over, and the default is in force",
        "projector/settings.py",
        old="""            raise UsageError(f"unknown variable {name}; {hint}")
""",
        new="            continue\n",
        tests=("tests/cli/test_errors.py::test_a_variable_that_is_not_understood_stops_the_start",),
    ),
    Mutant(
        "settings-limit-included",
        "a number below the least that is allowed is let through",
        "projector/settings.py",
        old="    if kind in (int, float) and not least <= value < inf:\n",
        new="    if kind is int and not least <= value < inf:\n",
        tests=("tests/fuzz/test_settings.py::test_a_text_is_a_value_in_range_or_a_usage_error",),
    ),
)
