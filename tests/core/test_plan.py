from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from outreach.core.duration import Duration
from outreach.core.errors import Invalid
from outreach.core.plan import (
    SYNTHETIC,
    Plan,
    Transition,
    Trigger,
    Weekday,
    parse_plan,
    validate_plan,
)
from outreach.core.plan_json import to_camel

PLAN: dict[str, Any] = {
    "version": "1.0",
    "timezone": "America/Los_Angeles",
    "quiet_hours": {"start": "21:00", "end": "07:30"},
    "send_window": {
        "days": ["fri", "mon", "tue"],
        "start": "08:00",
        "end": "24:00",
        "zone": "contact",
        "skip_holidays": "DE-BY",
    },
    "start_node_id": "intro",
    "nodes": [
        {
            "id": "intro",
            "channel": "email",
            "action": "send",
            "subject": "A question about {{ lead.name }}",
            "body": "Hi {{ contact.first_name | default: 'there' }}",
            "schedule": {"delay": "P1DT2H"},
            "sender_identity_id": "0198a1b2-0000-7000-8000-000000000001",
            "transitions": [
                {"on": "opened", "to": "wait_click", "within": "PT72H"},
                {"on": "no_open", "to": "bump"},
                {"on": "bounced", "to": "stop"},
            ],
        },
        {
            "id": "wait_click",
            "action": "wait",
            "transitions": [{"on": "no_click", "to": "bump", "after": "P3D"}],
        },
        {
            "id": "bump",
            "action": "send",
            "reply_in_thread": True,
            "variants": [
                {"id": "a", "weight": 2, "subject": "s", "body": "b"},
                {"id": "b", "weight": 1, "subject": "s", "body": "b", "body_html": "<p>b</p>"},
            ],
            "personalize": {"instructions": "Name their product.", "max_words": 80},
        },
    ],
    "idle_after": "P10D",
    "count_machine_events": True,
}


def camel(value: Any) -> Any:
    """The same JSON in the other spelling."""
    if isinstance(value, dict):
        return {to_camel(key): camel(item) for key, item in value.items()}
    return [camel(item) for item in value] if isinstance(value, list) else value


def test_reads_every_part() -> None:
    plan = parse_plan(json.dumps(PLAN))
    intro, wait, bump = plan.nodes
    assert plan.node("bump") is bump
    assert intro.schedule.delay == Duration(days=1, seconds=7_200)
    assert intro.transitions[0].within == Duration(seconds=259_200)
    assert wait.transitions[0].wait == Duration(days=3)
    assert bump.personalize is not None
    assert bump.personalize.approval == "required"
    assert [variant.weight for variant in bump.variants] == [2, 1]
    assert plan.quiet_hours is not None
    assert (plan.quiet_hours.start_minute, plan.quiet_hours.end_minute) == (1_260, 450)
    assert plan.send_window is not None
    assert plan.send_window.days == (Weekday.MON, Weekday.TUE, Weekday.FRI)
    assert plan.send_window.end_minute == 1_440
    assert plan.idle_after == Duration(days=10)


def test_what_a_plan_leaves_out_has_its_default() -> None:
    plan = parse_plan(
        {
            "version": "1.0",
            "timezone": "UTC",
            "start_node_id": "a",
            "nodes": [{"id": "a", "action": "send", "subject": "s", "body": "b"}],
        }
    )
    assert plan.idle_after == Duration(days=30)
    assert not plan.count_machine_events
    assert plan.nodes[0].channel == "email"
    assert plan.nodes[0].schedule.delay.is_zero
    assert plan.quiet_hours is plan.send_window is None


@pytest.mark.parametrize(
    ("on", "hours"), [("no_open", 72), ("no_click", 24), ("no_reply", 72), ("opened", 0)]
)
def test_a_timer_without_a_time_has_its_default(on: str, hours: int) -> None:
    transition = Transition.model_validate({"on": on, "to": "stop"})
    assert transition.wait == Duration(seconds=hours * 3600)
    assert transition.is_timer == (Trigger(on) in SYNTHETIC)


def test_both_spellings_are_one_plan() -> None:
    snake, other = parse_plan(PLAN), parse_plan(json.dumps(camel(PLAN)).encode())
    assert snake == other
    assert snake.hash() == other.hash()


def test_the_canonical_form_reads_back_and_names_the_plan() -> None:
    plan = parse_plan(PLAN)
    assert parse_plan(plan.canonical()) == plan
    assert Plan.model_validate_json(plan.canonical()) == plan
    shuffled = dict(reversed(list(deepcopy(PLAN).items())))
    assert parse_plan(shuffled).hash() == plan.hash()
    assert len(plan.hash()) == 64
    shuffled["idle_after"] = "P11D"
    assert parse_plan(shuffled).hash() != plan.hash()


def test_defaults_and_their_absence_hash_alike() -> None:
    spelled = deepcopy(PLAN)
    spelled["nodes"][1]["transitions"].append({"on": "replied", "to": "stop", "within": None})
    spelled["nodes"][1]["schedule"] = {"delay": "PT0S"}
    left_out = deepcopy(PLAN)
    left_out["nodes"][1]["transitions"].append({"on": "replied", "to": "stop"})
    assert parse_plan(spelled).hash() == parse_plan(left_out).hash()


def test_a_plan_does_not_change() -> None:
    plan = parse_plan(PLAN)
    with pytest.raises(ValidationError):
        plan.timezone = "UTC"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["nodes", "id", "on", "to", "transitions", "startNodeId", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_a_plan_or_has_problems(data: Any) -> None:
    problems = validate_plan(json.dumps(data))
    assert problems
    assert all(problem.path.startswith("$") for problem in problems)


@given(JSON, st.data())
def test_no_part_of_a_plan_can_break_the_checker(part: Any, data: st.DataObject) -> None:
    plan = deepcopy(PLAN)
    place: Any = plan
    while True:
        key = data.draw(
            st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place)))
        )
        if not isinstance(place[key], dict | list) or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = part
    for spelling in (plan, camel(plan)):
        try:
            parse_plan(json.dumps(spelling))
        except Invalid as invalid:
            assert invalid.problems
