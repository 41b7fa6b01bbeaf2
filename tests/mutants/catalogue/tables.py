"""Bugs of writing a window to the tables of a projection."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

MODEL = "tests/model/test_model.py::test_tables_are_those_of_the_model_in_any_windows"
DAEMON = "tests/model/test_model.py::test_a_daemon_makes_the_tables_of_the_model"
SUFFIX = "tests/model/test_model.py::test_any_suffix_delivered_again_changes_no_byte"
TWO_TO_SIX = "tests/invariants/test_invariants_2_to_6.py::"
EIGHT = "tests/invariants/test_invariant_8.py::"
AHEAD = "tests/invariants/test_looking_ahead.py::"
OP_THREAD: Final = "tests/integration/test_op_thread.py::"
CANCELLED = "tests/daemon/test_cancelled.py::"
MISSING = "tests/mutants/test_missing_tables.py::"

MUTANTS: Final = (
    Mutant(
        "apply-checkpoint-before-effect",
        "the checkpoint commits before the rows: a crash between them loses a window",
        "projector/committing.py",
        old="        applied = await write(int(edits))\n",
        new="        pass\n    async with connection.transaction():\n"
        "        applied = await write(int(edits))\n",
        tests=(f"{TWO_TO_SIX}test_invariant_2_effect_and_checkpoint_commit_together",),
    ),
    Mutant(
        "apply-cas-swallowed",
        "that the checkpoint did not move is not looked at: two owners both apply a window",
        "projector/committing.py",
        old="        if edits is None:\n            raise CheckpointMoved(name)\n",
        new="        if edits is None:\n            edits = 0\n",
        tests=(f"{TWO_TO_SIX}test_invariant_2_of_two_who_believe_they_own_it_one_rolls_back",),
    ),
    Mutant(
        "apply-cas-loose",
        "the checkpoint moves from wherever it is by now",
        "projector/statements.py",
        old="WHERE projection = $1 AND version = $2 AND log_offset = $3\n",
        new="WHERE projection = $1 AND version = $2 AND log_offset >= $3\n",
        tests=(f"{TWO_TO_SIX}test_invariant_2_of_two_who_believe_they_own_it_one_rolls_back",),
    ),
    Mutant(
        "apply-version-unchecked",
        "a program of another version goes on writing to tables that are not its own",
        "projector/statements.py",
        old="WHERE projection = $1 AND version = $2 AND log_offset = $3\n",
        new="WHERE projection = $1 AND version <= $2 AND log_offset = $3\n",
        tests=(f"{TWO_TO_SIX}test_invariant_2_a_checkpoint_of_another_version_does_not_move",),
    ),
    Mutant(
        "apply-letters-dropped",
        "dead letters of a window that changes nothing else are dropped",
        "projector/apply.py",
        old="        if folded.letters:\n",
        new="        if folded.letters and not folded.is_empty:\n",
        tests=(f"{EIGHT}test_invariant_8_an_invalid_record_is_a_letter_of_its_projection",),
    ),
    Mutant(
        "apply-refused-dropped",
        "an event that Postgres refuses is passed over without a letter",
        "projector/projectors.py",
        old="        return Folded(letters=[letter])\n",
        new="        return Folded()\n",
        tests=(f"{EIGHT}test_invariant_8_what_postgres_refuses_is_isolated",),
    ),
    Mutant(
        "apply-too-long-stops-all",
        "a row that is too long for an index stops the daemon, again and again",
        "projector/database.py",
        old='_DATA_CLASSES = ("22", "23", "54")',
        new='_DATA_CLASSES = ("22", "23")',
        tests=(f"{EIGHT}test_invariant_8_what_postgres_refuses_is_isolated",),
    ),
    Mutant(
        "apply-contradiction-is-a-letter",
        "tables that contradict each other are taken for a bad event",
        "projector/apply.py",
        old='raise Corruption(\n                f"{self.home.name}: {error.message}',
        new='raise asyncpg.DataError(\n                f"{self.home.name}: {error.message}',
        tests=(f"{EIGHT}test_invariant_8_tables_that_contradict_each_other_stop_loudly",),
    ),
    Mutant(
        "apply-stale-turned-round",
        "an event older than what the tables have wins over it",
        "projector/apply.py",
        old="if uri in revs and revs[uri] <= rev}",
        new="if uri in revs and revs[uri] > rev}",
        tests=(MODEL,),
    ),
    Mutant(
        "apply-same-rev-again",
        "an event that was applied already is applied again",
        "projector/apply.py",
        old="if uri in revs and revs[uri] <= rev}",
        new="if uri in revs and revs[uri] < rev}",
        tests=(f"{MISSING}test_what_was_applied_is_not_applied_again",),
    ),
    Mutant(
        "apply-revs-of-deletes-unnoted",
        "of deletes no revision is noted: the create that comes again brings the row back",
        "projector/apply.py",
        old="self._note_revs([*gone, *(row[0] for row in changed)], self.revs)\n",
        new="self._note_revs([row[0] for row in changed], self.revs)\n",
        tests=(SUFFIX, MODEL),
    ),
    Mutant(
        "apply-repeats-not-held",
        "a create that comes again replaces its own row",
        "projector/apply.py",
        old="        return found.union(record[0] for record in held)\n",
        new="        return found.union(record[0] for record in held[:0])\n",
        tests=(SUFFIX, MODEL),
    ),
    Mutant(
        "apply-rows-of-one-claim-together",
        "two new rows with one claim in a window are both put into the table",
        "projector/apply.py",
        old="        if len(set(claims)) < len(claims):\n",
        new="        if len(claims) < len(set(claims)):\n",
        tests=(MODEL,),
    ),
    Mutant(
        "apply-claims-unsettled",
        "claims that a window gives up or contests are left as they are",
        "projector/apply.py",
        old="            await self.settle()\n        await self._note_revs(",
        new="            self.groups.clear()\n        await self._note_revs(",
        tests=(MODEL,),
    ),
    Mutant(
        "apply-removal-keeps-waiting",
        "rows of a removed account that wait for a claim stay on the shelf, and come back",
        "projector/apply.py",
        old="        if self.sql.remove_account_duplicates:\n",
        new="        if self.sql.remove_account_duplicates == '':\n",
        tests=(MODEL,),
    ),
    Mutant(
        "apply-removal-keeps-revs",
        "revisions of a removed account are remembered: when it is back its records stay away",
        "projector/statements.py",
        old='return f"DELETE FROM {self.versions} WHERE uri >= $1 AND uri < $2"',
        new='return f"DELETE FROM {self.versions} WHERE uri > $2 AND uri < $1"',
        tests=(MODEL,),
    ),
    Mutant(
        "apply-first-without-order",
        "which of those that wait gets a claim is left to chance: no ORDER BY",
        "projector/statements.py",
        old="""            ' ORDER BY l."indexedAt" COLLATE "C", l.uri COLLATE "C" LIMIT 1) AS b'
