"""Rows of a contacts file: what a column means, and whether a cell may become a contact's field.

A good row becomes one line, its fields in the order of `FIELDS` and then its attributes as JSON,
with `SEPARATOR` between them; no field contains a control character, so the line can be stored,
split and joined as it is. An empty field says nothing, and what is stored then stays.

Sources: RFC 4180 for CSV; OWASP, "CSV Injection", for cells that a spreadsheet would run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from outreach.core.address import ADDRESS_LENGTH_MAX, normalize_address
from outreach.core.errors import Invalid, Problem

FIELDS = (
    "email",
    "first_name",
    "last_name",
    "title",
    "company",
    "lead_url",
    "phone",
    "timezone",
    "locale",
    "country",
    "consent_basis",
    "consent_source",
)
ATTRIBUTES = "attributes"
SEPARATOR = "\x1f"
COLUMNS_MAX = 200
NAME_LENGTH_MAX = 100
TEXT_LENGTH_MAX = 500
ATTRIBUTE_LENGTH_MAX = 2_000
URL_LENGTH_MAX = 2_000
VALUE_SHOWN_MAX = 200
DELIMITERS = ",;\t"

_BREAKS = re.compile(r"[\t\n\r]+")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_LOCALE = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*")
_COUNTRY = re.compile(r"[A-Za-z]{2}")
_RISKY = ("=", "+", "-", "@", "\t", "\r")
_GUARDED = tuple("'" + mark for mark in _RISKY)


@dataclass(frozen=True, slots=True)
class RowProblem:
    """Why a row is not taken: the column as the file calls it, a sentence, the cell."""

    column: str
    reason: str
    value: str


def guard(cell: str) -> str:
    """A cell that a spreadsheet shows and does not run."""
    return "'" + cell if cell.startswith(_RISKY) else cell


def unguard(cell: str) -> str:
    """The cell that `guard` was given."""
    return cell[1:] if cell.startswith(_GUARDED) else cell


def _zone(text: str) -> str | None:
    return text if text in _zones() else None


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _country(text: str) -> str | None:
    return text.upper() if _COUNTRY.fullmatch(text) else None


def _locale(text: str) -> str | None:
    return text if _LOCALE.fullmatch(text) else None


def _url(text: str) -> str | None:
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
    except ValueError:
        return None
    is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and " " not in text
    return text.rstrip("/") if is_address else None


@dataclass(frozen=True, slots=True)
class Rule:
    """What may stand in a field: how long it may be, and (or None) its own form of a good text."""

    length_max: int
    form: Callable[[str], str | None] | None = None
    reason: str = ""


_TEXT = Rule(TEXT_LENGTH_MAX)
_ATTRIBUTE = Rule(ATTRIBUTE_LENGTH_MAX)
_RULES: Mapping[str, Rule] = {
    "email": Rule(ADDRESS_LENGTH_MAX + 50, normalize_address, "is not an email address"),
    "lead_url": Rule(URL_LENGTH_MAX, _url, "is not a web address"),
    "timezone": Rule(100, _zone, "is no IANA time zone"),
    "locale": Rule(50, _locale, "is not a locale such as en-US"),
    "country": Rule(2, _country, "is not a country's two letters"),
    "phone": Rule(50),
}


@dataclass(frozen=True, slots=True)
class Column:
    """Where a column's cells go: a field's place, or an attribute."""

    name: str  # as in the file
    place: int | None
    attribute: str
    rule: Rule

    @property
    def target(self) -> str:
        """The field, or `attributes.<name>`."""
        return f"{ATTRIBUTES}.{self.attribute}" if self.place is None else FIELDS[self.place]


def column_of(name: str, mapping: Mapping[str, str]) -> Column:
    """What a column called `name` means: by the mapping, by a field's name, else an attribute."""
    name = name.strip()
    target = mapping.get(name, name)
    field = re.sub(r"[ -]+", "_", target.lower())
    if field in FIELDS:
        return Column(name, FIELDS.index(field), "", _RULES.get(field, _TEXT))
    return Column(name, None, target.removeprefix(f"{ATTRIBUTES}."), _ATTRIBUTE)


