"""Turns: one batch each, by weight, whoever has how much."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.services.turns import CLAIMS_MAX, TENURE_BATCHES, Flight, Seat, Turns


class Provider:
    """Answers batches one after the other, and remembers in which order they were claimed."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.claimed: list[int] = []
        self.waiting: deque[Flight] = deque()

    async def work(self, tenant: int, batches: int, weight: int = 1) -> None:
        """Claim so many batches, each in its turn."""
        seat = self.turns.enter(UUID(int=tenant))
        seat.weight = weight
        for _ in range(batches):
            await self.claim(seat)
        seat.leave()

    async def claim(self, seat: Seat) -> None:
        async with seat.turn():
            await asyncio.sleep(0)
            self.claimed.append(seat.tenant_id.int)
            self.waiting.append(seat.begin_flight(self.turns.batch_max))
        asyncio.get_running_loop().call_soon(self.answer)

    def answer(self) -> None:
        self.waiting.popleft().end()


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 30)), min_size=1, max_size=8))
async def test_turns_follow_the_weights(tenants: list[tuple[int, int]]) -> None:
    """While all wait, nobody is further ahead of its share than what is on its way."""
    turns = Turns(batch_max=1, flying_max=1)
    provider = Provider(turns)
    async with asyncio.TaskGroup() as group:
        for number, (weight, batches) in enumerate(tenants):
            group.create_task(provider.work(number, batches, weight))
    seen: Counter[int] = Counter()
    for number in provider.claimed:
        seen[number] += 1
        shares = [seen[n] / weight for n, (weight, most) in enumerate(tenants) if seen[n] < most]
        assert max(shares, default=0.0) - min(shares, default=0.0) <= 2.0
    assert [seen[number] for number in range(len(tenants))] == [most for _, most in tenants]


async def test_who_comes_later_does_not_wait_for_what_was_before() -> None:
    turns = Turns()
    provider = Provider(turns)
    big = asyncio.create_task(provider.work(1, 1000))
    await provider.work(2, 1)
    before = len(provider.claimed)
    await provider.work(3, 1)
    assert provider.claimed.index(3) - before <= 1 + turns.flying_max // turns.batch_max
    big.cancel()
    with pytest.raises(asyncio.CancelledError):
        await big


async def test_nobody_saves_turns_up() -> None:
    """A tenant that had nothing for long does not hold the others back when it has."""
    provider = Provider(Turns(batch_max=1, flying_max=1))
    await provider.work(1, 500)
    provider.claimed.clear()
    await asyncio.gather(provider.work(1, 10), provider.work(2, 100))
    assert Counter(provider.claimed[:20])[1] >= 9


@pytest.mark.parametrize("is_room", [True, False])
async def test_a_turn_waits_for_room(is_room: bool) -> None:
    """For a batch among the messages on their way, or with the provider's client."""
    room = [1]
    turns = Turns(batch_max=10, flying_max=20, room=lambda: room[0])
    seat = turns.enter(UUID(int=1))
    flight = seat.begin_flight(20 if is_room else 5)
    room[0] = int(is_room)
    waiting = asyncio.create_task(Provider(turns).claim(seat))
    await asyncio.sleep(0)
    assert seat.batches == 0
    room[0] = 1
    flight.answered(1)
    await waiting
    assert seat.batches == 1


async def test_nobody_waits_where_nothing_is_on_its_way() -> None:
    turns = Turns(room=lambda: 0)
    async with turns.enter(UUID(int=1)).turn():
        pass


async def test_a_wait_that_is_canceled_leaves_no_trace() -> None:
    turns = Turns(batch_max=1, flying_max=1)
    provider = Provider(turns)
    seat = turns.enter(UUID(int=1))
    flight = seat.begin_flight(1)
    waiting = asyncio.create_task(provider.claim(seat))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    flight.end()
    await provider.work(2, 5)
    assert provider.claimed == [2] * 5


async def test_a_claim_that_fails_gives_its_turn_back() -> None:
    turns = Turns()
    seat = turns.enter(UUID(int=1))
    for _ in range(CLAIMS_MAX + 1):
        with pytest.raises(ValueError, match="no"):
            async with seat.turn():
                raise ValueError("no")


def seats_over(*seats: Seat) -> list[Seat]:
    return [seat for seat in seats if seat.is_over]


async def test_a_place_is_given_up_where_others_wait_for_it() -> None:
    turns = Turns(places=2)
    seat = turns.enter(UUID(int=1))
    seat.weight = 2
    for _ in range(2 * TENURE_BATCHES):
        await Provider(turns).claim(seat)
    assert seats_over(seat) == [], "there is a place for others"
    other = turns.enter(UUID(int=2))
    assert seats_over(seat, other) == [seat]
    other.leave()
    assert seats_over(seat) == []
