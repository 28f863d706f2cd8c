"""Nobody is left on a node that is gone, and nobody is carried to one that does something else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.core.plan import STOP, Plan
from outreach.core.plan_mapping import (
    NodeCount,
    busy,
    mapping_problems,
    retimed_nodes,
    unmapped,
    unmapped_problems,
    vanished_nodes,
)
from tests.core.test_plan_diff import plans
from tests.core.transitions_support import on, plan_of, send, wait

OLD = plan_of(
    send("intro", on("opened", "rest"), on("no_open", "bump")),
    wait("rest", on("clicked", "bump")),
    send("bump"),
)
NEW = plan_of(
    send("intro", on("opened", "rest"), on("no_open", "nudge")),
    send("rest", on("clicked", "nudge")),
    send("nudge"),
    wait("pause", on("clicked", "stop")),
)


def count(node_id: str | None, enrollments: int = 1, on_the_way: int = 0) -> NodeCount:
    return NodeCount(node_id, enrollments, 0, on_the_way, 0)


def test_a_node_that_does_something_else_is_another_node() -> None:
    assert vanished_nodes(OLD, NEW) == ["rest", "bump"]
    assert vanished_nodes(OLD, OLD) == []


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        ({"other": "nudge"}, "The old plan has no node other."),
        ({"nudge": "intro"}, "The old plan has no node nudge."),
        ({"intro": "nudge"}, "intro is in the new plan; who is there stays."),
        ({"bump": "bump"}, "The new plan has no node bump."),
        (
            {"bump": "pause"},
            "bump is a send node and pause is a wait node; map it to a send node, or to stop.",
        ),
        (
            {"rest": "rest"},
            "rest is a wait node and rest is a send node; map it to a wait node, or to stop.",
        ),
    ],
)
def test_a_bad_mapping_is_refused(mapping: dict[str, str], sentence: str) -> None:
    (problem,) = mapping_problems(OLD, NEW, mapping)
    assert (problem.path, problem.message) == (f"map.{next(iter(mapping))}", sentence)


def test_every_problem_of_a_mapping_is_told_at_once() -> None:
    bad = {"other": "nudge", "bump": "pause", "rest": "pause"}
    assert [problem.path for problem in mapping_problems(OLD, NEW, bad)] == [
        "map.other",
        "map.bump",
    ]


def test_a_good_mapping_has_no_problem() -> None:
    assert mapping_problems(OLD, NEW, {"bump": "nudge", "rest": "pause"}) == []
    assert mapping_problems(OLD, NEW, {"bump": STOP, "rest": STOP}) == []


def test_whoever_stands_on_a_vanished_node_needs_a_mapping() -> None:
    counts = [count(None, 9), count("intro"), count("rest", 1), count("bump", 1200)]
    left = unmapped(OLD, NEW, {"rest": "pause"}, counts)
    assert left == [count("bump", 1200)]
    (problem,) = unmapped_problems(left)
    assert problem.path == "map.bump"
    assert problem.message == (
        "1,200 live enrollments on bump, which is not in the new plan as it was;"
        " say where with --map bump=NODE, or =stop."
    )
    assert unmapped(OLD, NEW, {}, [count("intro")]) == []


def test_mail_on_the_way_keeps_a_node_that_vanishes() -> None:
    counts = [count("intro", 5, 2), count("bump", 5, 3), count("rest", 1)]
    assert busy(OLD, NEW, counts) == [count("bump", 5, 3)]


def test_timers_are_set_anew_where_their_node_or_the_clock_changes() -> None:
    same = plan_of(*(dict(node) for node in OLD.model_dump(mode="json")["nodes"]))
    assert retimed_nodes(OLD, same) == []
    assert retimed_nodes(OLD, NEW) == ["intro"]
    patient = OLD.model_copy(update={"timezone": "Asia/Tokyo"})
    assert retimed_nodes(OLD, patient) == ["intro", "rest", "bump"]


@given(plans(), plans(), st.data())
def test_a_whole_mapping_leaves_everybody_on_a_node_of_the_same_kind(
    old: Plan, new: Plan, data: st.DataObject
) -> None:
    vanished = vanished_nodes(old, new)
    mapping = {
        node_id: data.draw(st.sampled_from([STOP, *(node.id for node in new.nodes)]))
        for node_id in vanished
    }
    problems = {problem.path for problem in mapping_problems(old, new, mapping)}
    counts = [count(node.id) for node in old.nodes]
    assert unmapped(old, new, mapping, counts) == []
    for node in old.nodes:
        target = mapping.get(node.id, node.id)
        is_same = target != STOP and new.node(target).action == node.action
        assert (target == STOP or is_same) == (f"map.{node.id}" not in problems)


@given(plans(), plans())
def test_without_a_mapping_exactly_the_vanished_are_left(old: Plan, new: Plan) -> None:
    left = unmapped(old, new, {}, [count(node.id) for node in old.nodes])
    assert [one.node_id for one in left] == vanished_nodes(old, new)
    assert not set(retimed_nodes(old, new)) & set(vanished_nodes(old, new))
