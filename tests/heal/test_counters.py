"""A counter's correction: whatever was wrong, it ends at its rows and never falls below zero."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from projector.counters import Compared, correction
from tests.support.histories import budget

small = st.integers(-4, 4)


@given(st.integers(-4, 9), st.lists(small, max_size=6), st.integers(0, 5), small)
@budget(300)
def test_after_a_correction_the_counter_arrives_at_its_rows(
    stored: int, pending: list[int], before: int, moved: int
) -> None:
    counted = max(before + moved, 0)
    moved = counted - before
    runs = [sum(pending[: n + 1]) for n in range(len(pending))]
    todo = correction(Compared(stored, sum(pending), min([0, *runs]), counted), moved)

    steps = [stored + todo.stored]
    for delta in [*pending, todo.delta]:
        steps.append(steps[-1] + delta)
    assert steps[-1] == counted
    assert min(steps) >= 0


@given(st.lists(small, max_size=6), st.integers(0, 9), small)
@budget(300)
def test_a_counter_in_order_moves_only_by_its_delta(
    pending: list[int], stored: int, moved: int
) -> None:
    low = min([0, *(sum(pending[: n + 1]) for n in range(len(pending)))])
    stored -= low  # As an undisturbed one is: it never falls below zero.
    counted = stored + sum(pending) + moved
    todo = correction(Compared(stored, sum(pending), low, counted), moved)
    assert (todo.stored, todo.delta) == (0, moved)
