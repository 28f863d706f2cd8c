"""Everything that may be wrong with a plan, each beside the plan that is right."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from outreach.core.plan import validate_plan
from outreach.core.plan_json import to_camel
from tests.core.plan_support import PLAN, SEND, Change, changed, drop, found, paths, put


def test_the_plan_without_a_change_is_right() -> None:
    assert found(PLAN) == []


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        # missing fields
        (drop("version"), "$.version", "missing"),
        (drop("timezone"), "$.timezone", "missing"),
        (drop("start_node_id"), "$.start_node_id", "missing"),
        (drop("nodes", 1, "action"), "$.nodes[1].action", "missing"),
        (drop("nodes", 0, "subject"), "$.nodes[0].subject", "needs a subject"),
        (drop("nodes", 0, "body"), "$.nodes[0].body", "needs a body"),
        (put("nodes", 0, "subject", value=" "), "$.nodes[0].subject", "needs a subject"),
        (put("nodes", 0, "body", value=None), "$.nodes[0].body", "needs a body"),
        (drop("nodes", 2, "variants", 1, "body"), "$.nodes[2].variants[1].body", "missing"),
        (drop("send_window", "end"), "$.send_window.end", "missing"),
        # types and unknown fields
        (put("version", value="2.0"), "$.version", "'1.0'"),
        (put("nodes", 0, "transitions", value={}), "$.nodes[0].transitions", "list"),
        (put("nodes", 1, value="rest"), "$.nodes[1]", "object"),
        (put("nodes", 0, "body", value=7), "$.nodes[0].body", "text"),
        (put("count_machine_events", value="yes"), "$.count_machine_events", "true or false"),
        (put("nodes", 0, "retries", value=3), "$.nodes[0].retries", "no such field"),
        (put("x y", value=3), "$['x y']", "no such field"),
        (put("nodes", 0, "channel", value="sms"), "$.nodes[0].channel", "'email'"),
        (put("nodes", 0, "sender_identity_id", value="x"), "$.nodes[0].sender_identity_id", "UUID"),
        (put("nodes", 0, "id", value="a:b"), "$.nodes[0].id", "letters"),
        # times and zones
        (put("timezone", value="Mars/Olympus"), "$.timezone", "time zone"),
        (put("timezone", value="EST5"), "$.timezone", "time zone"),
        (put("quiet_hours", "start", value="9:00"), "$.quiet_hours.start", "clock time"),
        (put("quiet_hours", "end", value="24:01"), "$.quiet_hours.end", "clock time"),
        (put("quiet_hours", "start", value="24:00"), "$.quiet_hours.start", "24:00"),
        (put("quiet_hours", "end", value="21:00"), "$.quiet_hours.end", "whole day"),
        (put("send_window", "end", value="08:00"), "$.send_window.end", "after it starts"),
        (put("send_window", "end", value="07:00"), "$.send_window.end", "after it starts"),
        (put("quiet_hours", "end", value="18:00"), "$.send_window", "quiet hours"),
        (put("send_window", "days", value=[]), "$.send_window.days", "empty"),
        (put("send_window", "days", 1, value="tues"), "$.send_window.days[1]", "'tue'"),
        (put("send_window", "zone", value="UTC"), "$.send_window.zone", "'contact'"),
        (
            put("send_window", "skip_holidays", value="ZZ"),
            "$.send_window.skip_holidays",
            "calendar",
        ),
        (
            put("send_window", "skip_holidays", value="DE-XX"),
            "$.send_window.skip_holidays",
            "calendar",
        ),
        (put("nodes", 0, "schedule", "delay", value="P1M"), "$.nodes[0].schedule.delay", "months"),
        (put("nodes", 0, "schedule", "delay", value=60), "$.nodes[0].schedule.delay", "text"),
        (put("idle_after", value="P400D"), "$.idle_after", "P365D"),
        (put("idle_after", value="PT0S"), "$.idle_after", "longer"),
        # transitions
        (put("start_node_id", value="nope"), "$.start_node_id", "no node nope"),
        (
            put("nodes", 0, "transitions", 0, "to", value="nope"),
            "$.nodes[0].transitions[0].to",
            "no node nope",
        ),
        (
            put("nodes", 0, "transitions", 0, "on", value="viewed"),
            "$.nodes[0].transitions[0].on",
            "'opened'",
        ),
        (
            put("nodes", 0, "transitions", 0, "after", value="PT1H"),
            "$.nodes[0].transitions[0].after",
            "write within",
        ),
        (
            put("nodes", 0, "transitions", 1, "within", value="PT1H"),
            "$.nodes[0].transitions[1].within",
            "write after",
        ),
        (
            put("nodes", 0, "transitions", 0, value={"on": "no_open", "to": "rest"}),
            "$.nodes[0].transitions[1].on",
            "already a no_open",
        ),
        # nodes
        (put("nodes", 1, "id", value="intro"), "$.nodes[1].id", "already the id of $.nodes[0]"),
        (put("nodes", 1, "id", value="stop"), "$.nodes[1].id", "no node can have it"),
        (drop("nodes", 0, "transitions", 0), "$.nodes[1]", "never run"),
        (put("nodes", 1, "subject", value="s"), "$.nodes[1].subject", "wait node"),
        (put("nodes", 1, "body", value="s"), "$.nodes[1].body", "wait node"),
        (
            put("nodes", 1, "schedule", value={"delay": "PT1H"}),
            "$.nodes[1].schedule.delay",
            "wait node",
        ),
        (put("nodes", value=[]), "$.nodes", "empty"),
        # variants
        (put("nodes", 2, "variants", 0, "weight", value=0), "$.nodes[2].variants[0].weight", "1"),
        (
            put("nodes", 2, "variants", 0, "weight", value=1.5),
            "$.nodes[2].variants[0].weight",
            "whole number",
        ),
        (put("nodes", 2, "variants", 1, "id", value="a"), "$.nodes[2].variants[1].id", "another"),
        (
            put("nodes", 2, "variants", 1, "subject", value=""),
            "$.nodes[2].variants[1].subject",
            "needs a subject",
        ),
        # words
        (put("nodes", 0, "subject", value="{{ foo }}"), "$.nodes[0].subject", "not a known field"),
        (
            put("nodes", 0, "body", value="{{ contact.frist_name }}"),
            "$.nodes[0].body",
            "contact.frist_name is not a known field",
        ),
        (put("nodes", 0, "body", value="{% if %}"), "$.nodes[0].body", "Liquid"),
        (put("nodes", 0, "body", value="{% render 'x' %}"), "$.nodes[0].body", "render"),
        (put("nodes", 0, "subject", value="a\r\nBcc: b"), "$.nodes[0].subject", "one line"),
        (put("nodes", 0, "subject", value="a" * 501), "$.nodes[0].subject", "500"),
        (put("nodes", 0, "body_html", value="<script>"), "$.nodes[0].body_html", "<script>"),
        (put("nodes", 0, "body", value="a\x00b"), "$.nodes[0].body", "NUL"),
        (put("nodes", 0, "body", value="a\ud800b"), "$.nodes[0].body", "surrogate"),
        (
            put("nodes", 2, "variants", 1, "body", value="{{ foo }}"),
            "$.nodes[2].variants[1].body",
            "not a known field",
        ),
    ],
)
def test_one_fault_is_one_problem_in_both_spellings(change: Change, path: str, words: str) -> None:
    plan = changed(change)
    assert path in paths(plan)
    assert any(words in message for where, message in found(plan) if where == path)
    assert all(message.endswith(".") for _, message in found(plan))
    assert [message for _, message in found(camel(plan))] == [m for _, m in found(plan)]


def camel(value: Any) -> Any:
    if isinstance(value, dict):
        return {to_camel(key): camel(item) for key, item in value.items()}
    return [camel(item) for item in value] if isinstance(value, list) else value


def test_paths_name_keys_as_they_were_written() -> None:
    plan = changed(put("start_node_id", value="nope"))
    assert "$.startNodeId" in paths(camel(plan))
    assert "$.start_node_id" in paths(plan)
    mixed = changed(put("quietHours", value={"start": "9"}))
    del mixed["quiet_hours"]
    assert paths(mixed) == ["$.quietHours.start", "$.quietHours.end"]


def test_a_missing_field_is_named_in_the_spelling_of_the_document() -> None:
    plan = changed(drop("start_node_id"))
    assert "$.startNodeId" in paths(camel(plan))


def test_a_field_in_both_spellings_is_written_twice() -> None:
    assert paths(changed(put("idleAfter", value="P1D"))) == []
    both = changed(put("startNodeId", value="intro"))
    assert [words for _, words in found(both)] == [
        "The field is written twice, as start_node_id and as startNodeId."
    ]


def test_every_problem_comes_at_once() -> None:
    plan = deepcopy(PLAN)
    plan["timezone"] = "Mars/Olympus"
    plan["nodes"][0]["transitions"][0] = {"on": "opened", "to": "nope", "after": "P1M"}
    plan["nodes"][1]["body"] = "x"
    plan["nodes"][2]["variants"][0]["weight"] = -1
    assert set(paths(plan)) == {
        "$.timezone",
        "$.nodes[0].transitions[0].to",
        "$.nodes[0].transitions[0].after",
        "$.nodes[1]",
        "$.nodes[1].body",
        "$.nodes[2].variants[0].weight",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("{", "line 1, column 2"),
        (b"\xff\xfe{}", "UTF-8"),
        ("[]", "object"),
        ("null", "object"),
        ('{"version": NaN}', "NaN"),
        ('{"version": -Infinity}', "Infinity"),
        ("[" * 100_000, "nested"),
        ('{"version": ' + "9" * 5_000 + "}", "not JSON"),
        (json.dumps({"version": "x" * 262_144}), "262,144"),
    ],
)
def test_what_is_no_plan_at_all_is_one_problem_at_the_root(text: str | bytes, words: str) -> None:
    (problem,) = validate_plan(text)
    assert problem.path == "$"
    assert words in problem.message


def test_a_repeated_key_is_a_problem_and_not_a_choice() -> None:
    text = json.dumps(PLAN).replace('"id": "rest"', '"id": "rest", "id": "rest"')
    assert [(p.path, "more than once" in p.message) for p in validate_plan(text)] == [
        ("$.nodes[1].id", True)
    ]


def test_deep_nesting_is_a_problem_where_it_begins() -> None:
    deep: object = "x"
    for _ in range(200):
        deep = [deep]
    problems = found(changed(put("nodes", 0, "body", value=deep)))
    assert any("nested" in message for _, message in problems)


def test_a_byte_order_mark_and_a_mapping_are_fine() -> None:
    assert validate_plan(b"\xef\xbb\xbf" + json.dumps(PLAN).encode()) == []
    assert validate_plan(PLAN) == []
    assert [p.path for p in validate_plan({"version": float("nan")})] == ["$"]
    assert [p.path for p in validate_plan({"version": object()})] == ["$"]


def chain(count: int) -> dict[str, Any]:
    nodes = [
        {"id": f"n{i}", **SEND, "transitions": [{"on": "no_reply", "to": f"n{i + 1}"}]}
        for i in range(count)
    ]
    nodes[-1]["transitions"] = []
    return {**PLAN, "start_node_id": "n0", "nodes": nodes}


def test_two_hundred_nodes_are_the_most() -> None:
    assert found(chain(200)) == []
    assert paths(chain(201)) == ["$.nodes"]


def test_what_variants_or_personalize_supply_need_not_be_said() -> None:
    plan = deepcopy(PLAN)
    plan["nodes"][2] = {"id": "bump", "action": "send", "personalize": {"instructions": "x"}}
    assert found(plan) == []
    plan["nodes"][2]["variants"] = []
    del plan["nodes"][2]["personalize"]
    assert paths(plan) == ["$.nodes[2].subject", "$.nodes[2].body"]
