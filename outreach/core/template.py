"""Liquid as Outreach allows it: which tags, filters and fields there are, and how far they may go.

A template belongs to a tenant, the values belong to strangers, and both run in a worker that serves
everybody. So: an allow-list of tags and filters (no files, no clock, no way round the escaping),
bounds on loops, nesting and size, and a value that a contact does not have stops the mail instead
of leaving a hole in it. A blank value is no value. Values are data: Liquid inside them is text.

Source: python-liquid 2.3 (environment limits, `force_liquid_default` of its default filter).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, wraps
from typing import Any, NoReturn

from liquid import BoundTemplate, Environment, RenderContext, Token
from liquid.ast import Node as LiquidNode
from liquid.builtin.expressions.primitive import Blank, Empty, RangeLiteral
from liquid.exceptions import LiquidError
from liquid.expression import Expression
from liquid.output import LimitedStringIO
from liquid.undefined import UNDEFINED, Undefined
from liquid.utils import ReadOnlyChainMap

from outreach.core.template_plain import Plain, plain

OUTPUT_BYTES_MAX = 200_000
LOCALS_BYTES_MAX = 1_000_000
LOOP_ITERATIONS_MAX = 1_000
NESTING_MAX = 20
VALUE_LENGTH_MAX = 100_000
NUMBER_BITS_MAX = 256

KNOWN_FIELDS = frozenset(
    {
        *(f"contact.{name}" for name in ("email", "first_name", "last_name", "title", "company")),
        *(f"contact.{name}" for name in ("phone", "timezone", "locale", "country")),
        *("lead.name", "lead.url", "sender.name", "sender.email"),
        *("tenant.name", "tenant.postal_address", "campaign.name", "unsubscribe_url"),
    }
)
KNOWN_FAMILIES = ("contact.attributes", "lead.attributes")  # any name below these
ROOTS = frozenset(name.partition(".")[0] for name in KNOWN_FIELDS)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TAGS = _words(
    "assign break capture case comment continue echo for if raw unless # "
    "output content illegal expression statement"
)
FILTERS = _words(
    "default append capitalize downcase escape lstrip prepend remove remove_first remove_last "
    "replace replace_first replace_last rstrip slice split squish strip strip_html strip_newlines "
    "truncate truncatewords upcase url_encode join first last size compact uniq sort reverse "
    "abs at_least at_most ceil divided_by floor minus modulo plus times"
)


class MissingValue(Exception):
    """The contact has no value for a field that the template needs; blocks this one mail."""

    def __init__(self, field: str) -> None:
        self.field = field
        super().__init__(f"There is no value for {field}.")


class RenderProblem(Exception):
    """The template cannot be rendered with these values: a limit, or a filter that cannot work."""


class _Missing:
    """No value: false in a condition, replaced by `default`, an error where it would show."""

    __slots__ = ("field",)
    force_liquid_default = True

    def __init__(self, field: str) -> None:
        self.field = field

    def __liquid__(self) -> None:
        return None

    def _refuse(self, *_: object) -> NoReturn:
        raise MissingValue(self.field)

    __str__ = __iter__ = __len__ = __getitem__ = __int__ = __float__ = __html__ = _refuse
    items = _refuse


Mapping.register(_Missing)  # a loop takes the items of a mapping, and nothing of what it knows not


class _Context(RenderContext):
    """Looks values up: nothing outside the fields and the template's own variables exists."""

    __slots__ = ("iterations",)

    def __init__(self, template: BoundTemplate, **options: Any) -> None:
        super().__init__(template, **options)
        self.iterations = 0
        # python-liquid adds `now` and `today` here; a template has no clock.
        self.scope = ReadOnlyChainMap(self.locals, self.globals, self.counters)

    def get(
        self, path: list[object], *, token: Token | None, default: object = UNDEFINED
    ) -> object:
        value = super().get(path, token=token, default=None)
        if value is None or (isinstance(value, str) and path[0] in ROOTS and not value.strip()):
            return _Missing(_dotted(path)) if default is UNDEFINED else default
        return value

    def raise_for_loop_limit(self, length: int = 1) -> None:
        """All loops of a template share one allowance."""
        self.iterations += length
        if self.iterations > LOOP_ITERATIONS_MAX:
            raise RenderProblem(f"The template loops more than {LOOP_ITERATIONS_MAX:,} times.")


class _Template(BoundTemplate):
    context_class = _Context


