"""What an event means where an enrollment stands: which names it answers to, and what it matches.

Everything here looks at one node and one moment and changes nothing; `core.walk` moves. A person's
click is an open too, so an event can have two names. What a machine did has none, unless the plan
counts machines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from outreach.core.delivery import trigger_of
from outreach.core.plan import SYNTHETIC, Plan, Transition, Trigger
from outreach.core.states import EventType

# These concern the person, not one message: they apply whichever message they are about, and end
# the enrollment where its node says nothing of them.
ALWAYS = frozenset(
    {Trigger.BOUNCED, Trigger.SPAM_REPORT, Trigger.UNSUBSCRIBED, Trigger.REPLIED},
)
_ENGAGEMENT = frozenset({Trigger.OPENED, Trigger.CLICKED})
_RANK = {trigger: rank for rank, trigger in enumerate(Trigger)}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a message, in our words; a drop comes by its reason's trigger."""

    id: str
    type: EventType | Trigger
    at: datetime  # when it happened, not when we heard of it
    is_machine: bool = False
    is_latest: bool = True  # it concerns the latest message sent to that enrollment


@dataclass(frozen=True, slots=True)
class Position:
    """Where an enrollment stands; store and hand back exactly as given."""

    node_id: str
    visits: Mapping[str, int]  # entries into each node; the current visit is visits[node_id]
    entered_at: datetime
    came_by: Trigger | None  # what led here; None at the start
    accepted_at: datetime | None  # of the latest message; None while this node's is not accepted
    message_node_id: str | None  # the node whose message that is
    previous: Position | None = None  # where a timer moved it from, while that may be taken back

    @property
    def visit(self) -> int:
        """The number of the current stay, from 1; 0 where the plan has not been entered yet."""
        return self.visits.get(self.node_id, 0)


def in_order(events: Iterable[Event]) -> list[Event]:
    """As they happened; providers count whole seconds, so ties go by what must come first."""
    return sorted(events, key=lambda event: (event.at, _rank(event), event.id))


def _rank(event: Event) -> int:
    trigger = _trigger(event)
    return -1 if trigger is None else _RANK[trigger]


def _trigger(event: Event) -> Trigger | None:
    return event.type if isinstance(event.type, Trigger) else trigger_of(event.type)


def names(plan: Plan, event: Event) -> tuple[Trigger, ...]:
    """The words under which the event may move this plan or forbid its timers, first to last."""
    trigger = _trigger(event)
    if trigger is None or trigger in SYNTHETIC:
        return ()
    if trigger in _ENGAGEMENT and event.is_machine and not plan.count_machine_events:
        return ()
    if trigger is Trigger.CLICKED:
        return (Trigger.CLICKED, Trigger.OPENED)
    return (trigger,)


def awaits_acceptance(plan: Plan, position: Position) -> bool:
    """It stands at a send node whose message the provider has not accepted yet."""
    if plan.node(position.node_id).action != "send":
        return False
    return position.accepted_at is None or position.message_node_id != position.node_id


def started_at(plan: Plan, position: Position) -> datetime | None:
    """From when the node's timers and bounds count; None before its message is accepted."""
    if plan.node(position.node_id).action == "wait":
        return position.entered_at
    return None if awaits_acceptance(plan, position) else position.accepted_at


def applies(plan: Plan, position: Position, event: Event, name: Trigger) -> bool:
    """The node listens to the event under this name at all."""
    if name in ALWAYS:
        return True
    return event.is_latest and not awaits_acceptance(plan, position)


def target(
    plan: Plan, position: Position, zone: ZoneInfo, trigger: Trigger, at: datetime
) -> str | None:
    """Where the first transition in plan order leads that matches; None without one."""
    for transition in plan.node(position.node_id).transitions:
        if transition.on is trigger and not _is_over(plan, position, zone, transition, at):
            return transition.to
    return None


def _is_over(
    plan: Plan, position: Position, zone: ZoneInfo, transition: Transition, at: datetime
) -> bool:
    """`at` lies after the transition's bound."""
    start = started_at(plan, position)
    if transition.within is None or start is None:
        return False
    return at > transition.within.after(start, zone)


def timers(plan: Plan, position: Position, zone: ZoneInfo) -> dict[Trigger, datetime]:
    """When each timer of the node is due, in plan order; none before its message is accepted."""
    start = started_at(plan, position)
    due: dict[Trigger, datetime] = {}
    if start is not None:
        for transition in plan.node(position.node_id).transitions:
            if transition.is_timer:
                at = transition.wait.after(start, zone)
                due[transition.on] = min(at, due.get(transition.on, at))
    return due


def timer_target(plan: Plan, position: Position, zone: ZoneInfo, on: Trigger) -> str:
    """Where the timer leads that is due first under this name."""
    start = started_at(plan, position)
    assert start is not None, "no timer runs before its message is accepted"
    candidates = [t for t in plan.node(position.node_id).transitions if t.on is on]
    return min(candidates, key=lambda transition: transition.wait.after(start, zone)).to


def forbidding(plan: Plan, events: Iterable[Event], on: Trigger, due: datetime) -> Event | None:
    """The first event that forbids the timer due then, or None."""
    for event in in_order(events):
        if event.at <= due and event.is_latest and SYNTHETIC[on] in names(plan, event):
            return event
    return None


def can_still_happen(plan: Plan, position: Position, zone: ZoneInfo, now: datetime) -> bool:
    """Some real event that happens now or later would match a transition of the node."""
    return any(
        not transition.is_timer and not _is_over(plan, position, zone, transition, now)
        for transition in plan.node(position.node_id).transitions
    )


def is_undone_by(plan: Plan, position: Position, zone: ZoneInfo, event: Event) -> bool:
    """The event would have forbidden, or come before, the timer that led to this position."""
    before, on = position.previous, position.came_by
    if before is None or on is None or on not in SYNTHETIC:
        return False
    due = timers(plan, before, zone).get(on)
    if due is None or event.at > due:
        return False
    for name in names(plan, event):
        if not applies(plan, before, event, name):
            continue
        if name is SYNTHETIC[on] or name in ALWAYS or name is Trigger.FAILED:
            return True
        if target(plan, before, zone, name, event.at) is not None:
            return True
    return False


def unheard(plan: Plan, position: Position, zone: ZoneInfo, events: Iterable[Event]) -> list[Event]:
    """Those that happened after the timer that led here was due.

    The node that it left never heard them, and where it led nobody listened: they have yet to be
    acted on if the step is taken back.
    """
    before, on = position.previous, position.came_by
    if before is None or on is None:
        return []
    due = timers(plan, before, zone).get(on)
    return [event for event in events if due is not None and event.at > due]
