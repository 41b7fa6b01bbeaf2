"""`python -m tests.mutants [NAME …]`: tries mutants, prints the scorecard; 0 if all are caught."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from tests.mutants.catalogue import MUTANTS
from tests.mutants.journal import Journal
from tests.mutants.mutant import ROOT
from tests.mutants.scorecard import CAUGHT, Verdict, counted, judged, page

SCORECARD = ROOT / "ops" / "MUTANTS.md"
JOURNAL = ROOT / "build" / "mutants.jsonl"


def main() -> int:
    """Tries those named, or all that are not known to be caught; then writes the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="mutants, or files they are in; none: all")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time [2]")
    parser.add_argument("--list", action="store_true", help="only list them")
    parser.add_argument("--no-page", action="store_true", help="do not write ops/MUTANTS.md")
    parser.add_argument("--fresh", action="store_true", help="do not go on with what is in build/")
    given = parser.parse_args()
    chosen = [m for m in MUTANTS if not given.names or {m.name, m.file} & set(given.names)]
    if not chosen:
        parser.error("no mutant has that name; --list shows them")
    if given.list:
        for mutant in chosen:
            print(f"{mutant.name:32} {mutant.file:28} {mutant.models}")
        return 0
    journal = Journal(JOURNAL, fresh=given.fresh)
    known = [] if given.names else journal.known(chosen)
    tried = {verdict.mutant.name for verdict in known}

    def say(verdict: Verdict) -> None:
        journal.add(verdict)
        _say(verdict)

    fresh = judged([m for m in chosen if m.name not in tried], given.jobs, say)
    by_name = {verdict.mutant.name: verdict for verdict in (*known, *fresh)}
    verdicts = [by_name[mutant.name] for mutant in chosen]
    print(counted(verdicts))
    if not given.names and not given.no_page:
        SCORECARD.write_text(page(verdicts, f"{datetime.now(UTC):%Y-%m-%d}"))
    return 0 if all(verdict.outcome == CAUGHT for verdict in verdicts) else 1


def _say(verdict: Verdict) -> None:
    print(f"{verdict.outcome:22}{verdict.mutant.name:34}{verdict.seconds:6.1f} s  {verdict.by}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
