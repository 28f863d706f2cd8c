"""What a new version changes: everything that means something else, and nothing besides."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.core.plan import Plan, parse_plan
from outreach.core.plan_diff import Kind, Part, diff_plans
from tests.core.plan_support import PLAN, Change, changed, drop, put
from tests.core.transitions_support import on, plan_of, send, wait

OLD = parse_plan(PLAN)
SENDER = "0198a1b2-0000-7000-8000-000000000001"
VARIANT = {"id": "c", "weight": 3, "subject": "s", "body": "b"}

TRANSITIONS = st.lists(
    st.sampled_from(
        [
            on("opened", "a"),
            on("opened", "a", within="PT2H"),
            on("no_open", "b", after="PT2H"),
            on("clicked", "stop"),
            on("replied", "stop"),
        ]
    ),
    max_size=4,
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Plans over a few ids, some of which do other things in other plans."""
    ids = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True))
    nodes = []
    for node_id in ids:
        transitions = draw(TRANSITIONS)
        if draw(st.booleans()):
            delay = draw(st.sampled_from(["PT0S", "PT1H"]))
            nodes.append(send(node_id, *transitions, delay=delay))
        else:
            nodes.append(wait(node_id, *transitions))
    return plan_of(*nodes, idle_after=draw(st.sampled_from(["P30D", "P20D"])))


def meaning(plan: Plan) -> Any:
    """The plan as JSON, its nodes by their ids."""
    data = json.loads(plan.canonical())
    return {**data, "nodes": {node["id"]: node for node in data["nodes"]}}


@pytest.mark.parametrize(
    ("change", "part", "sentence"),
    [
        (
            put("nodes", 0, "subject", value="Other"),
            Part.WORDS,
            'The subject changes from "Hello" to "Other".',
        ),
        (
            put("nodes", 0, "schedule", "delay", value="P1D"),
            Part.DELAY,
            "The delay changes from PT1H to P1D.",
        ),
        (
            put("nodes", 0, "transitions", 1, "after", value="PT24H"),
            Part.TRANSITIONS,
            '"on no_open go to bump, after PT24H" is added.',
        ),
        (
            drop("nodes", 0, "transitions", 0, "within"),
            Part.TRANSITIONS,
            '"on opened go to rest" is added.',
        ),
        (
            lambda plan: plan["nodes"][0]["transitions"].reverse(),
            Part.TRANSITIONS,
            "The transitions are in another order.",
        ),
        (
            lambda plan: plan["nodes"][2]["variants"].append(VARIANT),
            Part.VARIANTS,
            "Variant c is added, with weight 3.",
        ),
        (drop("nodes", 2, "variants", 1), Part.VARIANTS, "Variant b is removed."),
        (
            put("nodes", 2, "variants", 1, "weight", value=5),
            Part.VARIANTS,
            "The weight of variant b changes from 1 to 5.",
        ),
        (
            put("nodes", 2, "variants", 1, "subject", value="t"),
            Part.VARIANTS,
            'The subject of variant b changes from "s" to "t".',
        ),
        (
            lambda plan: plan["nodes"][2]["variants"].reverse(),
            Part.VARIANTS,
            "The variants are in another order.",
        ),
        (
            put("nodes", 0, "sender_identity_id", value=SENDER),
            Part.SENDER,
            f"The sender changes from the campaign's to {SENDER}.",
        ),
        (
            put("nodes", 0, "reply_in_thread", value=True),
            Part.THREAD,
            "It goes out as a reply to the last mail.",
        ),
        (
            put("nodes", 0, "personalize", value={"instructions": "be brief"}),
            Part.PERSONALIZE,
            "What a language model is asked for changes.",
        ),
    ],
)
def test_a_change_of_a_node_is_said(change: Change, part: Part, sentence: str) -> None:
    diff = diff_plans(OLD, parse_plan(changed(change)))
    assert diff.plan == ()
    (node,) = diff.nodes
    assert node.kind is Kind.CHANGED
    assert node.parts == {part}
    assert sentence in [one.sentence for one in node.differences]
    assert f"{node.node_id}: {sentence}" in diff.sentences()


@pytest.mark.parametrize(
    ("change", "part", "sentence"),
    [
        (
            put("timezone", value="UTC"),
            Part.HOURS,
            "The time zone changes from Europe/Berlin to UTC.",
        ),
        (
            drop("quiet_hours"),
            Part.HOURS,
            'The quiet time changes from {"start":"21:00","end":"07:30"} to none.',
        ),
        (
            put("idle_after", value="P9D"),
            Part.PATIENCE,
            "The time without any event changes from P30D to P9D.",
        ),
        (
            put("count_machine_events", value=True),
            Part.MACHINES,
            "Opens and clicks by machines count.",
        ),
    ],
)
def test_a_change_of_the_whole_plan_is_said(change: Change, part: Part, sentence: str) -> None:
    diff = diff_plans(OLD, parse_plan(changed(change)))
    assert [(one.part, one.sentence) for one in diff.plan] == [(part, sentence)]
    assert diff.nodes == ()
    assert diff.sentences() == [sentence]


def test_nodes_come_and_go() -> None:
    old = plan_of(send("a", on("opened", "b")), send("b"))
    new = plan_of(send("c", on("opened", "a")), send("a", on("opened", "c")))
    diff = diff_plans(old, new)
    assert [(node.node_id, node.kind) for node in diff.nodes] == [
        ("a", Kind.CHANGED),
        ("b", Kind.REMOVED),
        ("c", Kind.ADDED),
    ]
    assert diff.sentences() == [
        "The start node changes from a to c.",
        'a: "on opened go to b" is removed.',
        'a: "on opened go to c" is added.',
        "b is removed.",
        "c is added.",
    ]


def test_a_transition_that_stands_there_twice_is_counted() -> None:
    once = plan_of(wait("a", on("clicked", "stop"), on("opened", "a")))
    twice = plan_of(wait("a", on("clicked", "stop"), on("opened", "a"), on("clicked", "stop")))
    assert diff_plans(once, twice).sentences() == ['a: "on clicked go to stop" is added.']
    assert diff_plans(twice, once).sentences() == ['a: "on clicked go to stop" is removed.']


def test_long_texts_are_told_apart_by_a_mark() -> None:
    old, new = (
        parse_plan(changed(put("nodes", 0, "body", value="x" * 30 + end))) for end in ("1", "2")
    )
    (sentence,) = diff_plans(old, new).sentences()
    was, now = sentence.removeprefix("intro: The text changes from ").split(" to ")
    assert was.startswith("31 characters (")
    assert was != now.removesuffix(".")


@given(plans(), plans())
def test_a_diff_is_empty_exactly_where_plans_mean_the_same(old: Plan, new: Plan) -> None:
    assert diff_plans(old, new).is_empty == (meaning(old) == meaning(new))


@given(plans(), plans())
def test_the_way_back_removes_what_the_way_there_adds(old: Plan, new: Plan) -> None:
    there, back = diff_plans(old, new), diff_plans(new, old)
    kinds = {node.node_id: node.kind for node in there.nodes}
    opposite = {Kind.ADDED: Kind.REMOVED, Kind.REMOVED: Kind.ADDED, Kind.CHANGED: Kind.CHANGED}
    assert {node.node_id: opposite[node.kind] for node in back.nodes} == kinds
