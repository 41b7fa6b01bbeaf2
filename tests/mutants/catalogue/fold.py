"""Bugs of folding a window into its net effect."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

MODEL = "tests/model/test_model.py::test_tables_are_those_of_the_model_in_any_windows"
ODD = "tests/model/test_model.py::test_events_without_revs_are_always_applied"
LATE = (
    "tests/simulator/test_windows.py::"
    "test_a_delete_that_comes_late_does_not_make_a_create_a_new_one"
)
SUFFIX = "tests/model/test_model.py::test_any_suffix_delivered_again_changes_no_byte"

MUTANTS: Final = (
    Mutant(
        "fold-rev-turned-round",
        "of a record's events in one window the one with the lowest revision decides",
        "projector/fold.py",
        old="            return rev <= known.rev\n",
        new="            return rev >= known.rev\n",
        tests=(MODEL,),
    ),
    Mutant(
        "fold-same-rev-decides",
        "an event that comes again with the same revision counts as a newer one",
        "projector/fold.py",
        old="            return rev <= known.rev\n",
        new="            return rev < known.rev\n",
        tests=("tests/mutants/test_missing_fold.py::test_the_first_of_two_with_one_rev_decides",),
    ),
    Mutant(
        "fold-odd-revs-compared",
        "a revision that is no TID is compared as if it were one",
        "projector/fold.py",
        old="rev is not None and len(rev) == TID_CHARS else None",
        new="rev is not None and len(rev) > 0 else None",
        tests=(ODD,),
    ),
    Mutant(
        "fold-always-decided",
        "what a window says of a record is believed without what the tables know of its past",
        "projector/fold.py",
        old="            if known is not None and _is_undecided(known, event, rev):\n",
        new="            if rev == '' and known is not None and _is_undecided(known, event, ''):\n",
        tests=(MODEL, ODD),
    ),
    Mutant(
        "fold-create-over-create-decided",
        "a create after a create is applied at once: a repeat hides that it was deleted between",
        "projector/fold.py",
        old='        return event.action == "create"\n',
        new='        return event.action == "create" and known.row is None\n',
        tests=(MODEL, SUFFIX),
    ),
    Mutant(
        "fold-create-over-delete-decided",
        "a create after a delete passes for a new one: the delete may be a repeat from long ago",
        "projector/fold.py",
        old='        return event.action == "create"\n',
        new='        return event.action == "create" and known.row is not None\n',
        tests=(LATE,),
    ),
    Mutant(
        "fold-invalid-deletes",
        "an invalid record is taken for a delete of what was there",
        "projector/fold.py",
        old="(invalid(event, error))\n                    continue\n",
        new="(invalid(event, error))\n",
        tests=(MODEL,),
    ),
    Mutant(
        "fold-removal-forgets-nothing",
        "what a window has of an account before its removal stays",
        "projector/fold.py",
        old="if not removed_at or event.log_offset >= removed_at.get(event.did, 0):",
        new="if not removed_at or event.log_offset >= 0:",
        tests=(MODEL,),
    ),
    Mutant(
        "fold-removal-takes-all",
        "what a window has of an account after its removal goes too",
        "projector/fold.py",
        old="if not removed_at or event.log_offset >= removed_at.get(event.did, 0):",
        new="if not removed_at or event.did not in removed_at:",
        tests=(MODEL,),
    ),
    Mutant(
        "fold-first-removal-counts",
        "of two removals of an account in one window the first counts",
        "projector/fold.py",
        old="for event in window.removals}",
        new="for event in reversed(window.removals)}",
        tests=(MODEL,),
    ),
    Mutant(
        "fold-update-passes-for-new",
        "a record that a window first updates counts as one that no table has",
        "projector/fold.py",
        old='known is None and event.action == "create")',
        new='known is None and event.action != "delete")',
        tests=(MODEL,),
    ),
    Mutant(
        "fold-half-edge-off",
        "of a window that is cut in two the last event of the first part is lost",
        "projector/fold.py",
        old="            [e for e in self.commits if after < e.log_offset <= through],\n",
        new="            [e for e in self.commits if after < e.log_offset < through],\n",
        tests=(
            "tests/invariants/test_invariant_8.py::"
            "test_invariant_8_what_postgres_refuses_is_isolated",
        ),
    ),
    Mutant(
        "fold-deletes-leave-no-rev",
        "of deleted records no revision is noted: a repeat of the create brings them back",
        "projector/fold.py",
        old="        if net.rev is not None:\n            folded.revs[uri] = net.rev\n",
        new="        if net.rev is not None and net.row:\n            folded.revs[uri] = net.rev\n",
        tests=(MODEL,),
    ),
)
