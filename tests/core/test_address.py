"""Addresses: one normal form for every spelling, and nothing that is no address."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from outreach.core.address import (
    address_key,
    domain_of,
    normalize_address,
    normalize_domain,
    normalize_suppression,
)
from outreach.core.errors import Invalid


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("sam@cust.example", "sam@cust.example"),
        ("  Sam@Cust.EXAMPLE \n", "Sam@cust.example"),
        ("sam@cust.example.", "sam@cust.example"),
        ("sam+tag@cust.example", "sam+tag@cust.example"),
        ("o'hara!#$%&*/=?^_`{|}~-@cust.example", "o'hara!#$%&*/=?^_`{|}~-@cust.example"),
        ("sam@bücher.example", "sam@xn--bcher-kva.example"),
        ("sam@BÜCHER.example", "sam@xn--bcher-kva.example"),
        ("sam@例え.テスト", "sam@xn--r8jz45g.xn--zckzah"),
        ("a" * 64 + "@b.example", "a" * 64 + "@b.example"),
        ("zoe\u0301@cust.example", "zo\u00e9@cust.example"),
    ],
)
def test_spellings_of_an_address_have_one_form(text: str, normal: str) -> None:
    assert normalize_address(text) == normal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "sam",
        "sam@",
        "@cust.example",
        "sam@cust",
        "sam@@cust.example",
        "sam@cust@cust.example",
        ".sam@cust.example",
        "sam.@cust.example",
        "sa..m@cust.example",
        "sa m@cust.example",
        "sam@cust .example",
        "sam@-cust.example",
        "sam@cust-.example",
        "sam@cust..example",
        "sam@cust_.example",
        "sam@127.0.0.1",
        "sam@[127.0.0.1]",
        "Sam <sam@cust.example>",
        "sam@cust.example,ann@cust.example",
        "sam@cust.example;ann@cust.example",
        "sam\r\nBcc: ann@cust.example",
        "sam\x00@cust.example",
        "sa\u200bm@cust.example",
        "\ufeffsam@cust.example",
        '"sam"@cust.example',
        "sam\\@cust.example",
        "a" * 65 + "@cust.example",
        "a@" + "b" * 64 + ".example",
        "a@" + ".".join(["b" * 60] * 5),
        "sam@xn--\u00fc.example",
    ],
)
def test_what_is_no_address_has_no_form(text: str) -> None:
    assert normalize_address(text) is None


def test_the_longest_address_is_254_characters() -> None:
    local = "a" * 64
    host = ".".join(["b" * 60] * 3)
    longest = f"{local}@{host}.{'c' * (254 - 64 - 1 - len(host) - 1)}"
    assert len(longest) == 254
    assert normalize_address(longest) == longest
    assert normalize_address(longest + "c") is None


@given(st.text(max_size=60) | st.emails())
def test_the_normal_form_is_its_own_normal_form(text: str) -> None:
    normal = normalize_address(text)
    assume(normal is not None)
    assert normal is not None
    assert normalize_address(normal) == normal
    assert not any(character.isspace() for character in normal)
    assert normal.count("@") == 1
    assert domain_of(normal).isascii()
    assert domain_of(normal) == domain_of(normal).lower()


@given(st.text(max_size=80))
def test_no_text_is_a_fault(text: str) -> None:
    domain = normalize_domain(text)
    assert domain is None or normalize_domain(domain) == domain


def test_two_spellings_of_one_mailbox_have_one_key() -> None:
    assert address_key("Ann@cust.example") == address_key("ann@cust.example")
    assert address_key("ann@cust.example") != address_key("anna@cust.example")


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        (" @Cust.Example ", "@cust.example"),
        ("@bücher.example", "@xn--bcher-kva.example"),
        (" Sam@Cust.example", "Sam@cust.example"),
    ],
)
def test_a_suppression_is_an_address_or_a_domain(text: str, normal: str) -> None:
    assert normalize_suppression(text) == normal


@pytest.mark.parametrize("text", ["", "@", "@cust", "cust.example", "@a@b.example", "sam@cust"])
def test_another_suppression_is_refused_with_its_value(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        normalize_suppression(text)
    (problem,) = refused.value.problems
    assert problem.path == "$.value"
