from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.links import TOKEN_LENGTH, read_unsubscribe_token, unsubscribe_url

OLD, NEW = "an old key of sixteen", "a new key of sixteen"
TENANT = UUID("0192f0c4-7b1e-7c7d-9d0e-2f5f0b0f9a10")
MESSAGE = UUID("5b1c3c3a-2f55-5c0e-8a7e-3d5b1f8e6a42")


def token_of(url: str) -> str:
    return url.rpartition("/u/")[2]


TOKEN = token_of(unsubscribe_url("https://go.example", (NEW,), TENANT, MESSAGE))


def test_a_link_leads_back_to_its_message() -> None:
    url = unsubscribe_url("https://go.example", (NEW, OLD), TENANT, MESSAGE)
    assert url.startswith("https://go.example/u/")
    assert len(token_of(url)) == TOKEN_LENGTH
    assert read_unsubscribe_token(token_of(url), (NEW, OLD)) == (TENANT, MESSAGE)


def test_the_newest_key_signs_and_older_ones_still_verify() -> None:
    assert read_unsubscribe_token(TOKEN, ("a third key of sixteen", NEW)) == (TENANT, MESSAGE)
    assert read_unsubscribe_token(TOKEN, (OLD,)) is None
    assert read_unsubscribe_token(TOKEN, ()) is None


def test_a_link_has_nothing_of_the_person_and_is_the_same_every_time() -> None:
    assert token_of(unsubscribe_url("https://go.example", (NEW,), TENANT, MESSAGE)) == TOKEN
    assert token_of(unsubscribe_url("https://go.example", (NEW,), TENANT, uuid4())) != TOKEN


@pytest.mark.parametrize("place", range(TOKEN_LENGTH))
def test_a_change_of_any_one_bit_is_refused(place: int) -> None:
    for bit in range(7):
        changed = TOKEN[:place] + chr(ord(TOKEN[place]) ^ 1 << bit) + TOKEN[place + 1 :]
        assert read_unsubscribe_token(changed, (NEW,)) is None


@given(st.text(max_size=120) | st.text("abcABC019-_.=", min_size=TOKEN_LENGTH, max_size=120))
def test_anything_else_is_refused_without_an_error(token: str) -> None:
    assert read_unsubscribe_token(token, (NEW, OLD)) is None


@pytest.mark.parametrize("extra", ["", " ", "=", "\n", "."])
def test_nothing_may_be_added(extra: str) -> None:
    expected = (TENANT, MESSAGE) if not extra else None
    assert read_unsubscribe_token(TOKEN + extra, (NEW,)) == expected
