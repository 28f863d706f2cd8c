"""What can be seen to be wrong with a template before anybody is written to."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from liquid import BoundTemplate
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.exceptions import LiquidError

from outreach.core.errors import Problem
from outreach.core.template import (
    FILTERS,
    KNOWN_FAMILIES,
    KNOWN_FIELDS,
    ROOTS,
    MissingValue,
    RenderProblem,
    expressions,
    fill,
    parsed,
    sentence_of,
)


def template_problems(source: str, path: str) -> list[Problem]:
    """What is wrong with a template: syntax, filters, fields that can never have a value."""
    if "{{" not in source and "{%" not in source:
        return []
    try:
        template = parsed(source, False)
        messages = [*_unknown_filters(template), *_unknown_fields(template)]
        if not messages and "attributes" not in source:
            messages = _trial(source)
    except LiquidError as error:
        messages = [sentence_of(error)]
    except RecursionError:
        messages = ["The template is nested too deeply."]
    return [Problem(path, message) for message in messages]


def _unknown_filters(template: BoundTemplate) -> Iterator[str]:
    for name in template.analyze().filters:
        if name not in FILTERS:
            yield f"There is no filter {name}; there are {', '.join(sorted(FILTERS))}."


def _unknown_fields(template: BoundTemplate) -> Iterator[str]:
    """A field that is not known is an error unless a `default` stands in for it."""
    defaulted = {
        expression.left.token.start_index
        for expression in expressions(template)
        if isinstance(expression, FilteredExpression)
        and isinstance(expression.left, Path)
        and any(item.name == "default" for item in expression.filters or ())
    }
    seen: set[str] = set()
    for variable in chain.from_iterable(template.analyze().globals.values()):
        name = str(variable)
        if name in seen or _is_known(variable.segments):
            continue
        if name in KNOWN_FAMILIES or (name in ROOTS and name not in KNOWN_FIELDS):
            seen.add(name)
            yield f"{name} holds several fields; name the one that is meant."
        elif variable.span.index not in defaulted:
            seen.add(name)
            yield (
                f"{name} is not a known field; write a known one or give it a default, "
                f"such as {{{{ {name} | default: 'there' }}}}."
            )


def _is_known(segments: list[Any]) -> bool:
    if not all(isinstance(step, str | int) for step in segments):
        return False
    steps = [str(step) for step in segments]
    return ".".join(steps[:2]) in KNOWN_FIELDS or (
        len(steps) > 2 and ".".join(steps[:2]) in KNOWN_FAMILIES
    )


def _trial(source: str) -> list[str]:
    """Filling the template with a sample shows filters that are used wrongly."""
    sample: dict[str, object] = {}
    for name in KNOWN_FIELDS:
        root, _, leaf = name.partition(".")
        if leaf:
            branch = sample.setdefault(root, {})
            assert isinstance(branch, dict)
            branch[leaf] = "Sample"
        else:
            sample[root] = "https://example.com/"
    try:
        fill(source, sample)
    except RenderProblem as problem:
        return [str(problem)]
    except MissingValue:
        pass
    return []
