"""Bugs of child tables, of rows that are not, and of columns that others keep."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

MODEL = "tests/model/test_model.py::test_tables_are_those_of_the_model_in_any_windows"
COLLECTIONS = "tests/integration/test_collections.py::"
EVERYTHING = "tests/rebuild/test_everything.py::"

MUTANTS: Final = (
    Mutant(
        "child-rows-stay",
        "what a post embedded stays when the post is deleted or edited",
        "projector/apply.py",
        old="            gone = await self.connection.fetch(child.delete, uris)\n",
        new="            gone = await self.connection.fetch(child.delete, uris[:0])\n",
        tests=(f"{COLLECTIONS}test_what_is_deleted_leaves_nothing",),
    ),
    Mutant(
        "child-deletes-uncounted",
        "rows of child tables that go are not counted down",
        "projector/apply.py",
        old="            self.moves.returned(gone, -1, child.name)\n",
        new="",
        tests=(MODEL,),
    ),
    Mutant(
        "child-inserts-uncounted",
        "rows of child tables that come are not counted",
        "projector/moves.py",
        old="        self.sent_children(rows)\n",
        new="",
        tests=(MODEL,),
    ),
    Mutant(
        "child-lost-on-edit",
        "an edited post loses what it embeds",
        "projector/apply.py",
        old="            await copy_children(self.connection, self.writer.projection, "
        "self.writer.home, rows)\n",
        new="",
        tests=(f"{COLLECTIONS}test_an_update_replaces", MODEL),
    ),
    Mutant(
        "child-of-removed-account-stays",
        "what a removed account's posts embedded stays",
        "projector/apply.py",
        old="                await fetch(child.remove_account, *span, through)\n",
        new="                pass\n",
        tests=(f"{COLLECTIONS}test_what_is_deleted_leaves_nothing",),
    ),
    Mutant(
        "account-without-index-stays",
        "tables without an index on the account keep the rows of a removed one",
        "projector/statements.py",
        old='"uri >= $1 AND uri < $2"',
        new='"uri >= $1 AND uri < $1 AND uri < $2"',
        tests=(f"{COLLECTIONS}test_what_is_deleted_leaves_nothing",),
    ),
    Mutant(
        "kept-lost-on-update",
        "what a moderator wrote into a row is gone after an update of the record",
        "projector/apply.py",
        old="            if kept and self.sql.keep:\n",
        new="            if kept and not self.sql.keep:\n",
        tests=(f"{COLLECTIONS}test_a_takedown_survives_an_update_and_not_a_delete",),
    ),
    Mutant(
        "kept-lost-on-swap",
        "what a moderator wrote into rows is gone after a rebuild",
        "projector/swap.py",
        old="    await _copy_kept(connection, projection, name, green)\n",
        new="",
        tests=(f"{EVERYTHING}test_a_rebuild_of_everything_changes_nothing",),
    ),
    Mutant(
        "rebuild-children-not-taken-out",
        "a rebuild leaves the child rows of keys whose events it applies once more",
        "projector/busy.py",
        old='    return [(home.base(projection.table), "uri"), *children]\n',
        new='    return [(home.base(projection.table), "uri"), *children[:0]]\n',
        tests=("tests/rebuild/test_rebuild.py::test_a_rebuild_equals_live_tables_and_the_model",),
    ),
    Mutant(
        "rebuild-no-row-is-a-row",
        "a rebuild forgets that a record which makes no row came after one that did",
        "projector/bulk.py",
        old="                rowless.add(uri)\n",
        new="                pass\n",
        tests=(
            "tests/integration/test_op_thread.py::"
            "test_of_two_creates_the_last_says_whether_there_is_a_row",
        ),
    ),
    Mutant(
        "truth-without-children",
        "verify does not look at child tables",
        "projector/differences.py",
        old="            cells[at] = children_of(cells[at])\n",
        new="            cells[at] = None\n",
        tests=(f"{EVERYTHING}test_damage_of_child_tables_is_found_and_healed",),
    ),
)
