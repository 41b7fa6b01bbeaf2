"""Top movers: who gained most in the past hour, in bounded memory."""

from __future__ import annotations

from projector.movers import KEYS_MAX, ROWS_MAX, SPAN_SECONDS, Mover, Movers, movers_of
from tests.support.clock import Clock
from tests.support.engine import DECLARATIONS


def rows(**gained: int) -> list[tuple[str, str]]:
    """So many rows for each key."""
    return [("uri", key) for key, n in gained.items() for _ in range(n)]


def test_the_first_counter_of_accounts_is_taken() -> None:
    movers = movers_of(DECLARATIONS)
    assert movers is not None
    assert (movers.counter, movers.of) == ("followersCount", "follow")
    assert movers_of([]) is None


def test_those_who_gained_most_come_first_and_an_hour_is_forgotten() -> None:
    clock = Clock()
    movers = Movers("followersCount", "follow", 1, clock)
    movers.take(rows(a=3, b=5, c=1))
    clock.now += SPAN_SECONDS
    movers.take(rows(a=4))
    movers.take([])
    # c gained one, which moves nothing.
    assert movers.top(8) == [Mover("a", 7), Mover("b", 5)]
    assert movers.top(1) == [Mover("a", 7)]
    clock.now += 5 * SPAN_SECONDS
    assert movers.top(8) == [Mover("a", 4)]
    clock.now += SPAN_SECONDS
    assert movers.top(8) == []


def test_memory_is_bounded_and_who_gains_much_stays() -> None:
    movers = Movers("followersCount", "follow", 1, Clock())
    for n in range(0, 5 * KEYS_MAX, ROWS_MAX - 10):
        movers.take([*rows(star=10), *(("uri", f"k{i}") for i in range(n, n + ROWS_MAX - 10))])
    ((_, counts),) = movers._spans
    assert len(counts) <= 2 * KEYS_MAX
    windows = len(range(0, 5 * KEYS_MAX, ROWS_MAX - 10))
    assert movers.top(3) == [Mover("star", 10 * windows)]
