"""The time and the contacts of a simulation: what is to happen next, and how far each one has come.

Everything that will happen stands in one heap by its moment, then by the order in which it was
planned, so that the same simulation always runs alike. What was planned for a contact that has
moved on since is left there, and known by its `epoch`.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from outreach.core.matching import Event, Position
from outreach.core.plan import Plan, Trigger
from outreach.core.schedule import zone_for
from outreach.core.simulate_habits import Chance
from outreach.core.simulate_tokens import Bound, SenderKey
from outreach.core.suppression import end_code

_SUPPRESSING = frozenset({Trigger.BOUNCED, Trigger.SPAM_REPORT, Trigger.UNSUBSCRIBED})


@dataclass(slots=True)
class Contact:
    """One made-up reader and its enrollment."""

    number: int
    zone: ZoneInfo
    domain: int | None  # the number of a big recipient domain
    position: Position
    epoch: int = 0  # raised when what is pending for it is canceled
    mails: int = 0  # sent so far
    history: list[Event] = field(default_factory=list)  # of the latest mail
    refusal: str | None = None  # the decision's code, once nothing may be sent any more
    has_ended: bool = False

    def hear(self, what: Trigger, event: Event) -> None:
        """Keep what concerns the latest mail, and what forbids another."""
        if event.is_latest:
            self.history.append(event)
        if self.refusal is None and what in _SUPPRESSING:
            self.refusal = end_code(what)


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who the contacts are: zones with their weights, and the shares of big recipient domains."""

    zones: Sequence[tuple[str | None, float]] = ((None, 1.0),)
    domains: Sequence[float] = ()

    def zone(self, plan: Plan, chance: Chance) -> ZoneInfo:
        """The zone that applies to one of them."""
        if len(self.zones) == 1:
            return zone_for(plan, self.zones[0][0])
        left = chance.random() * sum(weight for _, weight in self.zones)
        for name, weight in self.zones:
            left -= weight
            if left < 0.0:
                return zone_for(plan, name)
        return zone_for(plan, self.zones[-1][0])

    def domain(self, chance: Chance) -> int | None:
        """The big domain of one of them, or None."""
        if not any(self.domains):
            return None
        left = chance.random()
        for number, share in enumerate(self.domains):
            left -= share
            if left < 0.0:
                return number
        return None


@dataclass(frozen=True, slots=True)
class SendDue:
    """A message may go, as far as the plan is concerned."""

    contact: Contact
    epoch: int
    sender: SenderKey


@dataclass(frozen=True, slots=True)
class TimerDue:
    """A timeout of a node at its visit."""

    contact: Contact
    epoch: int
    node_id: str
    visit: int
    on: str


@dataclass(frozen=True, slots=True)
class Heard:
    """Something has become of the contact's nth mail."""

    contact: Contact
    mail: int
    what: Trigger
    is_machine: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """A sender has tokens again."""

    sender: SenderKey


@dataclass(frozen=True, slots=True)
class Release:
    """A big domain has tokens again."""

    domain: int


Item = SendDue | TimerDue | Heard | Turn | Release


class Agenda:
    """What is to happen, soonest first."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, Item]] = []
        self._planned = 0

    def plan(self, at: datetime, item: Item) -> None:
        """Let it happen then, after whatever was planned for that moment before."""
        self._planned += 1
        heapq.heappush(self._heap, (at, self._planned, item))

    def next(self) -> tuple[datetime, Item] | None:
        """The next and its moment; None where nothing is left to happen."""
        if not self._heap:
            return None
        at, _, item = heapq.heappop(self._heap)
        return at, item


@dataclass(slots=True)
class Lane:
    """Messages that wait for one sender's tokens, as they came due."""

    waiting: deque[SendDue] = field(default_factory=deque)
    bound: Bound | None = None  # why it is parked; its next turn is planned


@dataclass(slots=True)
class Queue:
    """Messages that wait for tokens of one big domain."""

    waiting: deque[SendDue] = field(default_factory=deque)
    is_planned: bool = False  # its next release
