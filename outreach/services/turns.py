"""Whose claim comes next in this process, so that a tenant's million delays nobody by its length.

What a process shares is its requests on their way. They are no more than keep its connections
busy, and when there is room for a batch, tenants that have something due take turns at it, each as
often as its weight says. Where sends have every place of the worker, others wait for a place: then
a tenant gives its own up after some batches and queues behind them.

Source: start-time fair queueing (Goyal, Vin, Cheng 1996): the next turn is that of the least
virtual time, which grows by 1 / weight with each; whoever comes anew starts at the present one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from uuid import UUID

# A claim waits for the database most of its time, so two at a time keep the process busy.
CLAIMS_MAX = 2
# Batches a unit of weight in a place that others wait for: changing places costs statements.
TENURE_BATCHES = 5


def _endless() -> int:
    return 2**31


@dataclass(slots=True)
class _Waiter:
    tenant_id: UUID
    start: float
    weight: int
    arrival: int  # who came first goes first
    granted: asyncio.Future[None]


@dataclass(slots=True)
class Turns:
    """The turns of one process."""

    batch_max: int = 100
    flying_max: int = 200  # a turn begins below this many messages on their way
    places: int = 8  # how many tasks the worker runs at a time
    room: Callable[[], int] = _endless  # what the provider's client could begin now
    reserved: int = 0  # claimed, or to be claimed, and not begun: the client does not know of them
    _time: float = 0.0
    _claiming: int = 0
    _flying: int = 0
    _present: int = 0
    _ends: dict[UUID, float] = field(default_factory=dict)  # virtual, of each one's latest turn
    _waiting: list[_Waiter] = field(default_factory=list)
    _arrivals: count[int] = field(default_factory=count)

    def enter(self, tenant_id: UUID) -> Seat:
        """Begin a tenant's slice; leave the seat at its end."""
        self._present += 1
        return Seat(self, tenant_id)

    @property
    def is_crowded(self) -> bool:
        """Whether sends have every place of this worker, so that others may wait for one."""
        return self._present >= self.places

    def _is_free(self) -> bool:
        if self._claiming == self._flying == 0:
            return True  # nobody's end would open the gate again
        expected = self._flying + self._claiming * self.batch_max
        return self._claiming < CLAIMS_MAX and expected < self.flying_max and self.free_room() > 0

    def free_room(self) -> int:
        """What could begin now beside all that is about to."""
        return self.room() - self.reserved

    def _look(self) -> None:
        """Grant what turns can be granted now."""
        while self._waiting and self._is_free():
            first = min(self._waiting, key=lambda waiter: (waiter.start, waiter.arrival))
            self._waiting.remove(first)
            if first.granted.cancelled():
                continue
            self._time = first.start
            self._ends[first.tenant_id] = first.start + 1 / first.weight
            self._claiming += 1
            first.granted.set_result(None)
            if len(self._ends) > 4 * (self._present + self.places):
                self._ends = {id_: end for id_, end in self._ends.items() if end > self._time}

    @asynccontextmanager
    async def _turn(self, tenant_id: UUID, weight: int) -> AsyncIterator[None]:
        start = max(self._time, self._ends.get(tenant_id, 0.0))
        granted = asyncio.get_running_loop().create_future()
        waiter = _Waiter(tenant_id, start, weight, next(self._arrivals), granted)
        self._waiting.append(waiter)
        self._look()
        try:
            await granted
            yield
        finally:
            if not granted.cancelled():
                self._claiming -= 1
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            self._look()


@dataclass(slots=True)
class Seat:
    """A tenant's place among those that send, for one slice."""

    _turns: Turns
    tenant_id: UUID
    weight: int = 1
    batches: int = 0

    @property
    def is_over(self) -> bool:
        """Whether others wait for this place and it has been used long enough."""
        return self._turns.is_crowded and self.batches >= TENURE_BATCHES * self.weight

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until it is this tenant's turn, and there is room; it ends with the block."""
        async with self._turns._turn(self.tenant_id, self.weight):
            self.batches += 1
            yield

    def begin_flight(self, messages: int) -> Flight:
        """What this turn has claimed is on its way."""
        self._turns._flying += messages
        return Flight(self._turns, messages)

    def leave(self) -> None:
        """The slice is over."""
        self._turns._present -= 1


@dataclass(slots=True)
class Flight:
    """A batch on its way; what is answered makes room."""

    _turns: Turns
    left: int

    def answered(self, messages: int) -> None:
        """So many are not on their way any more."""
        self.left -= messages
        self._turns._flying -= messages
        self._turns._look()

    def end(self) -> None:
        """Nobody waits for what is left of it."""
        self.answered(self.left)
