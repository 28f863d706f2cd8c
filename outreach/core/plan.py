"""Plans as the rest of the house knows them: the models, and the one door by which text comes in.

`parse_plan` either answers a plan that can run or raises `Invalid` with everything that is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping

from outreach.core.errors import Invalid, Problem
from outreach.core.plan_fields import Weekday
from outreach.core.plan_json import read_document
from outreach.core.plan_model import (
    STOP,
    SYNTHETIC,
    Node,
    Personalize,
    Plan,
    QuietHours,
    Schedule,
    SendWindow,
    Transition,
    Trigger,
    Variant,
)
from outreach.core.plan_problems import examine

__all__ = [
    "STOP",
    "SYNTHETIC",
    "Node",
    "Personalize",
    "Plan",
    "QuietHours",
    "Schedule",
    "SendWindow",
    "Transition",
    "Trigger",
    "Variant",
    "Weekday",
    "parse_plan",
    "validate_plan",
]


def parse_plan(data: bytes | str | Mapping[str, object]) -> Plan:
    """The plan, valid in every respect; Invalid with all problems at once otherwise."""
    document = read_document(data)
    plan = examine(document)
    if plan is None:
        raise Invalid(document.problems)
    return plan


def validate_plan(data: bytes | str | Mapping[str, object]) -> list[Problem]:
    """Every problem of the plan; none for a plan that can run."""
    try:
        parse_plan(data)
    except Invalid as invalid:
        return list(invalid.problems)
    return []
