"""What moves an enrollment: six things that happen to it, and what each makes of its position.

Each function is a pure answer to one question: given the plan, where the enrollment stands, and all
that is known of its latest message, what is to be written? The order in which events arrive matters
as little as the spec allows: they are judged by when they happened, and one that comes after the
timer it would have forbidden takes the timer's step back while nothing has been sent on it.

Nothing here is asked of an enrollment that has ended. A paused one is answered like an active one;
that its sends are held is not this module's matter.

Source: the project's specification, "Reading the semantics, exactly".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from outreach.core import matching
from outreach.core.advance import IDLE, Advance, Send, Step, Timer
from outreach.core.matching import ALWAYS, Event, Position
from outreach.core.mistakes import Mistake
from outreach.core.plan import Plan, Trigger
from outreach.core.states import EnrollmentState
from outreach.core.walk import Walk

__all__ = [
    "IDLE",
    "Advance",
    "Event",
    "Mistake",
    "Position",
    "Send",
    "Step",
    "Timer",
    "on_accepted",
    "on_events",
    "on_failed",
    "on_plan_changed",
    "on_refused",
    "on_timer",
    "start",
]


def start(plan: Plan, zone: ZoneInfo, now: datetime) -> Advance:
    """Enter the plan."""
    nowhere = Position("", {}, now, None, None, None)
    walk = Walk(plan, nowhere, zone, now)
    walk.enter(plan.start_node_id, None, "entered", now, None)
    walk.settle()
    return replace(walk.advance(), cancels_pending=False)


def on_accepted(
    plan: Plan,
    position: Position,
    accepted_at: datetime,
    history: Sequence[Event],
    zone: ZoneInfo,
    now: datetime,
) -> Advance | None:
    """The provider took the node's message: its timers start, and what is known of it is matched.

    None where no message of this position is awaited. `history` is of that message alone.
    """
    if not matching.awaits_acceptance(plan, position):
        return None
    accepted = replace(
        position, accepted_at=accepted_at, message_node_id=position.node_id, previous=None
    )
    walk = Walk(plan, accepted, zone, now, known=history, fresh=_to_act_on(plan, history))
    walk.hear_again()
    walk.settle()
    return walk.advance()


def on_events(
    plan: Plan,
    position: Position,
    new: Sequence[Event],
    history: Sequence[Event],
    zone: ZoneInfo,
    now: datetime,
    *,
    can_take_back: bool,
    mistaken: Mistake | None = None,
) -> Advance | None:
    """Events have come in, each for the first time; None where they change nothing.

    They are folded in the order in which they happened, whatever order they came in. `history` is
    all that is stored of the latest message, the new ones included or not. What a machine's event
    had led to is taken back, if that event was taken for a person's.
    """
    before = position.previous
    undoing = [e for e in matching.in_order(new) if matching.is_undone_by(plan, position, zone, e)]
    is_taken_back = before is not None and can_take_back and bool(undoing) and mistaken is None
    unheard = matching.unheard(plan, position, zone, history) if is_taken_back else []
    fresh = _to_act_on(plan, [*unheard, *new])
    walk = Walk(plan, position, zone, now, known=[*history, *new], fresh=fresh)
    if mistaken is not None:
        walk.restore(mistaken.before, mistaken.event, new, "step_of_a_machine")
    elif before is not None and is_taken_back:
        walk.restore(before, undoing[0], new)
    else:
        walk.meet(new)
    if not walk.has_moved and walk.is_going:
        return None
    walk.settle()
    return walk.advance()


def on_timer(
    plan: Plan,
    position: Position,
    on: str,
    visit: int,
    node_id: str,
    history: Sequence[Event],
    zone: ZoneInfo,
    now: datetime,
) -> Advance | None:
    """A timer of `node_id` at its `visit` is due; None where it is stale and does nothing.

    It looks first for an event that forbids it. Finding one it moves nothing, and where it was the
    last timer the enrollment waits idly or completes.
    """
    if (position.node_id, position.visits.get(node_id)) != (node_id, visit):
        return None
    if matching.awaits_acceptance(plan, position):
        return None
    walk = Walk(plan, position, zone, now, known=history)
    if on == IDLE:
        _fire_idle(walk)
    else:
        _fire(walk, Trigger(on))
    return walk.advance()


def on_failed(
    plan: Plan, position: Position, reason: str, zone: ZoneInfo, now: datetime
) -> Advance:
    """The node's message will never go: the node's `failed` is followed, else it is the end."""
    walk = Walk(plan, position, zone, now)
    walk.fail(reason)
    walk.settle()
    return walk.advance()


def on_refused(
    plan: Plan, position: Position, reason: str, zone: ZoneInfo, now: datetime
) -> Advance:
    """Nothing more may be sent to this contact: the enrollment is stopped where it stands."""
    walk = Walk(plan, position, zone, now)
    walk.end(EnrollmentState.STOPPED, reason, None, now, None)
    return walk.advance()


def on_plan_changed(
    plan: Plan, position: Position, history: Sequence[Event], zone: ZoneInfo, now: datetime
) -> Advance | None:
    """The plan is another than before: the node's timers as it now has them, in place of the old.

    None where its message is not accepted yet, so that no timer runs. They count from where they
    counted before. What had happened before moves nothing; it forbids timers, as ever.
    """
    if matching.awaits_acceptance(plan, position):
        return None
    walk = Walk(plan, position, zone, now, known=history)
    walk.settle()
    return replace(walk.advance(), cancels_pending=False)


def _to_act_on(plan: Plan, events: Sequence[Event]) -> list[Event]:
    """Those that end an enrollment whose node says nothing of them."""
    return [
        event
        for event in events
        if any(name in ALWAYS or name is Trigger.FAILED for name in matching.names(plan, event))
    ]


def _fire(walk: Walk, on: Trigger) -> None:
    due = matching.timers(walk.plan, walk.position, walk.zone).get(on)
    if due is None:  # the plan has changed under it
        _rest_if_last(walk)
        return
    due = min(due, walk.now)
    event = matching.forbidding(walk.plan, walk.known, on, due)
    if event is None:
        _move_by_timer(walk, on, due)
        return
    here = walk.position
    walk.steps.append(
        Step(here.node_id, here.node_id, here.visit, on, event.id, "timer_found_event", due)
    )
    _rest_if_last(walk)


def _rest_if_last(walk: Walk) -> None:
    """Of several timers that come to nothing at one moment only the first sets the idle one."""
    if not walk.timers_left():
        walk.is_at_rest = True
        walk.rest()


def _move_by_timer(walk: Walk, on: Trigger, due: datetime) -> None:
    """Move, and remember from where, unless known events move it further at once."""
    before = replace(walk.position, previous=None)
    to = matching.timer_target(walk.plan, walk.position, walk.zone, on)
    walk.go(to, on, "timer", due, None)
    if walk.is_going:
        if walk.position.came_by is on:
            walk.position = replace(walk.position, previous=before)
        walk.hear_on_entry()
        walk.settle()


def _fire_idle(walk: Walk) -> None:
    if walk.idle_due_at() > walk.now:
        walk.rest()
    else:
        walk.end(EnrollmentState.COMPLETED, IDLE, None, walk.now, None)
