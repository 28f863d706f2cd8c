"""An enrollment whose plan has changed: its timers are the new plan's, from where they counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from outreach.core.plan import Plan
from outreach.core.states import EventType
from outreach.core.transitions import Position, Timer, on_plan_changed
from tests.core.test_plan_diff import plans
from tests.core.transitions_support import (
    COMPLETED,
    EXAMPLE,
    T0,
    UTC_ZONE,
    accepted,
    event,
    hours,
    moved,
    on,
    plan_of,
    send,
    wait,
)

SOONER = plan_of(
    send("intro", on("opened", "wait_click"), on("no_open", "bump", after="PT24H")),
    wait("wait_click", on("clicked", "stop")),
    send("bump"),
)


def standing(plan: Plan, node_id: str) -> Position:
    """At that node of the plan since T0, its message accepted then."""
    return Position(node_id, {node_id: 1}, T0, None, T0, node_id)


def test_a_timer_counts_from_the_same_acceptance() -> None:
    advance = moved(on_plan_changed(SOONER, accepted(EXAMPLE).position, [], UTC_ZONE, hours(2)))
    assert advance.timers == (Timer("intro", 1, "no_open", hours(24)),)
    assert advance.is_timers_only
    assert advance.position == accepted(EXAMPLE).position


def test_one_that_is_overdue_is_due_at_once() -> None:
    advance = moved(on_plan_changed(SOONER, accepted(EXAMPLE).position, [], UTC_ZONE, hours(30)))
    assert advance.timers == (Timer("intro", 1, "no_open", hours(24)),)


def test_what_happened_forbids_it_and_moves_nobody() -> None:
    opened = event(EventType.OPENED, 3)
    advance = moved(
        on_plan_changed(SOONER, accepted(EXAMPLE).position, [opened], UTC_ZONE, hours(30))
    )
    assert [timer.on for timer in advance.timers] == ["idle"]
    assert advance.position.node_id == "intro"


def test_no_timer_runs_before_the_message_is_accepted() -> None:
    waiting = Position("intro", {"intro": 1}, T0, None, None, None)
    assert on_plan_changed(SOONER, waiting, [], UTC_ZONE, hours(2)) is None


def test_with_nothing_left_to_wait_for_it_completes() -> None:
    advance = moved(on_plan_changed(plan_of(send("a")), standing(SOONER, "a"), [], UTC_ZONE, T0))
    assert (advance.state, advance.end_reason) == (COMPLETED, "completed")


@given(plans(), st.data())
def test_set_anew_by_the_same_plan_timers_are_as_they_were(plan: Plan, data: st.DataObject) -> None:
    node = data.draw(st.sampled_from(plan.nodes))
    here = standing(plan, node.id)
    first = moved(on_plan_changed(plan, here, [], UTC_ZONE, hours(0)))
    later = moved(on_plan_changed(plan, here, [], UTC_ZONE, hours(1)))
    assert (later.timers, later.position) == (first.timers, here)
    assert not later.cancels_pending
