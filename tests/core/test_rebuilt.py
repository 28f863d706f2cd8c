"""What records come to: a way from its steps in any order, a message from its attempts."""

from __future__ import annotations

import random
from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.core.rebuilt import MessageRecord, Moves, message_differences, way_of

ID = UUID(int=1)
NODES = st.sampled_from("abcd")


def steps_of(nodes: list[str], end: str | None) -> list[Moves]:
    """The steps of a walk over these nodes, each with its visit."""
    visits: Counter[str] = Counter()
    steps = []
    before: str | None = None
    for node in nodes:
        visits[node] += 1
        steps.append(Moves(ID, before, node, None, None, visits[node], 1))
        before = node
    if end is not None:
        steps.append(Moves(ID, before, None, end, "why", visits[before or ""], 1))
    return steps


@given(nodes=st.lists(NODES, min_size=1, max_size=12), is_ended=st.booleans(), seed=st.integers())
def test_a_way_follows_from_its_steps_in_any_order(
    nodes: list[str], is_ended: bool, seed: int
) -> None:
    steps = steps_of(nodes, "completed" if is_ended else None)
    random.Random(seed).shuffle(steps)
    way = way_of(steps)
    assert way.is_whole
    assert way.node_id == nodes[-1]
    assert way.visits == Counter(nodes)
    assert (way.end is not None) == is_ended


@given(nodes=st.lists(NODES, min_size=1, max_size=12), is_ended=st.booleans(), data=st.data())
def test_a_step_that_is_missing_or_twice_there_shows(
    nodes: list[str], is_ended: bool, data: st.DataObject
) -> None:
    steps = steps_of(nodes, "stopped" if is_ended else None)
    # A node that is entered from itself shows in its visits alone.
    gaps = [step for step in steps if step.from_node_id != step.to_node_id]
    one = data.draw(st.sampled_from(gaps))
    for bent in ([step for step in steps if step is not one], [*steps, one]):
        way = way_of(bent)
        is_elsewhere = (way.node_id, way.end is not None) != (nodes[-1], is_ended)
        assert not way.is_whole or is_elsewhere


def test_a_draft_and_one_stopped_before_it_began_are_whole() -> None:
    assert way_of([]).is_whole
    stopped = way_of([Moves(ID, None, None, "stopped", "stopped_by_person", 0, 1)])
    assert (stopped.is_whole, stopped.node_id, stopped.visits) == (True, None, {})


def message(state: str, *outcomes: str, **changes: object) -> MessageRecord:
    given: dict[str, object] = {
        "id": ID,
        "enrollment_id": ID,
        "state": state,
        "delivery": "none",
        "attempts": len(outcomes),
        "accepted_attempt": outcomes.index("accepted") + 1 if "accepted" in outcomes else None,
        "numbers": list(range(1, len(outcomes) + 1)),
        "outcomes": list(outcomes),
        "statuses": [None] * len(outcomes),
        "event_types": [],
        "told_attempts": [],
        "is_old": False,
    }
    return MessageRecord(**(given | changes))  # type: ignore[arg-type]  # by name, as a row is


@pytest.mark.parametrize(
    "one",
    [
        message("sending", "not_sent", "armed"),
        message("sent", "accepted", "not_sent"),
        message("abandoned", "unknown"),
        message("waiting_retry", "rejected", statuses=[429]),
        message("failed", "rejected", statuses=[400]),
        message("sending", "rejected", "armed", told_attempts=[1]),
        message("sent", "accepted", told_attempts=[1, 7]),
        message("sent", "accepted", delivery="bounced", event_types=["delivered"], is_old=True),
    ],
)
def test_nothing_differs_in_what_follows(one: MessageRecord) -> None:
    assert list(message_differences(one)) == []


@pytest.mark.parametrize(
    ("one", "field"),
    [
        (message("sending", "not_sent"), "state"),
        (message("failed", "unknown"), "state"),
        (message("waiting_retry", "rejected", statuses=[400]), "state"),
        (message("sent", "accepted", accepted_attempt=2), "accepted_attempt"),
        (message("sending", "armed", attempts=2), "attempts"),
        (message("unknown", "unknown", told_attempts=[1]), "proof"),
        (message("failed", "rejected", told_attempts=[1]), "proof"),
        (message("sent", "accepted", delivery="delivered"), "delivery"),
        (message("sent", "accepted", event_types=["bounced"], is_old=True), "delivery"),
    ],
)
def test_what_does_not_follow_is_told(one: MessageRecord, field: str) -> None:
    assert [difference.field for difference in message_differences(one)] == [field]
