"""Small plans, and enrollments in them, for the tests of what moves an enrollment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from outreach.core.plan import Plan, Trigger
from outreach.core.states import EnrollmentState, EventType
from outreach.core.transitions import (
    Advance,
    Event,
    Position,
    on_accepted,
    on_events,
    on_timer,
    start,
)

UTC_ZONE = ZoneInfo("UTC")
T0 = datetime(2026, 5, 4, 9, tzinfo=UTC)
ACTIVE, COMPLETED = EnrollmentState.ACTIVE, EnrollmentState.COMPLETED
STOPPED, FAILED = EnrollmentState.STOPPED, EnrollmentState.FAILED


def hours(count: float) -> datetime:
    return T0 + timedelta(hours=count)


def send(node_id: str, *transitions: dict[str, str], delay: str = "PT0S") -> dict[str, Any]:
    return {
        "id": node_id,
        "action": "send",
        "subject": "s",
        "body": "b",
        "schedule": {"delay": delay},
        "transitions": transitions,
    }


def wait(node_id: str, *transitions: dict[str, str]) -> dict[str, Any]:
    return {"id": node_id, "action": "wait", "transitions": transitions}


def on(trigger: str, to: str, **bounds: str) -> dict[str, str]:
    return {"on": trigger, "to": to, **bounds}


def plan_of(*nodes: dict[str, Any], **settings: Any) -> Plan:
    return Plan.model_validate(
        {
            "version": "1.0",
            "timezone": "UTC",
            "start_node_id": nodes[0]["id"],
            "nodes": nodes,
            **settings,
        }
    )


EXAMPLE = plan_of(
    send(
        "intro",
        on("opened", "wait_click", within="PT72H"),
        on("no_open", "bump", after="PT72H"),
        on("bounced", "stop"),
        on("unsubscribed", "stop"),
        on("replied", "stop"),
    ),
    wait(
        "wait_click", on("clicked", "stop", within="PT24H"), on("no_click", "bump", after="PT24H")
    ),
    send("bump"),
)


def event(
    kind: EventType | Trigger, at: float, *, machine: bool = False, latest: bool = True
) -> Event:
    return Event(f"{kind.value}@{at}", kind, hours(at), machine, latest)


OPENED = event(EventType.OPENED, 1)
CLICKED = event(EventType.CLICKED, 2)


def accepted(plan: Plan, *history: Event, at: float = 0) -> Advance:
    """The start node's message was accepted at T0, and seen so at `at`."""
    advance = on_accepted(
        plan, start(plan, UTC_ZONE, T0).position, T0, history, UTC_ZONE, hours(at)
    )
    assert advance is not None
    return advance


def hear(
    plan: Plan,
    position: Position,
    *new: Event,
    at: float,
    history: Sequence[Event] = (),
    can_take_back: bool = True,
) -> Advance | None:
    return on_events(plan, position, new, history, UTC_ZONE, hours(at), can_take_back=can_take_back)


def fire(plan: Plan, position: Position, timer: str, *history: Event, at: float) -> Advance | None:
    return on_timer(
        plan,
        position,
        timer,
        position.visit,
        position.node_id,
        history,
        UTC_ZONE,
        hours(at),
    )


def moved(advance: Advance | None) -> Advance:
    assert advance is not None
    return advance


def ends(advance: Advance | None) -> tuple[EnrollmentState, str | None]:
    advance = moved(advance)
    assert advance.steps[-1].to_node_id is None
    assert advance.steps[-1].code == advance.state.value
    assert not advance.sends
    assert not advance.timers
    assert advance.cancels_pending or advance.steps[0].from_node_id is None
    assert advance.position.previous is None
    return advance.state, advance.end_reason
