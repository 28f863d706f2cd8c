"""Everything that can be wrong with a plan, found in one pass and said in words.

The models judge each field, `plan_rules` what fields say together, `plan_graph` where the plan can
go. All of them read the JSON, so that one bad duration does not hide an unknown target three nodes
further on; rules step over what the models have already reported.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from outreach.core.plan_graph import check_graph
from outreach.core.plan_json import Document
from outreach.core.plan_model import Plan
from outreach.core.plan_rules import check_hours, check_nodes


def examine(document: Document) -> Plan | None:
    """The plan, or None with every problem added to the document."""
    plan = _modelled(document)
    check_hours(document)
    check_nodes(document)
    check_graph(document)
    return None if document.found else plan


def _modelled(document: Document) -> Plan | None:
    try:
        return Plan.model_validate(document.data)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            if not _is_echo(document.data, detail):
                document.report(detail["loc"], _sentence(detail))
        return None


def _is_echo(data: object, detail: ErrorDetails) -> bool:
    """A list that has items, all of them bad, is not also too short."""
    if detail["type"] != "too_short":
        return False
    found = _found(data, detail["loc"])
    return isinstance(found, list) and len(found) > 0


def _found(data: object, location: Sequence[str | int]) -> object:
    """What stands at a place, or None."""
    for step in location:
        if isinstance(data, dict):
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
        else:
            return None
    return data


def _sentence(detail: ErrorDetails) -> str:
    """pydantic's finding in our words."""
    context = detail.get("ctx", {})
    match detail["type"]:
        case "missing":
            return "This field is missing."
        case "extra_forbidden":
            return "There is no such field here; look for a misspelling."
        case "value_error":
            return str(context["error"])
        case "literal_error" | "enum":
            return f"This must be {context['expected']}."
        case "string_type":
            return "This must be text."
        case "int_type":
            return "This must be a whole number."
        case "bool_type":
            return "This must be true or false."
        case "tuple_type":
            return "This must be a list."
        case "model_type" | "model_attributes_type" | "dict_type":
            return "This must be an object with fields."
        case "uuid_type" | "uuid_parsing":
            return "This must be a UUID, such as 0198a1b2-0000-7000-8000-000000000001."
        case "too_short" | "string_too_short":
            return "This must not be empty."
        case "too_long":
            return (
                f"There are {context['actual_length']} of these; at most {context['max_length']}."
            )
        case "string_too_long":
            return f"This is longer than {context['max_length']:,} characters."
        case "greater_than_equal":
            return f"This must be at least {context['ge']}."
        case "less_than_equal":
            return f"This must be at most {context['le']:,}."
        case _:
            return f"{detail['msg']}."
