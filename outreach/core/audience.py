"""The small language that picks an audience.

    country = 'US' and attributes.plan in ('pro', 'team')

Comparisons joined by `and`, nothing else: `=`, `!=`, `in (…)`, `not in (…)`. It compiles to a list
of conditions, which one fixed SQL statement evaluates; no text of it ever becomes SQL. A field that
a contact does not have compares as ''.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from outreach.core.address import normalize_address
from outreach.core.errors import Invalid

EXPRESSION_LENGTH_MAX = 4_000
CONDITIONS_MAX = 50

# What may be asked for, and the column that answers.
FIELDS: dict[str, str] = {
    "email": "email_key",
    "domain": "email_domain",
    "first_name": "first_name",
    "last_name": "last_name",
    "title": "title",
    "company": "company",
    "phone": "phone",
    "timezone": "timezone",
    "locale": "locale",
    "country": "country",
    "consent_basis": "consent_basis",
    "consent_source": "consent_source",
}

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<sign>!=|<>|=|\(|\)|,)"
    r"|(?P<number>-?[0-9]+(?:\.[0-9]+)?(?![A-Za-z_]))"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*))"
)


@dataclass(frozen=True, slots=True)
class Condition:
    """The value at `path` is one of `values`, or with `is_negated` none of them."""

    path: tuple[str, ...]
    values: tuple[str, ...]
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # text, sign, number, word, end
    text: str
    position: int


def parse_audience(expression: str) -> tuple[Condition, ...]:
    """The conditions, all of which must hold; Invalid with the place of the first fault."""
    if len(expression) > EXPRESSION_LENGTH_MAX:
        raise _fault(0, f"the expression is over {EXPRESSION_LENGTH_MAX:,} characters long")
    reader = _Reader(_tokens(expression))
    conditions = [_condition(reader)]
    while reader.takes_word("and"):
        conditions.append(_condition(reader))
    reader.expect_end()
    if len(conditions) > CONDITIONS_MAX:
        raise _fault(0, f"there are over {CONDITIONS_MAX} conditions")
    return tuple(conditions)


class _Reader:
    """The tokens from left to right, one looked at."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0

    @property
    def current(self) -> _Token:
        return self._tokens[self._next]

    def take(self) -> _Token:
        token = self.current
        if token.kind != "end":
            self._next += 1
        return token

    def takes_word(self, word: str) -> bool:
        if self.current.kind == "word" and self.current.text.lower() == word:
            self._next += 1
            return True
        return False

    def takes_sign(self, *signs: str) -> bool:
        if self.current.kind == "sign" and self.current.text in signs:
            self._next += 1
            return True
        return False

    def expect_end(self) -> None:
        token = self.current
        if token.kind == "end":
            return
        if token.kind == "word" and token.text.lower() == "or":
            raise _fault(token.position, "only 'and' joins conditions; for 'or', enroll twice")
        raise _fault(token.position, f"expected 'and' or the end, not {token.text!r}")


def _tokens(expression: str) -> list[_Token]:
    tokens: list[_Token] = []
    position, end = 0, len(expression.rstrip())
    while position < end:
        match = _TOKEN.match(expression, position, end)
        if match is None:
            start = position + len(expression[position:]) - len(expression[position:].lstrip())
            if expression[start] == "'":
                raise _fault(start, "the text that begins here has no closing quote")
            raise _fault(start, f"{expression[start]!r} means nothing here")
        kind = str(match.lastgroup)
        tokens.append(_Token(kind, match[kind], match.start(kind)))
        position = match.end()
    tokens.append(_Token("end", "the end", end))
    return tokens


def _condition(reader: _Reader) -> Condition:
    path = _field(reader.take())
    sign = reader.current
    if reader.takes_sign("="):
        return Condition(path, (_value(reader, path),))
    if reader.takes_sign("!=", "<>"):
        return Condition(path, (_value(reader, path),), is_negated=True)
    if reader.takes_word("in"):
        return Condition(path, _values(reader, path))
    if reader.takes_word("not") and reader.takes_word("in"):
        return Condition(path, _values(reader, path), is_negated=True)
    raise _fault(sign.position, f"expected =, !=, in or not in, not {sign.text!r}")


def _field(token: _Token) -> tuple[str, ...]:
    if token.kind != "word":
        raise _fault(token.position, f"expected a field, not {token.text!r}")
    name = token.text.removeprefix("contact.")
    if name in FIELDS:
        return (FIELDS[name],)
    head, _, rest = name.partition(".")
    if head == "attributes" and rest:
        return ("attributes", *rest.split("."))
    known = ", ".join(FIELDS)
    raise _fault(token.position, f"{token.text} is no field; there are {known} and attributes.NAME")


def _value(reader: _Reader, path: tuple[str, ...]) -> str:
    token = reader.take()
    if token.kind == "number":
        return token.text
    if token.kind == "text":
        text = token.text[1:-1].replace("''", "'")
        return _comparable(text, path)
    if token.kind == "word" and token.text in ("true", "false"):
        return token.text
    raise _fault(
        token.position,
        f"expected a text in single quotes, a number, true or false, not {token.text!r}",
    )


def _values(reader: _Reader, path: tuple[str, ...]) -> tuple[str, ...]:
    opening = reader.current
    if not reader.takes_sign("("):
        raise _fault(opening.position, "expected ( and a list of values")
    values = [_value(reader, path)]
    while reader.takes_sign(","):
        values.append(_value(reader, path))
    closing = reader.current
    if not reader.takes_sign(")"):
        raise _fault(closing.position, f"expected , or ), not {closing.text!r}")
    return tuple(values)


def _comparable(text: str, path: tuple[str, ...]) -> str:
    """Addresses and domains compare in the form in which they are stored."""
    if path == ("email_key",):
        return (normalize_address(text) or text).lower()
    return text.lower() if path == ("email_domain",) else text


def _fault(position: int, message: str) -> Invalid:
    return Invalid.at("where", f"At character {position + 1}: {message}.")
