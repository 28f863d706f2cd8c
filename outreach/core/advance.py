"""What the decisions about an enrollment come to: values for the caller to write, all or none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from outreach.core.matching import Position
from outreach.core.plan import Trigger
from outreach.core.states import EnrollmentState

IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Step:
    """One row of an enrollment's history."""

    from_node_id: str | None  # None: the start
    to_node_id: str | None  # None: the end
    visit: int  # of the node entered; at an end, of the node left
    trigger: Trigger | None
    event_id: str | None
    code: str  # entered event timer timer_found_event step_taken_back completed stopped failed, …
    at: datetime  # when what caused it happened


@dataclass(frozen=True, slots=True)
class Send:
    """A message to schedule."""

    node_id: str
    visit: int
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Timer:
    """A timeout to schedule; `on` is a timer of the plan language, or `idle`."""

    node_id: str
    visit: int
    on: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Advance:
    """What to write: `state` is active or an end; whether it is paused is not decided here."""

    position: Position
    state: EnrollmentState
    end_reason: str | None
    steps: tuple[Step, ...]
    sends: tuple[Send, ...]
    timers: tuple[Timer, ...]
    cancels_pending: bool  # cancel what is pending for the enrollment before inserting these

    @property
    def is_timers_only(self) -> bool:
        """Nothing else is to be written: no step, no message, no end."""
        has_gone_on = bool(self.steps or self.sends or self.cancels_pending)
        return self.state is EnrollmentState.ACTIVE and not has_gone_on
