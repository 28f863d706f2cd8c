from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outreach.core.plan_model import Node
from outreach.core.render import Footer, MissingValue, RenderProblem, choose_variant, render

FOOTER = Footer(
    postal_address="Acme GmbH\nHauptstr. 1 <Berlin>",
    unsubscribe_url="https://go.example.com/u/abc?x=1&y=2",
    consent="You asked for this at our stand.",
)
FIELDS: dict[str, Any] = {
    "contact": {"first_name": "Ann", "attributes": {}},
    "lead": {"name": "Cats & Dogs <Ltd>"},
}


def test_a_mail_in_two_parts_with_its_footer() -> None:
    mail = render(
        "About {{ lead.name }}",
        "Hi {{ contact.first_name }},\r\n\r\n{{ lead.name }}: https://a.b/?c=1&d=2",
        None,
        FIELDS,
        FOOTER,
    )
    assert mail.subject == "About Cats & Dogs <Ltd>"
    assert mail.text == (
        "Hi Ann,\n\nCats & Dogs <Ltd>: https://a.b/?c=1&d=2\n\n"
        "-- \nYou asked for this at our stand.\nAcme GmbH\nHauptstr. 1 <Berlin>\n"
        "Unsubscribe: https://go.example.com/u/abc?x=1&y=2\n"
    )
    assert "<p>Hi Ann,</p>" in mail.html
    assert "Cats &amp; Dogs &lt;Ltd&gt;" in mail.html
    assert '<a href="https://a.b/?c=1&amp;d=2">https://a.b/?c=1&amp;d=2</a>' in mail.html
    assert "Hauptstr. 1 &lt;Berlin&gt;" in mail.html
    assert '<a href="https://go.example.com/u/abc?x=1&amp;y=2">Unsubscribe</a>' in mail.html


def test_html_of_its_own_has_escaped_values_and_the_footer() -> None:
    mail = render("s", "b", "<p title='{{ lead.name }}'>{{ lead.name }}</p>", FIELDS, FOOTER)
    assert "<p title='Cats &amp; Dogs &lt;Ltd&gt;'>Cats &amp; Dogs &lt;Ltd&gt;</p>" in mail.html
    assert "Unsubscribe" in mail.html
    assert mail.text.startswith("b\n\n-- \n")


def test_a_footer_without_consent_is_the_address_and_the_link() -> None:
    mail = render("s", "b", None, FIELDS, Footer("Main St 1", "https://a.b/u/x"))
    assert mail.text == "b\n\n-- \nMain St 1\nUnsubscribe: https://a.b/u/x\n"


def test_the_unsubscribe_link_is_the_footers() -> None:
    fields = FIELDS | {"unsubscribe_url": "https://evil.example/"}
    mail = render("s", "{{ unsubscribe_url }}", None, fields, FOOTER)
    assert mail.text.startswith(FOOTER.unsubscribe_url)


@pytest.mark.parametrize("name", ["Ann\r\nBcc: x@y.z", "Ann\nBcc: x@y.z", "Ann\u2028Bcc: x@y.z"])
def test_a_value_cannot_add_a_header(name: str) -> None:
    mail = render(
        "Hi {{ contact.first_name }}", "b", None, {"contact": {"first_name": name}}, FOOTER
    )
    assert mail.subject == "Hi Ann Bcc: x@y.z"


@given(st.text(max_size=40).filter(lambda text: text.strip("\x00 \t\r\n") != ""))
def test_any_name_makes_a_mail_or_a_reason(name: str) -> None:
    fields = {"contact": {"first_name": name}}
    try:
        mail = render("{{ contact.first_name }}", "{{ contact.first_name }}", None, fields, FOOTER)
    except (MissingValue, RenderProblem):
        return
    assert not set(mail.subject) & {chr(code) for code in (*range(32), *range(127, 160))}
    assert "\r" not in mail.text
    assert "\x00" not in mail.text + mail.html


