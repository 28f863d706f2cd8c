"""Valid plans, small and of every kind the language allows: a chain of nodes with more ways added.

Every node is reached by the chain. A way that the validator takes offence at becomes a `stop`, so
that hardly a plan is thrown away.
"""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import strategies as st

from outreach.core.plan import validate_plan

REAL = [
    "delivered",
    "opened",
    "clicked",
    "replied",
    "bounced",
    "blocked",
    "spam_report",
    "unsubscribed",
    "failed",
]
OFTEN = ["delivered", "opened", "clicked"] * 4  # what leads on to a node that hears the same story
TIMED = ["no_open", "no_click", "no_reply"]
ZONES = ["UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"]

_durations = st.sampled_from(
    ["PT15M", "PT1H", "PT6H", "PT24H", "PT30H", "PT72H", "P1D", "P2D", "P1DT2H"]
)
_clocks = st.integers(1, 46).map(lambda half: f"{half // 2:02}:{half % 2 * 30:02}")
_weekdays = st.sampled_from(["mon", "tue", "wed", "thu", "fri", "sat", "sun"])
_days = st.just(["fri"]) | st.sets(_weekdays, min_size=1).map(sorted)
_spans = st.lists(_clocks, min_size=2, max_size=2, unique=True)
_quiet = _spans.map(lambda span: {"start": span[0], "end": span[1]})


@st.composite
def _windows(draw: st.DrawFn) -> dict[str, Any]:
    start, end = sorted(draw(_spans))
    window: dict[str, Any] = {"start": start, "end": end, "days": draw(_days)}
    window["zone"] = draw(st.sampled_from(["contact", "plan"]))
    if draw(st.booleans()):
        window["skip_holidays"] = "US"
    return window


def _real(targets: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"on": st.sampled_from(REAL + OFTEN), "to": targets}, optional={"within": _durations}
    )


def _timed(targets: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"on": st.sampled_from(TIMED), "to": targets}, optional={"after": _durations}
    )


@st.composite
def _nodes(draw: st.DrawFn) -> list[dict[str, Any]]:
    ids = [f"n{number}" for number in range(draw(st.integers(1, 4)))]
    targets = st.sampled_from([*ids, "stop"])
    nodes: list[dict[str, Any]] = []
    for node_id, following in zip(ids, [*ids[1:], None], strict=True):
        least = 0 if following is None else 2
        ways = draw(st.lists(_timed(targets) | _real(targets), min_size=least, max_size=4))
        if following:
            to = st.just(following)
            ways.insert(draw(st.integers(0, len(ways))), draw(_timed(to) | _real(to)))
        is_start = node_id == ids[0]
        node = {
            "id": node_id,
            "action": "send"
            if is_start and draw(st.integers(0, 3))
            else draw(st.sampled_from(["send", "wait"])),
        }
        if node["action"] == "send":
            node |= {"subject": "s", "body": "b"}
            node["schedule"] = {"delay": draw(st.just("PT0M") | _durations)}
        nodes.append(node | {"transitions": ways})
    return nodes


@st.composite
def plans(draw: st.DrawFn) -> dict[str, Any]:
    """One plan, as JSON; the validator has nothing against it."""
    nodes = draw(_nodes())
    plan: dict[str, Any] = {
        "version": "1.0",
        "timezone": draw(st.sampled_from(ZONES)),
        "start_node_id": "n0",
        "idle_after": draw(st.sampled_from(["PT30H", "P2D", "P3DT1H"])),
        "count_machine_events": draw(st.booleans()),
        "nodes": nodes,
    }
    plan |= draw(st.just({}) | st.fixed_dictionaries({"quiet_hours": _quiet}))
    plan |= draw(st.just({}) | st.fixed_dictionaries({"send_window": _windows()}))
    while faults := {problem.path for problem in validate_plan(json.dumps(plan))}:
        _mend(plan, min(faults))
    return plan


def _mend(plan: dict[str, Any], fault: str) -> None:
    nodes = plan["nodes"]
    at = re.search(r"nodes\[(\d+)\]\.transitions\[(\d+)\]\.(on|to)", fault)
    if at and at[3] == "to":  # a loop in which nothing waits
        nodes[int(at[1])]["transitions"][int(at[2])]["to"] = "stop"
    elif at:  # a second timer of one name
        del nodes[int(at[1])]["transitions"][int(at[2])]
    elif "nodes" in fault:  # nothing leads there any more
        del nodes[int(re.findall(r"\d+", fault)[0]) :]
        ids = {node["id"] for node in nodes}
        for way in (way for node in nodes for way in node["transitions"]):
            way["to"] = way["to"] if way["to"] in ids else "stop"
    else:  # the quiet hours cover the whole window
        del plan["quiet_hours"]
