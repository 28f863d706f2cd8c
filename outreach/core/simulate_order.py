"""What is asked of a simulation, within which bounds, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from outreach.core.errors import Invalid, Problem
from outreach.core.simulate_tokens import Caps
from outreach.core.simulate_world import Crowd
from outreach.core.states import EnrollmentState

CONTACTS_MAX = 100_000
YEARS = range(1971, 2101)  # whose holidays and clock changes are known or guessed


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be simulated, beside the plan and its readers."""

    contacts: int
    start_at: datetime
    caps: Caps = field(default_factory=Caps)
    crowd: Crowd = field(default_factory=Crowd)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    messages_by_day: Mapping[date, int]  # by days of the plan's zone; none without a message
    messages_by_node: Mapping[str, int]  # every send node
    ends: Mapping[tuple[EnrollmentState, str], int]  # with the reason
    unfinished: int  # contacts under way when the simulation stopped
    stopped_at: datetime
    last_message_at: datetime | None
    finished_at: datetime | None  # the last contact's end; None where some have none
    held_seconds: Mapping[str, float]  # by limit: how long it kept mail waiting, summed over mails

    @property
    def binding_limit(self) -> str | None:
        """The limit that kept most mail waiting for longest; None where none did."""
        return max(self.held_seconds, key=self.held_seconds.__getitem__, default=None)


def check(order: Order) -> None:
    """Raise Invalid with everything that cannot be simulated."""
    problems = []
    if not 1 <= order.contacts <= CONTACTS_MAX:
        text = f"{order.contacts} is not from 1 to {CONTACTS_MAX:,} contacts."
        problems.append(Problem("$.contacts", text))
    if order.start_at.year not in YEARS:
        text = f"{order.start_at.year} is not from {YEARS[0]} to {YEARS[-1]}."
        problems.append(Problem("$.start", text))
    if problems:
        raise Invalid(problems)
