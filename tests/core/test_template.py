from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.core.template import FILTERS, KNOWN_FIELDS, MissingValue, RenderProblem, fill
from outreach.core.template_problems import template_problems

FIELDS: dict[str, Any] = {
    "contact": {
        "first_name": "Ann",
        "email": "ann@example.com",
        "title": "",
        "company": " \t",
        "phone": None,
        "attributes": {"plan": "gold", "tags": ["a", "b"], "long": "x" * 2_000},
    },
    "lead": {"name": "Acme & Co"},
}


def messages(source: str) -> list[str]:
    return [problem.message for problem in template_problems(source, "$.body")]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Hi {{ contact.first_name }}", "Hi Ann"),
        ("{{ contact['first_name'] | upcase }}", "ANN"),
        ("{{ contact.attributes.plan }}", "gold"),
        ("{% for tag in contact.attributes.tags %}{{ tag }},{% endfor %}", "a,b,"),
        ("{% assign x = lead.name %}{{ x }}", "Acme & Co"),
        ("{% case contact.country %}{% when 'US' %}u{% else %}e{% endcase %}", "e"),
        ("no liquid at all { } %", "no liquid at all { } %"),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
        ("{% comment %}{{ x }}{% endcomment %}.", "."),
    ],
)
def test_fills(source: str, text: str) -> None:
    assert fill(source, FIELDS) == text
    assert messages(source) == []


@pytest.mark.parametrize("name", ["title", "company", "phone", "last_name", "attributes.nope"])
def test_no_value_stops_the_mail_unless_a_default_stands_in(name: str) -> None:
    field = f"contact.{name}"
    with pytest.raises(MissingValue) as missing:
        fill(f"Hi {{{{ {field} }}}}", FIELDS)
    assert missing.value.field == field
    with pytest.raises(MissingValue):
        fill(f"{{{{ {field} | upcase }}}}", FIELDS)
    with pytest.raises(MissingValue):
        fill(f"{{% for x in {field} %}}{{{{ x }}}}{{% endfor %}}", {"contact": {}})
    assert fill(f"Hi {{{{ {field} | default: 'there' }}}}", FIELDS) == "Hi there"
    assert fill(f"Hi {{{{ {field} | capitalize | default: 'there' }}}}", FIELDS) == "Hi there"
    assert fill(f"{{% if {field} %}}a{{% else %}}b{{% endif %}}", FIELDS) == "b"
    assert fill(f"{{% if {field} == 'x' %}}a{{% else %}}b{{% endif %}}", FIELDS) == "b"


def test_a_whole_family_may_be_missing() -> None:
    with pytest.raises(MissingValue, match=r"lead\.name"):
        fill("{{ lead.name }}", {"contact": {}})
    assert fill("{{ lead.name | default: 'you' }}", {"contact": {}}) == "you"


def test_a_value_is_never_a_template() -> None:
    fields = {"contact": {"first_name": "{{ contact.email }}{% if %}", "email": "secret"}}
    assert fill("{{ contact.first_name }}", fields) == "{{ contact.email }}{% if %}"
    assert fill("{% capture x %}{{ contact.first_name }}{% endcapture %}{{ x }}", fields) == (
        "{{ contact.email }}{% if %}"
    )


@pytest.mark.parametrize(
    "source",
    [
        "{% include 'x' %}",
        "{% render 'x' %}",
        "{% tablerow x in y %}{% endtablerow %}",
        "{{ 'now' | date: '%Y' }}",
        "{{ '<b>' | safe }}",
        "{{ 'x' | nofilter }}",
        "{{ (1..10000000000) | join: ',' }}",
        "{% for i in (1..3) %}{% endfor %}",
        "{% if contact.title == blank %}{% endif %}",
        "{{ contact.title",
        "{% if contact.title %}",
        "{% if %}{% endif %}",
        "{{ 'a' | append }}",
        "{{ 'a' | truncate: 'b' }}",
        "{{ 'a' | compact: 3 }}",
        "{% if x %}" * 50 + "{% endif %}" * 50,
        "{{ " + "a[" * 3_000 + "b" + "]" * 3_000 + " }}",
        "{% if " + " and ".join(["contact.email"] * 3_000) + " %}{% endif %}",
    ],
)
def test_what_may_not_run_is_a_problem_before_and_an_error_after(source: str) -> None:
    assert messages(source)
    with pytest.raises(RenderProblem):
        fill(source, FIELDS)


