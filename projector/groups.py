"""Groups: projections that are applied together, since some judge the rows of one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from projector.declare import Kept, Projection
from projector.errors import UsageError
from projector.judging import Judged


@dataclass(frozen=True, slots=True)
class Group:
    """A projection with judged columns, and those that it is applied after, by name.

    They are at one offset at all times: one transaction moves all their checkpoints.
    """

    judged: Projection
    others: tuple[Projection, ...]

    @property
    def name(self) -> str:
        """The name of the judged projection, by which the group is known."""
        return self.judged.name

    @property
    def members(self) -> tuple[Projection, ...]:
        """All of them, the judged one last."""
        return (*self.others, self.judged)

    @property
    def names(self) -> list[str]:
        """The names of all, in order."""
        return sorted(member.name for member in self.members)

    @property
    def judging(self) -> Judged:
        """What is judged, and how."""
        assert self.judged.judged is not None
        return self.judged.judged


def groups_of(declarations: Iterable[Kept]) -> list[Group]:
    """The groups among some declarations. Where one that is declared to come first is not there,
    there is none: the judged columns then stay NULL.

    Raises `UsageError` for a projection that would be in two groups.
    """
    by_name = {d.name: d for d in declarations if isinstance(d, Projection)}
    groups = []
    for projection in by_name.values():
        judged = projection.judged
        if judged is not None and by_name.keys() >= set(judged.after):
            others = tuple(by_name[name] for name in sorted(judged.after))
            groups.append(Group(projection, others))
    seen: set[str] = set()
    for group in groups:
        if twice := seen.intersection(group.names):
            raise UsageError(f"{', '.join(sorted(twice))} would be judged with, or for, two others")
        seen.update(group.names)
    return groups


def with_groups(names: Sequence[str], groups: Iterable[Group]) -> set[str]:
    """The names, and those of all who are in a group with one of them."""
    together = [name for group in groups if {*names} & {*group.names} for name in group.names]
    return {*names, *together}
