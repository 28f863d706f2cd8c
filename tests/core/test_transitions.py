"""Entering, acceptance, events and failure, each rule with the case in which it does not hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from outreach.core.plan import Trigger
from outreach.core.states import EventType
from outreach.core.transitions import (
    Event,
    Position,
    Send,
    Timer,
    on_accepted,
    on_failed,
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

# Entering


def test_start_at_a_send_node() -> None:
    advance = start(EXAMPLE, UTC_ZONE, T0)
    assert advance.state is ACTIVE
    assert advance.sends == (Send("intro", 1, T0),)
    assert advance.timers == ()
    assert not advance.cancels_pending
    assert [(s.from_node_id, s.to_node_id, s.code) for s in advance.steps] == [
        (None, "intro", "entered")
    ]
    assert (advance.position.accepted_at, advance.position.came_by) == (None, None)


def test_start_waits_for_its_delay_and_the_hours() -> None:
    plan = plan_of(send("a", delay="PT14H"), quiet_hours={"start": "21:00", "end": "07:30"})
    assert start(plan, UTC_ZONE, T0).sends == (Send("a", 1, hours(22.5)),)


def test_start_at_a_wait_node() -> None:
    plan = plan_of(wait("w", on("no_open", "a", after="P1D")), send("a"))
    advance = start(plan, UTC_ZONE, T0)
    assert advance.timers == (Timer("w", 1, "no_open", hours(24)),)
    assert moved(fire(plan, advance.position, "no_open", at=24)).sends == (Send("a", 1, hours(24)),)


def test_a_wait_for_nothing_is_complete() -> None:
    assert ends(start(plan_of(wait("w")), UTC_ZONE, T0)) == (COMPLETED, "completed")


NEVER = {"quiet_hours": {"start": "00:00", "end": "24:00"}}


def test_no_allowed_moment_fails() -> None:
    assert ends(start(plan_of(send("a"), **NEVER), UTC_ZONE, T0)) == (FAILED, "no_allowed_moment")


def test_no_allowed_moment_follows_failed() -> None:
    plan = plan_of(
        send("a", on("failed", "b")),
        send("b", on("failed", "w")),
        wait("w", on("no_open", "a", after="P1D")),
        **NEVER,
    )
    advance = start(plan, UTC_ZONE, T0)
    assert advance.timers == (Timer("w", 1, "no_open", hours(24)),)
    assert [step.code for step in advance.steps] == [
        "entered",
        "no_allowed_moment",
        "no_allowed_moment",
    ]


def test_a_ring_of_failures_ends() -> None:
    plan = plan_of(send("a", on("failed", "b")), send("b", on("failed", "a")), **NEVER)
    assert ends(start(plan, UTC_ZONE, T0)) == (FAILED, "no_allowed_moment")


# Acceptance


def test_timers_of_a_send_node_start_when_it_is_accepted() -> None:
    advance = moved(
        on_accepted(
            EXAMPLE, start(EXAMPLE, UTC_ZONE, T0).position, hours(5), [], UTC_ZONE, hours(6)
        )
    )
    assert advance.timers == (Timer("intro", 1, "no_open", hours(77)),)
    assert advance.position.accepted_at == hours(5)
    assert advance.position.message_node_id == "intro"
    assert not advance.cancels_pending
    assert advance.steps == ()


def test_timers_have_the_defaults_of_the_language() -> None:
    plan = plan_of(
        send("a", on("no_open", "b"), on("no_click", "b"), on("no_reply", "b")), send("b")
    )
    assert [(t.on, t.due_at) for t in accepted(plan).timers] == [
        ("no_open", hours(72)),
        ("no_click", hours(24)),
        ("no_reply", hours(72)),
    ]


def test_days_of_a_timer_are_days_of_the_zone_that_applies() -> None:
    plan = plan_of(send("a", on("no_open", "b", after="P3D")), send("b"))
    zone = ZoneInfo("America/New_York")
    sent_at = datetime(2026, 3, 6, 9, tzinfo=zone)
    advance = moved(
        on_accepted(plan, start(plan, zone, sent_at).position, sent_at, [], zone, sent_at)
    )
    assert advance.timers[0].due_at == datetime(2026, 3, 9, 9, tzinfo=zone)
    assert advance.timers[0].due_at - sent_at.astimezone(UTC) == timedelta(hours=71)


def test_a_node_with_nowhere_to_go_completes_on_acceptance() -> None:
    assert ends(accepted(plan_of(send("a")))) == (COMPLETED, "completed")


def test_what_happened_before_the_acceptance_was_known_is_matched() -> None:
    advance = accepted(EXAMPLE, OPENED, at=1)
    assert advance.position.node_id == "wait_click"
    assert advance.timers == (Timer("wait_click", 1, "no_click", hours(25)),)


def test_a_bounce_known_at_acceptance_stops() -> None:
    bounced = event(EventType.BOUNCED, 0.1)
    assert ends(accepted(plan_of(send("a")), bounced)) == (STOPPED, "suppressed_bounce")


def test_acceptance_of_what_is_not_awaited_changes_nothing() -> None:
    position = accepted(EXAMPLE).position
    assert on_accepted(EXAMPLE, position, T0, [], UTC_ZONE, T0) is None
    waiting = accepted(EXAMPLE, OPENED, at=1).position
    assert on_accepted(EXAMPLE, waiting, T0, [], UTC_ZONE, T0) is None


# Events


def test_an_open_moves_the_plan_and_cancels_what_was_pending() -> None:
    advance = moved(hear(EXAMPLE, accepted(EXAMPLE).position, OPENED, at=1))
    assert advance.position.node_id == "wait_click"
    assert advance.position.came_by is Trigger.OPENED
    assert advance.cancels_pending
    step = advance.steps[0]
    assert (step.trigger, step.event_id, step.code, step.at) == (
        Trigger.OPENED,
        OPENED.id,
        "event",
        OPENED.at,
    )


def test_within_is_judged_by_when_it_happened() -> None:
    position = accepted(EXAMPLE).position
    in_time, too_late = event(EventType.OPENED, 72), event(EventType.OPENED, 72.001)
    assert moved(hear(EXAMPLE, position, in_time, at=90)).position.node_id == "wait_click"
    assert hear(EXAMPLE, position, too_late, at=90) is None


def test_the_first_transition_in_plan_order_wins() -> None:
    plan = plan_of(
        send("a", on("opened", "b", within="PT1H"), on("opened", "c"), on("opened", "b")),
        send("b"),
        send("c"),
    )
    position = accepted(plan).position
    assert moved(hear(plan, position, event(EventType.OPENED, 1), at=1)).position.node_id == "b"
    assert moved(hear(plan, position, event(EventType.OPENED, 2), at=2)).position.node_id == "c"


def test_a_click_is_a_click_first_and_then_an_open() -> None:
    both = plan_of(send("a", on("opened", "b"), on("clicked", "c")), send("b"), send("c"))
    only_open = plan_of(send("a", on("opened", "b")), send("b"))
    for plan, expected in ((both, "c"), (only_open, "b")):
        advance = moved(hear(plan, accepted(plan).position, CLICKED, at=2))
        assert advance.position.node_id == expected


def test_a_click_that_led_here_as_an_open_may_still_match_as_a_click() -> None:
    advance = hear(EXAMPLE, accepted(EXAMPLE).position, CLICKED, at=2)
    assert ends(advance) == (STOPPED, "clicked")
    assert [step.trigger for step in moved(advance).steps] == [Trigger.OPENED, Trigger.CLICKED]


def test_what_led_here_is_not_matched_again_under_the_same_name() -> None:
    plan = plan_of(send("a", on("opened", "w")), wait("w", on("opened", "b")), send("b"))
    position = accepted(plan).position
    advance = moved(hear(plan, position, OPENED, at=1))
    assert advance.position.node_id == "w"
    second = event(EventType.OPENED, 1.5)
    assert moved(hear(plan, position, OPENED, second, at=2)).position.node_id == "b"
    assert (
        moved(hear(plan, advance.position, second, history=[OPENED], at=2)).position.node_id == "b"
    )


def test_entering_a_wait_node_it_hears_what_has_already_happened() -> None:
    plan = plan_of(
        send("a", on("opened", "w")),
        wait("w", on("delivered", "b"), on("no_click", "c")),
        send("b"),
        send("c"),
    )
    delivered = event(EventType.DELIVERED, 0.5)
    position = accepted(plan).position
    assert hear(plan, position, delivered, at=0.5) is None
    advance = moved(hear(plan, position, OPENED, history=[delivered], at=1))
    assert advance.position.node_id == "b"
    assert advance.sends == (Send("b", 1, hours(1)),)
    assert advance.timers == ()


@pytest.mark.parametrize("kind", [EventType.OPENED, EventType.CLICKED])
def test_machines_do_not_move_a_plan_unless_it_says_so(kind: EventType) -> None:
    seen = event(kind, 1, machine=True)
    assert hear(EXAMPLE, accepted(EXAMPLE).position, seen, at=1) is None
    counting = EXAMPLE.model_copy(update={"count_machine_events": True})
    assert hear(counting, accepted(counting).position, seen, at=1) is not None


def test_machines_do_not_forbid_timers() -> None:
    seen = event(EventType.OPENED, 1, machine=True)
    advance = moved(fire(EXAMPLE, accepted(EXAMPLE).position, "no_open", seen, at=72))
    assert advance.position.node_id == "bump"


def test_events_about_an_older_message_move_nothing_but_the_ends() -> None:
    position = accepted(EXAMPLE).position
    assert hear(EXAMPLE, position, event(EventType.OPENED, 1, latest=False), at=1) is None
    replied = event(EventType.REPLIED, 1, latest=False)
    assert ends(hear(EXAMPLE, position, replied, at=1)) == (STOPPED, "replied")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (EventType.BOUNCED, "suppressed_bounce"),
        (EventType.SPAM_REPORT, "suppressed_complaint"),
        (EventType.UNSUBSCRIBED, "suppressed_unsubscribe"),
        (EventType.GROUP_UNSUBSCRIBED, "suppressed_unsubscribe"),
        (EventType.REPLIED, "replied"),
    ],
)
@pytest.mark.parametrize("latest", [True, False])
def test_what_always_stops(kind: EventType, reason: str, latest: bool) -> None:
    silent = plan_of(send("a", on("no_open", "b")), send("b"))
    seen = event(kind, 1, latest=latest)
    unsent = start(silent, UTC_ZONE, T0).position
    assert ends(hear(silent, unsent, seen, at=1)) == (STOPPED, reason)
    assert ends(hear(silent, accepted(silent).position, seen, at=1)) == (STOPPED, reason)


def test_what_always_stops_does_so_before_the_plan_is_entered() -> None:
    outside = Position("intro", {}, T0, None, None, None)
    unsubscribed = event(EventType.UNSUBSCRIBED, 1)
    assert ends(hear(EXAMPLE, outside, unsubscribed, at=1)) == (STOPPED, "suppressed_unsubscribe")


def test_a_node_may_name_what_would_stop() -> None:
    plan = plan_of(send("a", on("replied", "thanks", within="PT24H")), send("thanks", delay="PT1H"))
    position = accepted(plan).position
    advance = moved(hear(plan, position, event(EventType.REPLIED, 1), at=1))
    assert advance.sends == (Send("thanks", 1, hours(2)),)
    late = event(EventType.REPLIED, 25)
    assert ends(hear(plan, position, late, at=25)) == (STOPPED, "replied")


def test_a_reply_that_was_acted_on_does_not_stop_a_later_node() -> None:
    plan = plan_of(
        send("a", on("replied", "w")), wait("w", on("no_click", "v")), wait("v", on("no_open", "a"))
    )
    replied = event(EventType.REPLIED, 1)
    advance = moved(hear(plan, accepted(plan).position, replied, at=1))
    assert advance.position.node_id == "w"
    later = moved(fire(plan, advance.position, "no_click", replied, at=25))
    assert (later.state, later.position.node_id) == (ACTIVE, "v")


@pytest.mark.parametrize(
    "kind",
    [
        EventType.PROCESSED,
        EventType.DEFERRED,
        EventType.BLOCKED,
        EventType.GROUP_RESUBSCRIBED,
        EventType.NO_OPEN,
    ],
)
def test_events_that_no_one_asked_for_change_nothing(kind: EventType) -> None:
    assert hear(EXAMPLE, accepted(EXAMPLE).position, event(kind, 1), at=1) is None


def test_engagement_waits_for_the_acceptance() -> None:
    position = start(EXAMPLE, UTC_ZONE, T0).position
    assert hear(EXAMPLE, position, OPENED, at=1) is None


def test_a_drop_fails_where_the_node_says_nothing() -> None:
    dropped = event(Trigger.FAILED, 1)
    assert ends(hear(EXAMPLE, accepted(EXAMPLE).position, dropped, at=1)) == (FAILED, "dropped")
    plan = plan_of(send("a", on("failed", "b")), send("b"))
    assert moved(hear(plan, accepted(plan).position, dropped, at=1)).position.node_id == "b"
    older = event(Trigger.FAILED, 1, latest=False)
    assert hear(EXAMPLE, accepted(EXAMPLE).position, older, at=1) is None


def test_several_events_fold_in_the_order_in_which_they_happened() -> None:
    position = accepted(EXAMPLE).position
    unsubscribed = event(EventType.UNSUBSCRIBED, 3)
    advance = hear(EXAMPLE, position, unsubscribed, OPENED, at=3)
    assert ends(advance) == (STOPPED, "suppressed_unsubscribe")
    assert [step.trigger for step in moved(advance).steps] == [
        Trigger.OPENED,
        Trigger.UNSUBSCRIBED,
    ]


def test_an_open_and_a_click_of_the_same_second_go_in_that_order() -> None:
    first, second = Event("z", EventType.OPENED, T0), Event("a", EventType.CLICKED, T0)
    advance = moved(hear(EXAMPLE, accepted(EXAMPLE).position, second, first, at=1))
    assert [step.event_id for step in advance.steps] == ["z", "a"]


def test_a_ring_of_waits_does_not_turn_for_ever() -> None:
    plan = plan_of(wait("v", on("opened", "w")), wait("w", on("opened", "v")))
    opens = [event(EventType.OPENED, n) for n in range(50)]
    advance = moved(hear(plan, start(plan, UTC_ZONE, T0).position, *opens, at=60))
    assert len(advance.steps) <= 2


def test_a_plan_that_comes_back_counts_its_visits() -> None:
    plan = plan_of(send("a", on("no_open", "w")), wait("w", on("no_click", "a")))
    at_wait = moved(fire(plan, accepted(plan).position, "no_open", at=72))
    again = moved(fire(plan, at_wait.position, "no_click", at=96))
    assert again.sends == (Send("a", 2, hours(96)),)
    assert again.position.visits == {"a": 2, "w": 1}
    # The second message is not accepted because the first one was.
    assert fire(plan, again.position, "no_open", at=200) is None
    assert on_accepted(plan, again.position, hours(97), [], UTC_ZONE, hours(97)) is not None


# Failure


def test_a_message_that_will_never_go() -> None:
    position = start(EXAMPLE, UTC_ZONE, T0).position
    advance = on_failed(EXAMPLE, position, "provider_refused", UTC_ZONE, hours(1))
    assert ends(advance) == (FAILED, "provider_refused")


def test_a_node_may_name_its_failure() -> None:
    plan = plan_of(send("a", on("failed", "b")), send("b", on("failed", "stop")))
    position = start(plan, UTC_ZONE, T0).position
    advance = on_failed(plan, position, "address_invalid", UTC_ZONE, hours(1))
    assert advance.sends == (Send("b", 1, hours(1)),)
    assert advance.steps[0].code == "address_invalid"
    assert advance.cancels_pending
    stopped = on_failed(plan, advance.position, "provider_refused", UTC_ZONE, hours(1))
    assert ends(stopped) == (STOPPED, "provider_refused")
