"""Cells and headers of contact files, good and bad."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.core.contact_rows import (
    FIELDS,
    SEPARATOR,
    RowProblem,
    column_of,
    columns_of,
    delimiter_of,
    guard,
    line_of_cells,
    line_of_object,
    unguard,
)
from outreach.core.errors import Invalid

CONTROL = "is not text without control characters"


def row(**cells: str) -> dict[str, str] | list[tuple[str, str]]:
    """The fields that a CSV row says something of, or its problems."""
    columns = columns_of(list(cells), {})
    parsed = line_of_cells(columns, list(cells.values()))
    if not isinstance(parsed, str):
        return [(problem.column, problem.reason) for problem in parsed]
    values = dict(zip((*FIELDS, "attributes"), parsed.split(SEPARATOR), strict=True))
    return {name: value for name, value in values.items() if value}


def test_a_row_becomes_its_fields_in_normal_form() -> None:
    assert row(
        email=" Ann@EXAMPLE.com ",
        first_name="Ann",
        country="de",
        timezone="Europe/Berlin",
        plan="pro",
    ) == {
        "email": "Ann@example.com",
        "first_name": "Ann",
        "country": "DE",
        "timezone": "Europe/Berlin",
        "attributes": '{"plan": "pro"}',
    }


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"email": ""}, ("email", "is missing")),
        ({"email": "ann"}, ("email", "is not an email address")),
        ({"email": "a@b.com", "timezone": "Mars/Olympus"}, ("timezone", "is no IANA time zone")),
        ({"email": "a@b.com", "country": "DEU"}, ("country", "is longer than 2 characters")),
        ({"email": "a@b.com", "country": "1€"}, ("country", "is not a country's two letters")),
        ({"email": "a@b.com", "lead_url": "javascript://x"}, ("lead_url", "is not a web address")),
        ({"email": "a@b.com", "lead_url": "http://["}, ("lead_url", "is not a web address")),
        ({"email": "a@b.com", "locale": "english!"}, ("locale", "is not a locale such as en-US")),
        ({"email": "a@b.com", "title": "a\x00b"}, ("title", CONTROL)),
        ({"email": "a@b.com", "title": "a\x1fb"}, ("title", CONTROL)),
        ({"email": "a@b.com", "title": "M\udcfcller"}, ("title", "is not UTF-8 text")),
        ({"email": "a@b.com", "title": "x" * 501}, ("title", "is longer than 500 characters")),
        ({"email": "a@b.com", "notes": "x" * 2001}, ("notes", "is longer than 2000 characters")),
    ],
)  # fmt: skip
def test_a_bad_cell_is_named(cells: dict[str, str], problem: tuple[str, str]) -> None:
    assert row(**cells) == [problem]


def test_every_bad_cell_of_a_row_is_named() -> None:
    assert row(email="x", country="123", timezone="Mars") == [
        ("email", "is not an email address"),
        ("country", "is longer than 2 characters"),
        ("timezone", "is no IANA time zone"),
    ]


def test_line_breaks_in_a_cell_are_spaces_and_other_scripts_stay() -> None:
    assert row(email="a@b.com", title="Head\r\nof\tSales", first_name="नि\u200dखिल\u00a0Ω") == {
        "email": "a@b.com",
        "title": "Head of Sales",
        "first_name": "नि\u200dखिल\u00a0Ω",
    }


def test_too_many_and_too_few_cells_are_refused() -> None:
    columns = columns_of(["email", "title"], {})
    for cells in (["a@b.com"], ["a@b.com", "x", "y"]):
        parsed = line_of_cells(columns, cells)
        reason = f"has {len(cells)} cells, the header has 2"
        assert parsed == [RowProblem("", reason, ",".join(cells))]


@pytest.mark.parametrize(
    ("header", "mapping", "paths"),
    [
        (["first_name"], {}, ["$.header"]),
        (["email", "Email"], {}, ["$.header[2]"]),
        (["email", "First Name", "first_name"], {}, ["$.header[3]"]),
        (["email", "plan", "plan"], {}, ["$.header[3]"]),
        (["email", ""], {}, ["$.header[2]"]),
        (["email", "a\x00b"], {}, ["$.header[2]"]),
        (["email", "x" * 101], {}, ["$.header[2]"]),
        (["email", *(f"c{n}" for n in range(200))], {}, ["$.header"]),
        (["email", "mail"], {"mail": "email"}, ["$.header[2]"]),
        (["email"], {"mail": "email"}, ["$.map"]),
        (["email", "x"], {"x": "attributes."}, ["$.header[2]"]),
    ],
)
def test_a_bad_header_is_refused_as_a_whole(
    header: list[str], mapping: dict[str, str], paths: list[str]
) -> None:
    with pytest.raises(Invalid) as refused:
        columns_of(header, mapping)
    assert [problem.path for problem in refused.value.problems] == paths


def test_columns_are_found_by_mapping_by_name_and_else_are_attributes() -> None:
    names = ["E-Mail Adresse", "First Name", "Vertrag", "attributes.plan", "Last-Name"]
    columns = columns_of(names, {"E-Mail Adresse": "email", "Vertrag": "attributes.contract"})
    assert [column.target for column in columns] == [
        "email",
        "first_name",
        "attributes.contract",
        "attributes.plan",
        "last_name",
    ]


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [("email", ","), ("email;name", ";"), ("email\tname,x\ty", "\t"), ('"a;b;c",email', ",")],
)
def test_the_header_shows_the_delimiter(header: str, delimiter: str) -> None:
    assert delimiter_of(header) == delimiter


def test_an_object_keeps_the_types_of_its_attributes() -> None:
    values = {
        "email": "a@b.com",
        "phone": 49301234,
        "first_name": None,
        "seats": 3,
        "attributes": {"is_new": True, "plan": "pro"},
    }
    parsed = line_of_object(lambda name: column_of(name, {}), values)
    assert isinstance(parsed, str)
    fields = parsed.split(SEPARATOR)
    assert fields[FIELDS.index("phone")] == "49301234"
    assert json.loads(fields[-1]) == {"seats": 3, "is_new": True, "plan": "pro"}


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ({"email": ["a@b.com"]}, "email"),
        ({"email": True}, "email"),
        ({"email": "a@b.com", "deep": {"a": 1}}, "deep"),
        ({"email": "a@b.com", "attributes": {"deep": []}}, "attributes.deep"),
        ({"email": "a@b.com", "x" * 101: 1}, "x" * 100),
        ({"email": "a@b.com", **{f"c{n}": n for n in range(200)}}, ""),
    ],
)
def test_a_bad_object_is_named(values: dict[str, object], column: str) -> None:
    parsed = line_of_object(lambda name: column_of(name, {}), values)
    assert not isinstance(parsed, str)
    assert [problem.column for problem in parsed] == [column]


@given(st.text())
def test_a_guarded_cell_starts_no_formula_and_comes_back(text: str) -> None:
    assert not guard(text).startswith(("=", "+", "-", "@", "\t", "\r"))
    if not text.startswith("'"):
        assert unguard(guard(text)) == text


@given(st.dictionaries(st.text(min_size=1), st.text()), st.emails())
def test_whatever_a_cell_holds_a_line_is_one_line_of_all_fields(
    cells: dict[str, str], email: str
) -> None:
    parsed = line_of_object(lambda name: column_of(name, {}), {**cells, "email": email})
    if isinstance(parsed, str):
        assert parsed.count(SEPARATOR) == len(FIELDS)
        assert not set("\n\r\x00") & set(parsed)
        parsed.encode()
