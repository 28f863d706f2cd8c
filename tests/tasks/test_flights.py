from __future__ import annotations

import asyncio

import pytest

from outreach.tasks.flights import REST_SECONDS, REST_SECONDS_MAX, Flights


class Clock:
    """A clock that stands still until told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def nothing_left() -> bool:
    return False


async def fails() -> bool:
    raise ZeroDivisionError


async def test_a_wake_up_during_the_flight_joins_it_and_asks_for_another() -> None:
    flights = Flights()
    is_going, may_land = asyncio.Event(), asyncio.Event()

    async def work() -> bool:
        is_going.set()
        await may_land.wait()
        return False

    first = asyncio.create_task(flights.fly("a", work))
    await is_going.wait()
    assert await flights.fly("a", fails) is False, "the second did not fly"
    assert await flights.fly("b", nothing_left) is False, "others fly beside it"
    may_land.set()
    assert await first is True
    assert await flights.fly("a", nothing_left) is False


async def test_work_that_is_left_asks_for_another_flight() -> None:
    async def some_left() -> bool:
        return True

    assert await Flights().fly("a", some_left) is True


async def test_failures_rest_longer_and_longer_until_a_success() -> None:
    clock = Clock()
    flights = Flights(clock)
    waits = []
    for _ in range(12):
        with pytest.raises(ZeroDivisionError):
            await flights.fly("a", fails)
        assert await flights.fly("a", fails) is False, "it rests, so nothing fails"
        began_at = clock.now
        while "a" in flights.failing(1) and not await _flies(flights, clock):
            clock.now += REST_SECONDS / 2
        waits.append(clock.now - began_at)
    assert waits[:3] == [REST_SECONDS, 2 * REST_SECONDS, 4 * REST_SECONDS]
    assert waits[-1] == REST_SECONDS_MAX
    clock.now += REST_SECONDS_MAX
    assert flights.failing(12) == ["a"]
    await flights.fly("a", nothing_left)
    assert flights.failing(1) == []


async def _flies(flights: Flights, clock: Clock) -> bool:
    """Whether the task would fly now; it is canceled before it could succeed or fail."""

    async def canceled() -> bool:
        raise asyncio.CancelledError

    try:
        await flights.fly("a", canceled)
    except asyncio.CancelledError:
        return True
    return False


async def test_a_canceled_flight_is_no_failure() -> None:
    flights = Flights()
    assert await _flies(flights, Clock())
    assert flights.failing(1) == []
    assert await _flies(flights, Clock()), "and it may fly again at once"