@pytest.mark.parametrize("name", ["foo", "contact.frist_name", "now", "contact.attributes", "lead"])
def test_an_unknown_field_is_a_problem(name: str) -> None:
    assert any(name in message for message in messages(f"{{{{ {name} }}}}"))
    assert any(name in message for message in messages(f"{{% if {name} %}}x{{% endif %}}"))
    assert any(name in message for message in messages(f"{{{{ '' | append: {name} }}}}"))


@pytest.mark.parametrize("name", [*sorted(KNOWN_FIELDS), "contact.attributes.x"])
def test_a_known_field_is_none(name: str) -> None:
    assert messages(f"{{{{ {name} }}}}") == []


def test_a_default_stands_in_for_an_unknown_field_but_not_for_all_of_them() -> None:
    assert messages("{{ contact.nickname | default: 'you' }}") == []
    assert messages("{{ contact.nickname | default: 'you' }}{{ contact.nickname }}")
    assert messages("{{ contact | default: 'you' }}")


def test_a_template_has_no_clock() -> None:
    assert fill("{{ now | default: 'no' }}{{ today | default: 'no' }}", {}) == "nono"


@pytest.mark.parametrize(
    "source",
    [
        "{{ contact.attributes.long }}" * 150,
        "{% assign a = contact.attributes.long %}{{ a | replace: 'x', a }}",
        "{% assign a = contact.attributes.long %}{{ a | replace: '', a | size }}",
        "{% assign a = contact.attributes.long %}{{ a | split: '' | join: a }}",
        "{% assign a = 'xx' %}" + "{% assign a = a | append: a %}" * 40 + "{{ a }}",
        "{% assign a = 9 %}" + "{% assign a = a | times: a %}" * 40 + "{{ a }}",
        "{% assign l = contact.attributes.long | split: '' %}"
        "{% for x in l %}{% for y in l %}{% endfor %}{% endfor %}",
        "{% assign l = 'abcdefghij' | split: '' %}"
        + "{% for x in l %}" * 4
        + "{{ x }}"
        + "{% endfor %}" * 4,
    ],
)
def test_growth_has_bounds(source: str) -> None:
    started = time.process_time()
    with pytest.raises(RenderProblem):
        fill(source, FIELDS)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "source", ["{{" * 25_000, "{%" * 25_000, "{{" * 24_000 + "}}", "{% raw %}" * 2_000]
)
def test_hostile_braces_are_refused_in_time(source: str) -> None:
    started = time.process_time()
    assert messages(source)
    assert time.process_time() - started < 5


HOSTILE = st.text(alphabet="<>&\"'{}%| ax=/\n;", max_size=30)


@given(
    HOSTILE.filter(str.strip),
    st.lists(st.sampled_from(sorted(FILTERS - {"default"})), max_size=3),
    st.sampled_from(["", ": 'a'", ": 'a', 'b'", ": 3", ": contact.first_name"]),
)
def test_no_filter_lets_a_value_out_unescaped(value: str, names: list[str], given: str) -> None:
    source = "{{ contact.first_name" + "".join(f" | {name}{given}" for name in names) + " }}"
    try:
        html = fill(source, {"contact": {"first_name": value}}, escapes=True)
    except RenderProblem:
        return
    assert not set(html) & set("<>\"'")


@given(HOSTILE)
def test_any_text_is_filled_or_refused(source: str) -> None:
    with suppress(MissingValue, RenderProblem):
        assert isinstance(fill(source, FIELDS), str)
    assert all(message.endswith(".") for message in messages(source))
