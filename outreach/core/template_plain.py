"""The short way through a template that only puts fields between words, which most do.

`plain(template)` finds out once whether a parsed template is of that kind; `Plain.fill` then fills
it in a fiftieth of the time that Liquid takes. Whatever is out of the ordinary, a number, a missing
value, a long text, is left to Liquid, which knows what to do or to say: None means that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from liquid import BoundTemplate, escape
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.builtin.expressions.arguments import PositionalArgument
from liquid.builtin.expressions.primitive import StringLiteral
from liquid.builtin.output import OutputNode

TEXT_LENGTH_MAX = 40_000  # in characters; Liquid counts bytes beyond its own bounds
# Liquid answers these itself where a value has no such member.
_MEMBERS = frozenset({"size", "first", "last"})


@dataclass(frozen=True, slots=True)
class _Slot:
    """A field, and what stands in for it."""

    path: tuple[str, ...]
    default: str | None


@dataclass(frozen=True, slots=True)
class Plain:
    """A template as words with gaps, and the slot that fills each gap."""

    words: str  # a format of `%`
    slots: tuple[_Slot, ...]
    in_places: Callable[[Sequence[str]], tuple[str, ...]]  # from values of slots to those of gaps

    def fill(self, fields: Mapping[str, Any], *, escapes: bool) -> str | None:
        """The text, or None where Liquid has to look."""
        values: list[str] = []
        for slot in self.slots:
            value = _value(slot, fields, escapes=escapes)
            if value is None:
                return None
            values.append(value)
        text = self.words % self.in_places(values)
        # Liquid writes the ends of lines in one way.
        return text if len(text) <= TEXT_LENGTH_MAX and "\r" not in text else None


def plain(template: BoundTemplate) -> Plain | None:
    """The template as words with gaps; None where it is more than that."""
    words: list[str] = []
    slots: dict[_Slot, int] = {}
    places: list[int] = []
    for node in template.nodes:
        if type(node) is ContentNode:
            words.append(node.text.replace("%", "%%"))
            continue
        slot = _slot(node) if type(node) is OutputNode else None
        if slot is None:
            return None
        words.append("%s")
        places.append(slots.setdefault(slot, len(slots)))
    return Plain("".join(words), tuple(slots), itemgetter(*places) if len(places) > 1 else tuple)


def _slot(node: OutputNode) -> _Slot | None:
    expression = node.expression
    if type(expression) is not FilteredExpression or type(expression.left) is not Path:
        return None
    path = expression.left.path
    if not all(type(step) is str and step not in _MEMBERS for step in path):
        return None
    steps = tuple(str(step) for step in path)
    filters = expression.filters or []
    if not filters:
        return _Slot(steps, None)
    if len(filters) > 1 or filters[0].name != "default" or len(filters[0].args) != 1:
        return None
    given = filters[0].args[0]
    if type(given) is not PositionalArgument or type(given.value) is not StringLiteral:
        return None
    return _Slot(steps, str(given.value.value))


def _value(slot: _Slot, fields: Mapping[str, Any], *, escapes: bool) -> str | None:
    value: Any = fields
    for step in slot.path:
        if type(value) is not dict:
            return None
        value = value.get(step)
        if value is None:
            return slot.default
    if type(value) is not str or len(value) > TEXT_LENGTH_MAX:
        return None
    if not value.strip():
        return slot.default
    return str(escape(value)) if escapes else value
