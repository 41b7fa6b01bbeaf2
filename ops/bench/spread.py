"""A figure measured several times: its median, and from where to where it went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """The values of all rounds, in their order."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of some values."""
        return cls(tuple(values))

    @property
    def median(self) -> float:
        """The value in the middle."""
        return median(self.values)

    def over(self, other: Spread) -> Spread:
        """The ratios to another, each to the value of its own round."""
        return Spread.of(a / b for a, b in zip(self.values, other.values, strict=True))

    def plus(self, other: Spread | None) -> Spread:
        """The sums with another, each with the value of its own round; without one, the same."""
        if other is None:
            return self
        return Spread.of(a + b for a, b in zip(self.values, other.values, strict=True))

    def text(self, form: str = ",.1f") -> str:
        """The median."""
        return format(self.median, form)

    def span(self, form: str = ",.1f") -> str:
        """The least and the most."""
        return f"{min(self.values):{form}}–{max(self.values):{form}}"

    def figures(self, name: str) -> dict[str, Any]:
        """Median, least, most and every round, under names that begin with `name`."""
        return {
            name: self.median,
            f"{name}_min": min(self.values),
            f"{name}_max": max(self.values),
            f"{name}_rounds": list(self.values),
        }
