"""Expressions that pick an audience, and what is said of those that cannot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.core.audience import CONDITIONS_MAX, Condition, parse_audience
from outreach.core.errors import Invalid

GOOD = [
    ("country = 'US'", [Condition(("country",), ("US",))]),
    ("contact.country!='US'", [Condition(("country",), ("US",), is_negated=True)]),
    ("country <> 'US'", [Condition(("country",), ("US",), is_negated=True)]),
    (
        "country in ('US', 'CA') AND attributes.plan = 'pro'",
        [Condition(("country",), ("US", "CA")), Condition(("attributes", "plan"), ("pro",))],
    ),
    ("title not in ('CEO')", [Condition(("title",), ("CEO",), is_negated=True)]),
    ("attributes.seats = 12", [Condition(("attributes", "seats"), ("12",))]),
    ("attributes.is_new = true", [Condition(("attributes", "is_new"), ("true",))]),
    ("attributes.size.max = -1.5", [Condition(("attributes", "size", "max"), ("-1.5",))]),
    ("last_name = 'O''Brien'", [Condition(("last_name",), ("O'Brien",))]),
    ("company = ''", [Condition(("company",), ("",))]),
    ("email = 'Ann@EXAMPLE.com'", [Condition(("email_key",), ("ann@example.com",))]),
    ("domain = 'Example.COM'", [Condition(("email_domain",), ("example.com",))]),
    ("  country='US'  ", [Condition(("country",), ("US",))]),
]

BAD = [
    ("", "character 1: expected a field"),
    ("country", "expected =, !=, in or not in, not 'the end'"),
    ("country = US", "expected a text in single quotes"),
    ("country = 'US", "the text that begins here has no closing quote"),
    ("country = 'US' or country = 'CA'", "only 'and' joins"),
    ("country = 'US' country = 'CA'", "expected 'and' or the end"),
    ("country = 'US' and", "expected a field"),
    ("country > 'US'", "'>' means nothing here"),
    ("country like 'U%'", "expected =, !=, in or not in"),
    ("country not 'US'", "expected =, !=, in or not in"),
    ("country in 'US'", "expected ( and a list"),
    ("country in ('US'", "expected , or )"),
    ("country in ()", "expected a text in single quotes"),
    ("(country = 'US')", "expected a field"),
    ("id = '1'", "id is no field; there are email"),
    ("attributes = '1'", "attributes is no field"),
    ("tenant_id = '1'", "tenant_id is no field"),
    ("country = 'US'; drop table contacts", "';' means nothing here"),
    ("country = 12x", "means nothing here"),
    ("c" * 5000, "over 4,000 characters"),
    (" and ".join(["country = 'US'"] * (CONDITIONS_MAX + 1)), "over 50 conditions"),
]


@pytest.mark.parametrize(("expression", "conditions"), GOOD)
def test_an_expression_is_its_conditions(expression: str, conditions: list[Condition]) -> None:
    assert list(parse_audience(expression)) == conditions


@pytest.mark.parametrize(("expression", "said"), BAD)
def test_a_wrong_expression_is_refused_with_its_place(expression: str, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_audience(expression)
    assert said in str(refused.value)


@given(st.text(max_size=80))
def test_any_text_is_conditions_or_invalid(expression: str) -> None:
    try:
        assert parse_audience(expression)
    except Invalid as refused:
        assert refused.problems[0].message.startswith("At character ")
