"""Which step a machine's event led to, where others were taken and taken back around it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from outreach.core.matching import Event, Position
from outreach.core.mistakes import Taken, find_mistake
from outreach.core.plan import Trigger
from outreach.core.states import EventType

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
HERE = Position("c", {"a": 1, "b": 2, "c": 2}, START, Trigger.CLICKED, None, "a")
CLICK = Event("click", EventType.CLICKED, START, is_machine=True)


def step(
    frm: str | None, to: str | None, trigger: str | None, event_id: str | None, code: str = "event"
) -> Taken:
    return Taken(frm, to, trigger, code, event_id, START + timedelta(hours=len(frm or "")))


ENTERED = step(None, "a", None, None, "entered")
READ = step("a", "b", "opened", "open")
TALK = step("b", "c", "clicked", "click")


def test_the_first_step_by_the_event_is_found_and_where_it_stood() -> None:
    found = find_mistake([ENTERED, READ, TALK], HERE, START, [CLICK])
    assert found is not None
    assert found.event is CLICK
    before = found.before
    assert (before.node_id, before.came_by, before.message_node_id) == ("b", Trigger.OPENED, "a")
    assert (before.entered_at, before.accepted_at, before.visits) == (READ.at, START, HERE.visits)


def test_of_a_chain_the_whole_is_found() -> None:
    chain = [ENTERED, step("a", "b", "opened", "click"), TALK]
    found = find_mistake(chain, HERE, START, [CLICK])
    assert found is not None
    assert (found.before.node_id, found.before.came_by) == ("a", None)


def test_what_others_led_to_is_no_mistake() -> None:
    assert find_mistake([ENTERED, READ], HERE, START, [CLICK]) is None
    assert find_mistake([ENTERED, READ, TALK], HERE, START, []) is None


def test_what_was_taken_back_is_not_taken_back_twice() -> None:
    for code in ("step_of_a_machine", "step_taken_back"):
        steps = [ENTERED, READ, TALK, step("c", "b", "clicked", "click", code)]
        assert find_mistake(steps, HERE, START, [CLICK]) is None
        again = find_mistake([*steps, TALK], HERE, START, [CLICK])
        assert again is not None
        assert again.before.node_id == "b"


def test_a_timer_that_rested_is_looked_at_again_where_it_stands() -> None:
    rested = step("b", "b", "no_click", "click", "timer_found_event")
    found = find_mistake([ENTERED, READ, rested], HERE, START, [CLICK])
    assert found is not None
    assert (found.before.node_id, found.before.came_by) == ("b", Trigger.OPENED)
