"""Ways round in a plan: those that take time may run, those in which nothing waits may not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.plan_support import PLAN, SEND, found, paths


def loop(*nodes: tuple[str, str, list[dict[str, str]]], delay: str = "PT0S") -> dict[str, Any]:
    made = [
        {
            "id": node_id,
            "action": action,
            "transitions": transitions,
            **(SEND | {"schedule": {"delay": delay}} if action == "send" else {}),
        }
        for node_id, action, transitions in nodes
    ]
    return {**PLAN, "start_node_id": nodes[0][0], "nodes": made}


def go(on: str, to: str, **times: str) -> dict[str, str]:
    return {"on": on, "to": to, **times}


@pytest.mark.parametrize(
    "plan",
    [
        loop(("a", "send", [go("no_open", "a")])),
        loop(
            ("a", "send", [go("opened", "b")]), ("b", "send", [go("no_reply", "a", after="PT1S")])
        ),
        loop(("a", "send", [go("opened", "w")]), ("w", "wait", [go("clicked", "a")])),
        loop(("a", "send", [go("delivered", "a")]), delay="PT1H"),
        loop(
            ("a", "send", [go("opened", "w")]),
            ("w", "wait", [go("no_click", "v", after="PT1H")]),
            ("v", "wait", [go("clicked", "w")]),
        ),
        loop(("a", "send", [go("opened", "b"), go("clicked", "b")]), ("b", "send", [])),
    ],
    ids=["timer", "one timer of two", "event at a wait", "delay", "waits with a timer", "diamond"],
)
def test_a_loop_that_takes_time_may_run(plan: dict[str, Any]) -> None:
    assert found(plan) == []


@pytest.mark.parametrize(
    ("plan", "path"),
    [
        (loop(("a", "send", [go("delivered", "a")])), "$.nodes[0].transitions[0].to"),
        (loop(("a", "send", [go("failed", "a")])), "$.nodes[0].transitions[0].to"),
        (
            loop(("a", "send", [go("no_open", "a", after="PT0S")])),
            "$.nodes[0].transitions[0].to",
        ),
        (
            loop(("a", "send", [go("opened", "b")]), ("b", "send", [go("opened", "a")])),
            "$.nodes[1].transitions[0].to",
        ),
        (
            loop(
                ("a", "send", [go("delivered", "w")]),
                ("w", "wait", [go("no_open", "a", after="PT0S")]),
            ),
            "$.nodes[1].transitions[0].to",
        ),
        (
            loop(
                ("a", "send", [go("opened", "w")]),
                ("w", "wait", [go("clicked", "v")]),
                ("v", "wait", [go("opened", "w")]),
            ),
            "$.nodes[2].transitions[0].to",
        ),
    ],
    ids=["delivery", "failure", "timer of nothing", "two sends", "wait of nothing", "only waits"],
)
def test_a_loop_in_which_nothing_waits_is_refused(plan: dict[str, Any], path: str) -> None:
    assert [(where, "nothing waits" in words) for where, words in found(plan)] == [(path, True)]


def test_both_ways_round_are_named() -> None:
    plan = loop(
        ("a", "send", [go("opened", "b"), go("clicked", "a")]), ("b", "send", [go("opened", "a")])
    )
    assert paths(plan) == ["$.nodes[1].transitions[0].to", "$.nodes[0].transitions[1].to"]


def test_a_long_chain_of_nodes_is_walked_without_recursion() -> None:
    nodes = [
        {"id": str(i), "action": "wait", "transitions": [go("opened", str(i + 1))]}
        for i in range(2_000)
    ]
    assert "$.nodes" in paths({**PLAN, "start_node_id": "0", "nodes": nodes})
