"""Timers, the idle wait, and what takes a timer's step back."""

from __future__ import annotations

from datetime import timedelta

from outreach.core.plan import Trigger
from outreach.core.states import EventType
from outreach.core.transitions import (
    IDLE,
    Position,
    Send,
    Timer,
    on_accepted,
    on_timer,
    start,
)
from tests.core.transitions_support import (
    ACTIVE,
    CLICKED,
    COMPLETED,
    EXAMPLE,
    FAILED,
    OPENED,
    STOPPED,
    T0,
    UTC_ZONE,
    accepted,
    ends,
    event,
    fire,
    hear,
    hours,
    moved,
    on,
    plan_of,
    send,
    wait,
)


def test_a_timer_moves_the_plan() -> None:
    advance = moved(fire(EXAMPLE, accepted(EXAMPLE).position, "no_open", at=73))
    assert advance.sends == (Send("bump", 1, hours(73)),)
    assert advance.cancels_pending
    assert (advance.steps[0].code, advance.steps[0].at) == ("timer", hours(72))
    assert advance.position.previous is not None


def test_stale_timers_do_nothing() -> None:
    position = accepted(EXAMPLE).position
    assert on_timer(EXAMPLE, position, "no_open", 2, "intro", [], UTC_ZONE, hours(72)) is None
    assert on_timer(EXAMPLE, position, "no_click", 1, "wait_click", [], UTC_ZONE, T0) is None
    unsent = start(EXAMPLE, UTC_ZONE, T0).position
    assert fire(EXAMPLE, unsent, "no_open", at=72) is None


def test_a_timer_looks_first_for_what_forbids_it() -> None:
    plan = plan_of(send("a", on("no_open", "b"), on("no_reply", "b", after="P9D")), send("b"))
    position = accepted(plan).position
    at_the_moment, too_late = event(EventType.OPENED, 72), event(EventType.OPENED, 72.01)
    advance = moved(fire(plan, position, "no_open", at_the_moment, at=73))
    assert advance.position == position
    assert not advance.cancels_pending
    assert advance.timers == ()
    assert [(s.code, s.event_id) for s in advance.steps] == [
        ("timer_found_event", at_the_moment.id)
    ]
    assert moved(fire(plan, position, "no_open", too_late, at=73)).position.node_id == "b"


def test_a_click_forbids_no_open() -> None:
    plan = plan_of(send("a", on("no_open", "b")), send("b"))
    advance = fire(plan, accepted(plan).position, "no_open", CLICKED, at=72)
    assert ends(advance) == (COMPLETED, "completed")


def test_the_last_timer_that_finds_an_event_leaves_an_idle_wait() -> None:
    plan = plan_of(send("a", on("no_open", "b"), on("clicked", "b")), send("b"))
    advance = moved(fire(plan, accepted(plan).position, "no_open", OPENED, at=72))
    assert advance.state is ACTIVE
    assert advance.timers == (Timer("a", 1, IDLE, OPENED.at + timedelta(days=30)),)


def test_a_bound_that_is_over_is_not_waited_for() -> None:
    plan = plan_of(send("a", on("no_open", "b"), on("clicked", "b", within="PT24H")), send("b"))
    advance = fire(plan, accepted(plan).position, "no_open", OPENED, at=72)
    assert ends(advance) == (COMPLETED, "completed")


def test_two_timers_of_one_name_go_by_the_sooner() -> None:
    plan = plan_of(
        send("a", on("no_open", "b", after="P3D"), on("no_open", "c", after="P1D")),
        send("b"),
        send("c"),
    )
    advance = accepted(plan)
    assert advance.timers == (Timer("a", 1, "no_open", hours(24)),)
    assert moved(fire(plan, advance.position, "no_open", at=24)).position.node_id == "c"


def test_a_timer_to_stop() -> None:
    plan = plan_of(send("a", on("no_open", "stop")))
    assert ends(fire(plan, accepted(plan).position, "no_open", at=72)) == (STOPPED, "no_open")


# Idling


ONLY_REAL = plan_of(send("a", on("clicked", "b")), send("b"), idle_after="P2D")


def test_one_that_only_waits_for_real_events_completes_after_a_while() -> None:
    advance = accepted(ONLY_REAL)
    assert advance.timers == (Timer("a", 1, IDLE, hours(48)),)
    assert ends(fire(ONLY_REAL, advance.position, IDLE, at=48)) == (COMPLETED, "idle")


def test_an_event_without_effect_prolongs_the_idle_wait() -> None:
    position = accepted(ONLY_REAL).position
    advance = moved(fire(ONLY_REAL, position, IDLE, event(EventType.OPENED, 40), at=48))
    assert advance.timers == (Timer("a", 1, IDLE, hours(88)),)
    machine = event(EventType.OPENED, 40, machine=True)
    assert ends(fire(ONLY_REAL, position, IDLE, machine, at=48)) == (COMPLETED, "idle")


# Taking back


def bumped() -> Position:
    return moved(fire(EXAMPLE, accepted(EXAMPLE).position, "no_open", at=72)).position


def test_a_late_event_takes_the_timers_step_back() -> None:
    advance = moved(hear(EXAMPLE, bumped(), event(EventType.OPENED, 71), at=73))
    assert [step.code for step in advance.steps] == ["step_taken_back", "event"]
    assert advance.position.node_id == "wait_click"
    assert advance.timers == (Timer("wait_click", 1, "no_click", hours(97)),)
    assert advance.sends == ()
    assert advance.cancels_pending


