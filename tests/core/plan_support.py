"""A plan that is right, ways to change it, and what is then found wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from outreach.core.plan import validate_plan

SEND = {"action": "send", "subject": "Hello", "body": "Hello {{ contact.first_name }}"}
PLAN: dict[str, Any] = {
    "version": "1.0",
    "timezone": "Europe/Berlin",
    "quiet_hours": {"start": "21:00", "end": "07:30"},
    "send_window": {"days": ["mon", "tue"], "start": "08:00", "end": "18:00"},
    "start_node_id": "intro",
    "nodes": [
        {
            "id": "intro",
            **SEND,
            "schedule": {"delay": "PT1H"},
            "transitions": [
                {"on": "opened", "to": "rest", "within": "PT72H"},
                {"on": "no_open", "to": "bump", "after": "PT72H"},
            ],
        },
        {"id": "rest", "action": "wait", "transitions": [{"on": "no_click", "to": "bump"}]},
        {
            "id": "bump",
            "action": "send",
            "variants": [
                {"id": "a", "weight": 1, "subject": "s", "body": "b"},
                {"id": "b", "weight": 1, "subject": "s", "body": "b"},
            ],
        },
    ],
}

Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> dict[str, Any]:
    plan = deepcopy(PLAN)
    change(plan)
    return plan


def found(plan: object) -> list[tuple[str, str]]:
    return [(problem.path, problem.message) for problem in validate_plan(json.dumps(plan))]


def paths(plan: object) -> list[str]:
    return [path for path, _ in found(plan)]


def put(*place: str | int, value: object) -> Change:
    def change(plan: dict[str, Any]) -> None:
        at: Any = plan
        for step in place[:-1]:
            at = at[step]
        at[place[-1]] = value

    return change


def drop(*place: str | int) -> Change:
    def change(plan: dict[str, Any]) -> None:
        at: Any = plan
        for step in place[:-1]:
            at = at[step]
        del at[place[-1]]

    return change
