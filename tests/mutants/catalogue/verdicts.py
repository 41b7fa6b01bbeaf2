"""Bugs of what is judged: flags of posts, rows of child tables that a verdict gives, and whom posts
notify."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

TOLD = "tests/judging/test_notices.py::test_who_is_told"
FLAGGED = "tests/judging/test_scenarios.py::test_a_scenario_comes_out_as_the_page_says"
MENDED = "tests/judging/test_mended.py::"

MUTANTS: Final = (
    Mutant(
        "judged-rows-untold",
        "that rows were judged to be there is told to nobody who is fed by them",
        "projector/apply.py",
        old="            self.moves.sent_judged(cells)\n",
        new="",
        tests=(TOLD,),
    ),
    Mutant(
        "judged-lost-on-edit",
        "an edited post is judged anew, and what comes of it is not written",
        "projector/apply.py",
        old="self.writer.home, rows)\n            await self._put_judged(rows)\n",
        new="self.writer.home, rows)\n",
        tests=(TOLD,),
    ),
    Mutant(
        "judged-healed-away",
        "a post that is put right notifies nobody any more",
        "projector/patch.py",
        old="of = gone if child.judged else uris",
        new="of = uris",
        tests=(f"{MENDED}test_heal_leaves_whom_a_post_has_notified",),
    ),
    Mutant(
        "judged-not-compared",
        "a rebuild does not look at what was decided, but for flags",
        "projector/compare.py",
        old="    for child in projection.every_child:\n",
        new="    for child in projection.children:\n",
        tests=(f"{MENDED}test_a_rebuild_finds_a_notice_that_was_lost",),
    ),
    Mutant(
        "notices-beyond-what-is-hidden",
        "who is above a reply that the thread's author hides is told of those below it",
        "projections/post_notice.py",
        old="at = None if at in hidden else found[-1]",
        new="at = found[-1]",
        tests=(TOLD,),
    ),
    Mutant(
        "notices-of-the-old-thread",
        "a thread that leads back to an edited post goes on with what it replied to before",
        "projections/post_notice.py",
        old="at is not None and at != uri and",
        new="at is not None and",
        tests=(TOLD,),
    ),
    Mutant(
        "flags-not-handed-down",
        "a reply to an invalid reply is valid",
        "projections/verdicts.py",
        old="    if invalid:\n        return True\n",
        new="",
        tests=(FLAGGED,),
    ),
    Mutant(
        "flags-of-the-old-self",
        "a post that replies to itself is judged by what it was before",
        "projections/verdicts.py",
        old="    if parent == uri:\n        return parent == root\n",
        new="",
        tests=(FLAGGED,),
    ),
    Mutant(
        "flags-forbid-the-owner",
        "who closes a thread may not reply in it",
        "projections/verdicts.py",
        old="    if owner == replier:\n        return False\n    rows",
        new="    rows",
        tests=(FLAGGED,),
    ),
    Mutant(
        "flags-follower-for-following",
        "a thread is open to those who follow its owner, not to those whom the owner follows",
        "projections/verdicts.py",
        old='Claims("follow", (owner, replier))',
        new='Claims("follow", (replier, owner))',
        tests=(FLAGGED,),
    ),
)
