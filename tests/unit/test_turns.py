"""Turns: how many at once, who is next, and what becomes of the place of one that gives up."""

from __future__ import annotations

import asyncio

from projector.turns import Turns


async def take(turns: Turns, size: int, order: list[int], go: asyncio.Event) -> None:
    async with turns.turn(size):
        order.append(size)
        await go.wait()


async def settled() -> None:
    """Lets every task go on until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_largest_of_those_that_wait_is_next() -> None:
    turns, order, go = Turns(2), list[int](), asyncio.Event()
    work = [asyncio.create_task(take(turns, size, order, go)) for size in (1, 2, 3, 5, 4)]
    await settled()
    assert order == [1, 2]
    go.set()
    await asyncio.gather(*work)
    assert order == [1, 2, 5, 4, 3]


async def test_of_equal_size_whoever_came_first() -> None:
    turns, order = Turns(1), list[str]()

    async def named(name: str) -> None:
        async with turns.turn():
            order.append(name)
            await settled()

    await asyncio.gather(*(named(name) for name in "abc"))
    assert order == ["a", "b", "c"]


async def test_one_that_gives_up_while_it_waits_is_passed_over() -> None:
    turns, order, go = Turns(1), list[int](), asyncio.Event()
    work = [asyncio.create_task(take(turns, size, order, go)) for size in (1, 3, 2)]
    await settled()
    work[1].cancel()
    go.set()
    await asyncio.gather(*work, return_exceptions=True)
    assert order == [1, 2]


async def test_a_place_given_to_one_that_just_gave_up_goes_to_the_next() -> None:
    turns, order, go = Turns(1), list[int](), asyncio.Event()
    first = asyncio.create_task(take(turns, 1, order, go))
    second = asyncio.create_task(take(turns, 2, order, go))
    await settled()
    go.set()
    while not first.done():
        await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert order == [1]
    async with asyncio.timeout(5), turns.turn():
        pass


async def test_an_error_within_gives_the_place_back() -> None:
    turns = Turns(1)
    for _ in range(2):
        try:
            async with asyncio.timeout(5), turns.turn():
                raise ValueError
        except ValueError:
            continue
