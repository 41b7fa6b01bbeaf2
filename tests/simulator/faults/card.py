"""What came of the cases, and the page that says so."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.simulator.faults.case import Outcome
from tests.simulator.faults.fault import FAULTS

HEAD = """# Faults on real servers: the scorecard

Made by `make faults`; a case is repeated by its seed and the names of its faults. In each, a
history of the simulator with every awkward order goes through the real pipeline (websocket → Redis
→ log → two daemons, each a process of its own; Postgres and Redis behind a proxy of our own) while
the faults befall it, two at once in the pairs. In the end the log is compared with the history, and
all tables with its final state; all the while another connection looks whether every counter is
exact and the log without a gap. A fault that is not seen to fire fails its case.
"""


@dataclass
class Score:
    """What came of the cases."""

    single: list[Outcome] = field(default_factory=list)
    pairs: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def cases(self) -> list[Outcome]:
        return [*self.single, *self.pairs]

    @property
    def failed(self) -> list[Outcome]:
        return [case for case in self.cases if not case.is_good]


def scorecard(score: Score, seed: int) -> str:
    """The scorecard as a page."""
    looks = sum(case.looks for case in score.cases)
    proofs = {name: proof for case in score.single for name, proof in case.proofs.items()}
    lines = [
        HEAD,
        f"- Seed {seed}: {len(score.single)} of {len(FAULTS)} faults singly, {len(score.pairs)}"
        " random pairs.",
        f"- {len(score.cases) - len(score.failed)} of {len(score.cases)} cases passed, every fault"
        f" of them seen to fire; {looks:,} looks from outside; {score.seconds / 60:.0f} minutes.",
        "",
        "| fault | what is done | how it is seen | what must hold |",
        "|---|---|---|---|",
        *(f"| `{f.name}` | {f.does} | {f.seen} | {f.holds} |" for f in FAULTS.values()),
    ]
    if score.failed:
        lines += ["", "## Failed", "", *(f"- {_line(case)}" for case in score.failed)]
    lines += ["", "## Seen, singly", "", *(f"- `{n}`: {p}" for n, p in proofs.items())]
    lines += ["", "## Pairs", "", *(f"- {_line(case)}" for case in score.pairs)]
    return "\n".join(lines) + "\n"


def _line(case: Outcome) -> str:
    return " ".join(str(case).split())[:300]