""",
        new="            ' LIMIT 1) AS b'\n",
        tests=(MODEL,),
    ),
    Mutant(
        "apply-last-wins",
        "of two records with one claim the later one takes the row",
        "projector/statements.py",
        old="""            ' < (t."indexedAt" COLLATE "C", t.uri COLLATE "C")))'
""",
        new="""            ' > (t."indexedAt" COLLATE "C", t.uri COLLATE "C")))'
""",
        tests=(MODEL,),
    ),
    Mutant(
        "apply-promoted-twice",
        "a row that is promoted stays on the shelf, to be promoted once more",
        "projector/statements.py",
        old="""off AS (DELETE FROM {self.shelf}"
            f" WHERE uri = ANY(ARRAY(SELECT uri FROM best)) RETURNING {self.columns}),"
""",
        new="""off AS (SELECT {self.columns} FROM {self.shelf}"
            f" WHERE uri = ANY(ARRAY(SELECT uri FROM best))),"
""",
        tests=(MODEL,),
    ),
    Mutant(
        "apply-promoted-still-listed",
        "a row that is promoted stays in the list of duplicates",
        "projector/statements.py",
        old="WHERE uri = ANY(ARRAY(SELECT uri FROM off)))",
        new="WHERE uri = ANY(ARRAY(SELECT uri FROM off LIMIT 0)))",
        tests=(MODEL,),
    ),
    Mutant(
        "apply-list-names-the-old",
        "duplicates stay listed under the row that gave up the claim",
        "projector/apply.py",
        old="            await self.connection.execute(self.sql.relist_groups, *arrays)\n",
        new="            pass\n",
        tests=(MODEL,),
    ),
    Mutant(
        "ahead-not-told-of-the-window-between",
        "what was looked up ahead is believed, whatever the window before its turn deleted",
        "projector/apply.py",
        old="        probed.taken.update(applied.gone)\n",
        new="        probed.taken.update(())\n",
        tests=(f"{AHEAD}test_a_window_applied_meanwhile_decides_over_what_was_looked_up",),
    ),
    Mutant(
        "ahead-not-voided-by-edits",
        "what was looked up ahead is believed though somebody else has edited the tables since",
        "projector/apply.py",
        old="probed.edits == edits else None",
        new="probed.edits <= edits else None",
        tests=(f"{AHEAD}test_a_delete_that_somebody_noted_meanwhile_is_not_undone",),
    ),
    Mutant(
        "ahead-wrong-is-corruption",
        "a row that Postgres refuses because of what was looked up is taken for corruption",
        "projector/apply.py",
        old="if probed is not None:\n                return await self.apply(",
        new="if probed is not None and probed.taken:\n                return await self.apply(",
        tests=(f"{AHEAD}test_a_row_that_somebody_wrote_meanwhile_is_no_corruption",),
    ),
    Mutant(
        "ahead-window-between-not-passed-on",
        "the projector forgets to tell what it looked up of the window it has applied since",
        "projector/loop.py",
        old="                if probed is not None and before is not None:\n",
        new="                if probed is not None and before is None:\n",
        tests=(DAEMON,),
    ),
    Mutant(
        "feeds-read-once",
        "a projector that runs does not notice that another aggregate is to be fed",
        "projector/apply.py",
        old="        if self._feeds_at != edits:\n",
        new="        if self._feeds_at is None:\n",
        tests=("tests/mutants/test_missing_tools.py::test_feeding_follows_a_swap",),
    ),
    Mutant(
        "tombstone-moves",
        "a second delete makes a record that was deleted already one that went later",
        "projector/statements.py",
        old=""" AND t.{column} IS NULL\"""",
        new='"',
        tests=(f"{OP_THREAD}test_a_deleted_reply_stays_until_it_comes_again",),
    ),
    Mutant(
        "account-claims-not-released",
        "who comes to have a handle does not take it from an account outside of the window",
        "projector/account.py",
        old="        if known.claimed:\n",
        new="        if not known.claimed:\n",
        tests=("tests/integration/test_actor.py::test_handles_and_states_step_by_step",),
    ),
    Mutant(
        "resolver-asks-private-hosts",
        "a host that names a public address beside a private one is asked",
        "projector/web.py",
        old="not all(map(is_public, addresses))",
        new="not any(map(is_public, addresses))",
        tests=(
            "tests/resolve/test_resolver.py::"
            "test_what_the_network_names_is_asked_at_public_addresses_only",
        ),
    ),
    Mutant(
        "lease-taken-without-condition",
        "a lease is taken whoever holds it",
        "projector/lease.py",
        old="WHERE l.owner = excluded.owner OR l.until",
        new="WHERE true OR l.until",
        tests=("tests/log/test_sink.py::test_a_source_is_held_by_one_at_a_time",),
    ),
    Mutant(
        "lease-kept-by-the-dead",
        "a lease stays taken until it runs out, though its owner's connection is gone",
        "projector/lease.py",
        old="OR NOT EXISTS (\n    SELECT FROM",
        new="OR l.until IS NULL AND NOT EXISTS (\n    SELECT FROM",
        tests=(
            "tests/daemon/test_ownership.py::"
            "test_a_daemon_that_is_killed_is_replaced_before_its_lease_ends",
        ),
    ),
    Mutant(
        "lease-of-another-given-back",
        "who gives back a lease that was taken from it takes it from the new owner",
        "projector/lease.py",
        old='"DELETE FROM projector.lease WHERE owner = $1 AND name = $2"',
        new='"DELETE FROM projector.lease WHERE length($1) > 0 AND name = $2"',
        tests=(f"{MISSING}test_a_lease_that_was_taken_over_is_not_given_back",),
    ),
    Mutant(
        "lease-renewed-though-given-back",
        "a lease whose release failed is renewed with the others: nobody has the projection",
        "projector/lease.py",
        old="WHERE owner = $1 AND name = ANY($3::text[]) RETURNING",
        new="WHERE owner = $1 AND $3::text[] IS NOT NULL RETURNING",
        tests=("tests/daemon/test_leases.py::test_a_lease_that_could_not_be_given_back_runs_out",),
    ),
    Mutant(
        "lease-lost-for-good",
        "who works on without its lease does not take it back from one who sleeps",
        "projector/lease.py",
        old="sorted(self._used - self.held)",
        new="sorted(self._used & self.held)",
        tests=(
            "tests/daemon/test_ownership.py::test_who_works_on_takes_its_lease_back_from_a_sleeper",
        ),
    ),
    Mutant(
        "lease-connection-left-open",
        "who is cancelled while it begins to listen leaves a connection that nobody closes",
        "projector/lease.py",
        old="            await close_quietly(connection)\n            raise\n",
        new="            raise\n",
        tests=(f"{CANCELLED}test_no_connection_is_left_wherever_a_task_is_cancelled",),
    ),
)
