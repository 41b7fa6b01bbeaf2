"""The report of a run: ratios first, then the machine, then a table for each part; and as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.bench.section import Section

RESULTS = Path(__file__).parent / "results"


@dataclass(slots=True)
class Report:
    """What all parts of one run measured."""

    machine: Mapping[str, str]
    options: Mapping[str, Any]
    sections: list[Section] = field(default_factory=list)

    def add(self, section: Section) -> None:
        """Takes in a part, and says at once what came out."""
        self.sections.append(section)
        for line in section.ratios:
            say(line)

    def text(self) -> str:
        """The report for a person."""
        head = [line for section in self.sections for line in section.ratios]
        parts = [
            "\n".join(head),
            ", ".join(f"{name} {value}" for name, value in self.machine.items()),
            *(
                f"{section.title}\n{aligned([section.heads, *section.rows])}"
                for section in self.sections
            ),
        ]
        return "\n\n".join(part for part in parts if part)

    def save(self, name: str) -> Path:
        """Writes everything measured to `results/<name>.json`."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{name}.json"
        result = {
            "ratios": [line for section in self.sections for line in section.ratios],
            "machine": dict(self.machine),
            "options": dict(self.options),
            "measured": {section.title: section.figures for section in self.sections},
        }
        path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", "utf-8")
        return path


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines; the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def say(line: str) -> None:
    """Progress, on standard error."""
    print(f"bench: {line}", file=sys.stderr, flush=True)
