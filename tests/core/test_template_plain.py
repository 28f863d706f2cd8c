"""The short way through a plain template gives what Liquid gives, or leaves it to Liquid."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from liquid.output import LimitedStringIO

from outreach.core import template as liquid
from outreach.core.template import MissingValue, RenderProblem, fill
from outreach.core.template_plain import plain

NAMES = ["contact.first_name", "contact.attributes.city", "lead.name", "unsubscribe_url", "nobody"]
TEXTS = st.text(st.sampled_from("aé %{}<&\"'\n\t\\s🙂"), max_size=12)
VALUES = st.one_of(st.none(), TEXTS, st.just("   "), st.integers(), st.booleans(), st.lists(TEXTS))


@st.composite
def sources(draw: st.DrawFn) -> str:
    """Words with gaps, and now and then something more."""
    parts: list[str] = []
    for _ in range(draw(st.integers(0, 6))):
        name = draw(st.sampled_from([*NAMES, "contact.first_name.size"]))
        more = draw(
            st.sampled_from(["", " | default: 'x & <y>'", ' | default: "%s"', " | upcase", "  "])
        )
        dash = draw(st.sampled_from(["", "-"]))
        parts.append(draw(TEXTS).replace("{", "(").replace("}", ")"))
        parts.append(f"{{{{{dash} {name}{more} {dash}}}}}")
    if draw(st.booleans()):
        parts.append("{% if lead.name %}a{% endif %}")
    return "".join(parts)


def by_liquid(source: str, fields: dict[str, Any], *, escapes: bool) -> str:
    buffer = LimitedStringIO(liquid.OUTPUT_BYTES_MAX)
    template = liquid.parsed(source, escapes)
    template.render_with_context(liquid._Context(template, globals=fields), buffer)
    return buffer.getvalue()


@given(sources(), VALUES, VALUES, VALUES, st.booleans())
def test_it_says_what_liquid_says(
    source: str, first: Any, city: Any, lead: Any, escapes: bool
) -> None:
    fields = {
        "contact": {"first_name": first, "attributes": {"city": city}},
        "lead": {"name": lead},
        "unsubscribe_url": "https://x.example/u?a=1&b=2",
    }
    try:
        expected = by_liquid(source, fields, escapes=escapes)
    except MissingValue as missing:
        with pytest.raises(MissingValue) as refused:
            fill(source, fields, escapes=escapes)
        assert refused.value.field == missing.field
        return
    assert fill(source, fields, escapes=escapes) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{{ contact.first_name | upcase }}",
        "{{ contact.first_name.size }}",
        "{{ contact['first_name'].first }}",
        "{{ 'words' }}",
        "{{ contact.first_name | default: lead.name }}",
        "{{ contact.first_name | default: 'a' | upcase }}",
        "{{ contact.first_name | default: 'a', allow_false: true }}",
        "{% if lead.name %}a{% endif %}",
        "{{ contact[lead.name] }}",
    ],
)
def test_more_than_fields_between_words_is_not_plain(source: str) -> None:
    assert plain(liquid.parsed(source, False)) is None


def test_one_slot_for_each_field_however_often() -> None:
    source = "100 % {{ lead.name }} and {{ lead.name }}, {{ contact.email | default: 'you' }}"
    program = plain(liquid.parsed(source, False))
    assert program is not None
    assert len(program.slots) == 2
    fields = {"lead": {"name": "%s"}, "contact": {}}
    assert program.fill(fields, escapes=False) == "100 % %s and %s, you"


def test_a_text_that_may_be_too_long_is_left_to_liquid() -> None:
    source = "{{ lead.name }}" * 30
    fields = {"lead": {"name": "x" * 9_000}}
    with pytest.raises(RenderProblem, match="output stream limit"):
        fill(source, fields)