def delimiter_of(header: str) -> str:
    """The delimiter that the header line has most of outside quotes; a comma where it has none."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(DELIMITERS, key=bare.count)


def columns_of(header: Sequence[str], mapping: Mapping[str, str]) -> tuple[Column, ...]:
    """The columns of a CSV file; raises Invalid with everything that is wrong with its header."""
    problems = []
    columns = [column_of(name, mapping) for name in header]
    if len(columns) > COLUMNS_MAX:
        raise Invalid.at("$.header", f"has {len(columns)} columns; {COLUMNS_MAX} are allowed.")
    seen: dict[str, str] = {}
    for number, column in enumerate(columns, 1):
        path = f"$.header[{number}]"
        if not column.name or not (column.attribute or column.place is not None):
            problems.append(Problem(path, "The column has no name."))
        elif _FORBIDDEN.search(column.name) or len(column.name) > NAME_LENGTH_MAX:
            problems.append(Problem(path, "The column's name is too long or not readable text."))
        elif column.target in seen:
            first = seen[column.target]
            message = f"{column.name!r} and {first!r} are both {column.target}."
            problems.append(Problem(path, message))
        seen.setdefault(column.target, column.name)
    if FIELDS[0] not in seen and not problems:
        problems.append(Problem("$.header", "There is no column `email`; name it with --map."))
    unknown = sorted(set(mapping) - {column.name for column in columns})
    problems += [Problem("$.map", f"There is no column {name!r}.") for name in unknown]
    if problems:
        raise Invalid(problems)
    return tuple(columns)


def line_of_cells(columns: Sequence[Column], cells: Sequence[str]) -> str | list[RowProblem]:
    """A CSV row as a line, or everything that is wrong with it."""
    if len(cells) != len(columns):
        reason = f"has {len(cells)} cells, the header has {len(columns)}"
        return [RowProblem("", reason, ",".join(cells)[:VALUE_SHOWN_MAX])]
    return _line(zip(columns, cells, strict=True))


def line_of_object(
    column_by_name: Callable[[str], Column], values: Mapping[str, object]
) -> str | list[RowProblem]:
    """A JSON object as a line, or everything that is wrong with it."""
    cells: list[tuple[Column, object]] = []
    for name, value in values.items():
        if name == ATTRIBUTES and isinstance(value, Mapping):
            cells += [(column_by_name(f"{name}.{key}"), each) for key, each in value.items()]
        else:
            cells.append((column_by_name(name), value))
    if len(cells) > COLUMNS_MAX:
        return [RowProblem("", f"has more than {COLUMNS_MAX} fields", "")]
    wrong = [
        RowProblem(column.name[:NAME_LENGTH_MAX], "is not a name for an attribute", "")
        for column, _ in cells
        if len(column.name) > NAME_LENGTH_MAX or _FORBIDDEN.search(column.name)
    ]
    return wrong or _line(cells)


def _line(cells: Iterable[tuple[Column, object]]) -> str | list[RowProblem]:
    values = [""] * len(FIELDS)
    attributes: dict[str, object] = {}
    problems: list[RowProblem] = []
    is_email_wrong = False
    for column, cell in cells:
        if cell is None or cell == "":
            continue
        checked = _checked(column, cell)
        if isinstance(checked, RowProblem):
            problems.append(checked)
            is_email_wrong |= column.place == 0
        elif column.place is None:
            if checked != "":
                attributes[column.attribute] = checked
        else:
            values[column.place] = str(checked)
    if not values[0] and not is_email_wrong:
        problems.insert(0, RowProblem("email", "is missing", ""))
    if problems:
        return problems
    extra = json.dumps(attributes, ensure_ascii=False) if attributes else ""
    return SEPARATOR.join((*values, extra))


def _checked(column: Column, cell: object) -> str | float | RowProblem:
    """The cell in the form in which it is stored; attributes keep numbers and truth values."""
    if not isinstance(cell, str):
        is_field = column.place is not None
        if not isinstance(cell, (int, float)) or (is_field and isinstance(cell, bool)):
            return _problem(column, "is not a plain value", str(cell))
        if not is_field:
            return cell
        cell = str(cell)
    text = cell.strip()
    if not text:
        return ""
    if text[0] == "'":
        text = unguard(text)
    if not text.isprintable():
        text = _BREAKS.sub(" ", text)
        if _FORBIDDEN.search(text):
            what = "UTF-8 text" if _SURROGATE.search(text) else "text without control characters"
            return _problem(column, f"is not {what}", text)
    rule = column.rule
    if len(text) > rule.length_max:
        return _problem(column, f"is longer than {rule.length_max} characters", text)
    if rule.form is None:
        return text
    formed = rule.form(text)
    return _problem(column, rule.reason, text) if formed is None else formed


def _problem(column: Column, reason: str, value: str) -> RowProblem:
    return RowProblem(column.name, reason, value[:VALUE_SHOWN_MAX])