@pytest.mark.parametrize("part", ["subject", "body", "body_html"])
def test_a_missing_value_stops_the_mail_wherever_it_stands(part: str) -> None:
    parts = {"subject": "s", "body": "b", "body_html": "<p>h</p>"}
    assert render(fields=FIELDS, footer=FOOTER, **parts)
    parts[part] = "{{ contact.title }}"
    with pytest.raises(MissingValue) as missing:
        render(fields=FIELDS, footer=FOOTER, **parts)
    assert missing.value.field == "contact.title"


@pytest.mark.parametrize(
    ("subject", "body", "body_html"),
    [
        ("{% if contact.title %}x{% endif %}", "b", None),
        ("s", "{% if contact.title %}x{% endif %}", None),
        ("{{ contact.attributes.long }}", "b", None),
        ("s", "b", '<a href="{{ contact.attributes.link }}">x</a>'),
        ("s", "{% if %}", None),
    ],
    ids=["empty subject", "empty body", "long subject", "script link", "syntax"],
)
def test_what_should_not_go_out_does_not(subject: str, body: str, body_html: str | None) -> None:
    attributes = {"long": "x" * 1_000, "link": "javascript:alert(1)"}
    with pytest.raises(RenderProblem):
        render(subject, body, body_html, {"contact": {"attributes": attributes}}, FOOTER)


TENANT = UUID("0198a1b2-0000-7000-8000-000000000001")
NODE = Node.model_validate(
    {
        "id": "a",
        "action": "send",
        "variants": [
            {"id": "x", "weight": 3, "subject": "s", "body": "b"},
            {"id": "y", "weight": 1, "subject": "s", "body": "b"},
        ],
    }
)


def test_variants_share_enrollments_by_weight_and_never_change() -> None:
    enrollments = [UUID(int=number) for number in range(4_000)]
    chosen = [choose_variant(NODE, TENANT, enrollment) for enrollment in enrollments]
    assert chosen == [choose_variant(NODE, TENANT, enrollment) for enrollment in enrollments]
    counts = Counter(variant.id for variant in chosen if variant)
    assert abs(counts["x"] - 3_000) < 150
    assert counts["x"] + counts["y"] == 4_000


@settings(max_examples=40, deadline=None)
@given(
    weights=st.lists(st.integers(1, 100), min_size=2, max_size=6),
    tenant=st.uuids(),
    node_id=st.from_regex(r"[a-z]{1,8}", fullmatch=True),
    salt=st.integers(0, 2**64),
)
def test_any_weights_are_kept_by_any_tenant_and_node(
    weights: list[int], tenant: UUID, node_id: str, salt: int
) -> None:
    variants = [
        {"id": f"v{n}", "weight": weight, "subject": "s", "body": "b"}
        for n, weight in enumerate(weights)
    ]
    node = Node.model_validate({"id": node_id, "action": "send", "variants": variants})
    people = [uuid5(UUID(int=salt), str(n)) for n in range(2_000)]
    chosen = [choose_variant(node, tenant, person) for person in people]
    assert chosen == [choose_variant(node, tenant, person) for person in people], "never changes"
    counts = Counter(variant.id for variant in chosen if variant)
    assert counts.total() == len(people)
    for n, weight in enumerate(weights):
        share = weight / sum(weights)
        deviation = (len(people) * share * (1 - share)) ** 0.5
        assert abs(counts[f"v{n}"] - len(people) * share) <= 5 * deviation + 1


def test_another_node_draws_again() -> None:
    other = NODE.model_copy(update={"id": "b"})
    pairs = Counter(
        (a.id, b.id)
        for number in range(4_000)
        if (a := choose_variant(NODE, TENANT, UUID(int=number)))
        and (b := choose_variant(other, TENANT, UUID(int=number)))
    )
    assert abs(pairs["y", "y"] - 250) < 80


def test_one_wording_needs_no_choice() -> None:
    plain = Node.model_validate({"id": "a", "action": "send", "subject": "s", "body": "b"})
    assert choose_variant(plain, TENANT, UUID(int=1)) is None
