"""Asks the same of two databases, and says what differs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from tests.peer.answers import Asked, Difference, differences, served
from tests.peer.questions import Question, questions
from tests.peer.tables import canonical

SHOWN_MAX: Final = 40
VALUE_CHARACTERS_MAX: Final = 120

# What an operator of an AppView sets by hand: whose verifications count.
TRUST: Final = (
    'UPDATE bsky.actor SET "trustedVerifier" = did IN (SELECT creator FROM bsky.verification)'
)


@dataclass
class Comparison:
    """How many questions were asked, by method, and which were answered differently, and where."""

    asked: Counter[str] = field(default_factory=Counter)
    differing: list[tuple[Question, list[Difference]]] = field(default_factory=list)

    @property
    def methods(self) -> set[str]:
        """The methods with a difference."""
        return {question.method for question, _ in self.differing}

    def lines(self) -> list[str]:
        """The report: a line a method, then the first differences."""
        wrong = Counter(question.method for question, _ in self.differing)
        told = [f"{'method':44}{'questions':>10}{'differing':>10}"]
        told += [f"{method:44}{n:10}{wrong[method]:10}" for method, n in sorted(self.asked.items())]
        for question, places in self.differing[:SHOWN_MAX]:
            path, expected, found = places[0]
            told += [
                f"{question}",
                f"  {path} (and {len(places) - 1} more)",
                f"    expected {_short(expected)}",
                f"    found    {_short(found)}",
            ]
        total, bad = self.asked.total(), len(self.differing)
        return [*told, f"{total - bad} of {total} answers are equal"]


def _short(value: Any) -> str:
    text = canonical(value)
    return text if len(text) <= VALUE_CHARACTERS_MAX else text[:VALUE_CHARACTERS_MAX] + "…"


async def compare(expected_url: str, found_url: str, events: Sequence[bytes]) -> Comparison:
    """Asks all that the events suggest of the peer's servers over one database and the other."""
    for url in (expected_url, found_url):
        await execute(url, TRUST)
    async with served(expected_url) as expecting, served(found_url) as finding:
        return await asked(expecting, finding, questions(events))


async def asked(expecting: Asked, finding: Asked, of: Iterable[Question]) -> Comparison:
    """Asks both."""
    result = Comparison()
    for question in of:
        result.asked[question.method] += 1
        expected, found = await asyncio.gather(expecting.answer(question), finding.answer(question))
        if places := list(differences(expected, found)):
            result.differing.append((question, places))
    return result


async def execute(url: str, *statements: str) -> None:
    """Runs statements on a database."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