def test_not_once_the_send_is_claimed() -> None:
    late = event(EventType.OPENED, 71)
    assert hear(EXAMPLE, bumped(), late, at=73, can_take_back=False) is None


def test_not_for_an_event_after_the_timer() -> None:
    assert hear(EXAMPLE, bumped(), event(EventType.OPENED, 72.5), at=73) is None


def test_not_for_a_machine_and_not_for_another_message() -> None:
    assert hear(EXAMPLE, bumped(), event(EventType.OPENED, 71, machine=True), at=73) is None
    assert hear(EXAMPLE, bumped(), event(EventType.OPENED, 71, latest=False), at=73) is None


def test_an_event_that_no_transition_names_takes_back_too() -> None:
    plan = plan_of(send("a", on("no_open", "b"), on("no_click", "c", after="P9D")), *[
        send("b"), send("c")
    ])  # fmt: skip
    there = moved(fire(plan, accepted(plan).position, "no_open", at=72)).position
    advance = moved(hear(plan, there, event(EventType.OPENED, 71), at=73))
    assert advance.position.node_id == "a"
    assert advance.position.visits == {"a": 1, "b": 1}
    assert advance.timers == (Timer("a", 1, "no_click", hours(9 * 24)),)


def test_an_event_that_would_have_come_before_takes_back() -> None:
    plan = plan_of(send("a", on("delivered", "w"), on("no_open", "b")), wait("w"), send("b"))
    there = moved(fire(plan, accepted(plan).position, "no_open", at=72)).position
    advance = hear(plan, there, event(EventType.DELIVERED, 0.1), at=73)
    assert ends(advance) == (COMPLETED, "completed")
    assert [step.code for step in moved(advance).steps] == [
        "step_taken_back",
        "event",
        "completed",
    ]


def test_what_was_heard_in_between_is_heard_again() -> None:
    plan = plan_of(send("a", on("no_open", "b"), on("clicked", "c")), send("b"), send("c"))
    there = moved(fire(plan, accepted(plan).position, "no_open", at=72)).position
    clicked = event(EventType.CLICKED, 72.5)
    assert hear(plan, there, clicked, at=72.6) is None
    advance = moved(hear(plan, there, event(EventType.OPENED, 71), history=[clicked], at=73))
    assert advance.position.node_id == "c"


def test_only_one_step_is_taken_back() -> None:
    plan = plan_of(
        send("a", on("no_open", "w")), wait("w", on("no_click", "b", after="PT1H")), send("b")
    )
    at_wait = moved(fire(plan, accepted(plan).position, "no_open", at=72)).position
    at_send = moved(fire(plan, at_wait, "no_click", at=73)).position
    assert at_send.previous is not None
    assert at_send.previous.previous is None
    assert hear(plan, at_send, event(EventType.OPENED, 71), at=74) is None
    back = moved(hear(plan, at_send, event(EventType.CLICKED, 72), at=74))
    assert [step.code for step in back.steps] == ["step_taken_back", "completed"]


def test_nothing_is_taken_back_once_the_message_is_accepted() -> None:
    plan = plan_of(send("a", on("no_open", "b")), send("b", on("no_reply", "a")))
    there = moved(fire(plan, accepted(plan).position, "no_open", at=72)).position
    sent = moved(on_accepted(plan, there, hours(72), [], UTC_ZONE, hours(72))).position
    assert sent.previous is None
    late = event(EventType.OPENED, 71, latest=False)
    assert hear(plan, sent, late, at=73) is None


def test_a_step_taken_back_acts_on_what_its_send_node_was_deaf_to() -> None:
    """A drop that came while the next message waited ends it, as it would have without the step."""
    plan = plan_of(
        send("a", on("delivered", "w", within="PT1H"), on("no_click", "b", after="PT2H")),
        send("b"),
        wait("w", on("no_open", "b", after="PT72H")),
    )
    fired = moved(fire(plan, accepted(plan).position, "no_click", at=3))
    dropped, late = event(Trigger.FAILED, 4), event(EventType.DELIVERED, 0.5)
    assert hear(plan, fired.position, dropped, at=4) is None
    back = moved(hear(plan, fired.position, late, at=5, history=[dropped]))
    assert [step.code for step in back.steps] == ["step_taken_back", "event", "failed"]
    assert (back.state, back.end_reason) == (FAILED, "dropped")
    kept = moved(hear(plan, fired.position, late, at=5))
    assert (kept.state, kept.position.node_id) == (ACTIVE, "w")


def test_the_idle_wait_is_over_when_nothing_can_happen_any_more() -> None:
    """It looks after an event that came too late to move anything: the bound has passed too."""
    plan = plan_of(send("a", on("delivered", "b", within="PT24H")), send("b"), idle_after="PT30H")
    position = accepted(plan).position
    late = event(EventType.DELIVERED, 26)
    assert hear(plan, position, late, at=26) is None
    assert ends(fire(plan, position, IDLE, late, at=30)) == (COMPLETED, "completed")
    early = event(EventType.OPENED, 2)
    hopeful = plan_of(send("a", on("delivered", "b")), send("b"), idle_after="PT30H")
    rest = moved(fire(hopeful, accepted(hopeful).position, IDLE, early, at=30))
    assert [(timer.on, timer.due_at) for timer in rest.timers] == [(IDLE, hours(32))]
