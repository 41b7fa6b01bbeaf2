"""What the pages tell an operator to type is understood by the program."""

from __future__ import annotations

import re
import shlex

import pytest

from projector.cli import app
from projector.environment import take_settings
from tests.style.test_style import ROOT

PAGES = (
    "README.md", "ops/RUNBOOK.md", "ops/UPGRADE.md", "ops/MOVING_IN.md", "ops/bench/RESULTS.md"
)  # fmt: skip
TYPED = re.compile(r"^ *(?:\S*/)?projector (.*)$", re.MULTILINE)
PLACEHOLDERS = {"DID…": "did:plc:x", "COMMAND": "status", "NAME": "like"}


def typed() -> list[str]:
    """Every command line in the pages, once."""
    found: dict[str, None] = {}
    for page in PAGES:
        text = (ROOT / page).read_text("utf-8")
        for block in re.findall(r"```(?:sh)?\n(.*?)```", text, re.DOTALL):
            found.update(dict.fromkeys(TYPED.findall(block)))
        for line in re.findall(r"`projector ([^`]*)`", text.replace("\n", " ")):
            found[line] = None
    return [line.partition("#")[0].strip() for line in found if not line.startswith("…")]


@pytest.mark.parametrize("line", typed())
def test_a_command_of_the_pages_is_understood(line: str) -> None:
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(line)]
    if words[0] not in (name for name in app if not name.startswith("-")):
        pytest.fail(f"there is no command {words[0]}")
    # Raises where a word is not understood; what is left out here is asked for there.
    if len(words) > 1:
        app.parse_args(take_settings(words), exit_on_error=False, print_error=False)