class _Environment(Environment):
    block_nesting_limit = NESTING_MAX
    local_namespace_limit = LOCALS_BYTES_MAX
    output_stream_limit = OUTPUT_BYTES_MAX
    template_class = _Template

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=extra)
        self.tags = {name: tag for name, tag in self.tags.items() if name in _TAGS}
        self.filters = {
            name: _bounded(name, function)
            for name, function in self.filters.items()
            if name in FILTERS
        }


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, passing "no value" on to a later `default` and refusing to grow without end."""
    grows_by = _GROWTH.get(name)
    passes = name == "default"

    @wraps(function)
    def bounded(value: Any, *args: Any, **options: Any) -> Any:
        if not passes and isinstance(value, _Missing):
            return value
        if grows_by is not None and grows_by(value, *args) > VALUE_LENGTH_MAX:
            raise RenderProblem(f"The filter {name} would make a text that is too long.")
        result = function(value, *args, **options)
        if isinstance(result, int) and result.bit_length() > NUMBER_BITS_MAX:
            raise RenderProblem(f"The filter {name} makes a number that is too large.")
        if isinstance(result, str | list) and len(result) > VALUE_LENGTH_MAX:
            raise RenderProblem(f"The filter {name} makes a text that is too long.")
        return result

    return bounded


def _replaced_length(value: object, old: object = "", new: object = "", *_: object) -> int:
    return str(value).count(str(old)) * len(str(new))


def _joined_length(value: object, separator: object = " ", *_: object) -> int:
    return len(value) * len(str(separator)) if isinstance(value, list | tuple) else 0


# Filters whose result can be the product of the lengths of what they are given.
_GROWTH: dict[str, Callable[..., int]] = {"replace": _replaced_length, "join": _joined_length}

_PLAIN = _Environment(undefined=Undefined)
_ESCAPING = _Environment(undefined=Undefined, autoescape=True)


def _dotted(path: list[object]) -> str:
    return ".".join(str(step) for step in path)


def parsed(source: str, escapes: bool) -> BoundTemplate:
    """The parsed template; LiquidError where it is not one that may run."""
    for opening, closing in (("{{", "}}"), ("{%", "%}")):
        # python-liquid looks for the end of each from each: minutes for a body of braces.
        if source.find(closing, source.rfind(opening)) < source.rfind(opening):
            raise LiquidError(f"{opening} is not closed by {closing}", token=None)
    template = (_ESCAPING if escapes else _PLAIN).from_string(source)
    for expression in expressions(template):
        if isinstance(expression, RangeLiteral):
            raise LiquidError("a range such as (1..3) is not supported", token=expression.token)
        if isinstance(expression, Blank | Empty):
            # python-liquid says that a missing value is not blank; here each is the other.
            message = "blank and empty are not supported; ask {% if field %}, false without a value"
            raise LiquidError(message, token=expression.token)
    return template


# What python-liquid's filters let through when a value does not suit them.
_FILTER_FAULTS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


@lru_cache(maxsize=256)
def _compiled(source: str, escapes: bool) -> tuple[BoundTemplate, Plain | None]:
    """Sending fills the same few templates again and again; checking sees each once."""
    template = parsed(source, escapes)
    return template, plain(template)


def fill(source: str, fields: Mapping[str, object], *, escapes: bool = False) -> str:
    """The template's text for these values; MissingValue or RenderProblem, never a partial text.

    With `escapes`, every value is made safe for HTML on its way in.
    """
    if "{{" not in source and "{%" not in source:
        return source
    try:
        template, words = _compiled(source, escapes)
        if words is not None and (text := words.fill(fields, escapes=escapes)) is not None:
            return text
        buffer = LimitedStringIO(OUTPUT_BYTES_MAX)
        template.render_with_context(_Context(template, globals=fields), buffer)
    except LiquidError as error:
        raise RenderProblem(sentence_of(error)) from None
    except _FILTER_FAULTS as error:
        raise RenderProblem(f"The template cannot be filled: {error}.") from None
    return buffer.getvalue()


def expressions(template: BoundTemplate) -> Iterator[Expression]:
    """Every expression of a template, however deep."""
    nodes: list[LiquidNode] = list(template.nodes)
    context = RenderContext(template)
    while nodes:
        node = nodes.pop()
        nodes.extend(node.children(context, include_partials=False))
        waiting = list(node.expressions())
        while waiting:
            expression = waiting.pop()
            yield expression
            waiting.extend(expression.children())


def sentence_of(error: LiquidError) -> str:
    """Liquid's message with its line, without the drawing."""
    found = error.context()
    where = f" (line {found[0]})" if found else ""
    return f"Liquid: {error.message}{where}."
