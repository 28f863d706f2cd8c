"""The interpreter's side of a life, its writes kept as a store would, and what must agree.

`Told` knows what the database knows and nothing more: the position as it was handed out, what is
pending, the events with the message each is about.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from outreach.core.advance import IDLE, Advance, Timer
from outreach.core.matching import Event
from outreach.core.plan import Plan, Trigger
from outreach.core.states import EventType
from outreach.core.transitions import on_accepted, on_events, on_failed, on_timer, start
from tests.model.language import FORBIDDEN_BY, Happening, Model


@dataclass
class Told:
    """An enrollment by way of the code under test."""

    plan: Plan
    zone: ZoneInfo
    born_at: datetime
    send_due: datetime | None = None
    timers: list[Timer] = field(default_factory=list)
    past_timers: list[Timer] = field(default_factory=list)
    heard: list[Happening] = field(default_factory=list)
    message: int = 0

    def __post_init__(self) -> None:
        self.write(start(self.plan, self.zone, self.born_at))

    def write(self, advance: Advance | None) -> None:
        """What the services would store."""
        if advance is None:
            return
        self.position, self.state = advance.position, advance.state.value
        if advance.cancels_pending:
            self.send_due, self.timers = None, []
        assert len(advance.sends) <= 1, "one step, one message"
        for send in advance.sends:
            assert self.send_due is None, "a second message beside the first"
            self.send_due = send.due_at
        self.timers += advance.timers
        self.past_timers += advance.timers

    def history(self) -> list[Event]:
        """Of the latest message."""
        return [self.event(h) for h in self.heard if h.message == self.message]

    def event(self, happening: Happening) -> Event:
        """In the interpreter's words; a drop for good comes by its trigger."""
        kind = happening.kind
        word = Trigger.FAILED if kind == "failed" else EventType(kind)
        is_latest = happening.message == self.message
        return Event(happening.id, word, happening.at, happening.is_machine, is_latest)

    def claim(self) -> None:
        """The send is taken up; what is heard from here on may be about it."""
        self.message += 1

    def accept(self, at: datetime, now: datetime) -> None:
        """Its acceptance is recorded."""
        self.send_due, self.timers = None, []
        self.write(on_accepted(self.plan, self.position, at, self.history(), self.zone, now))

    def fail(self, now: datetime) -> None:
        """It was refused for good."""
        self.send_due = None
        self.write(on_failed(self.plan, self.position, "refused", self.zone, now))

    def hear(self, new: list[Happening], now: datetime, *, can_take_back: bool) -> None:
        """Stored once each, then folded."""
        events, history = [self.event(h) for h in new], self.history()
        self.write(
            on_events(
                self.plan,
                self.position,
                events,
                history,
                self.zone,
                now,
                can_take_back=can_take_back,
            )
        )
        self.heard += new

    def fire(self, timer: Timer, now: datetime) -> Advance | None:
        """As the worker would; what it answers is written by who asked."""
        return on_timer(
            self.plan,
            self.position,
            timer.on,
            timer.visit,
            timer.node_id,
            self.history(),
            self.zone,
            now,
        )

    def pass_time(self, now: datetime) -> int:
        """Fire what is due, earliest first; how many looked."""
        fired = 0
        while self.state == "active":
            due = [timer for timer in self.timers if timer.due_at <= now]
            if not due:
                break
            timer = min(due, key=lambda timer: timer.due_at)
            self.timers.remove(timer)
            self.write(self.fire(timer, now))
            fired += 1
            assert fired < 100, "timers that come due again and again"
        return fired

    def is_stale(self, timer: Timer) -> bool:
        """It belongs to a stay that is over."""
        return (timer.node_id, timer.visit) != (self.position.node_id, self.position.visit)


def seen_of_model(model: Model) -> dict[str, Any]:
    """What must agree. A timer that is known to come to nothing may be kept or not."""
    live = {on: due for on, (due, _) in model.timers.items() if not model.forbids(on, due)}
    return {
        "state": model.state,
        "node": model.node,
        "visits": dict(model.visits),
        "send_due": model.send_due,
        "timers": live,
        "idle_due": model.idle_due,
        "may_be_taken_back": model.before is not None,
    }


def seen_of_told(told: Told, model: Model) -> dict[str, Any]:
    """The same, of the interpreter's side."""
    here = {timer.on: timer for timer in told.timers}
    assert len(here) == len(told.timers), "one timer pending twice"
    assert not any(map(told.is_stale, told.timers)), "a timer of a stay that is over is pending"
    return {
        "state": told.state,
        "node": told.position.node_id,
        "visits": dict(told.position.visits),
        "send_due": told.send_due,
        "timers": {
            on: timer.due_at
            for on, timer in here.items()
            if on in FORBIDDEN_BY and not model.forbids(on, timer.due_at)
        },
        "idle_due": here[IDLE].due_at if IDLE in here else None,
        "may_be_taken_back": told.position.previous is not None,
    }
