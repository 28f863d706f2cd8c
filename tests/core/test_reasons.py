"""Every code has a sentence, whole whatever is known."""

from __future__ import annotations

import re

import pytest

from outreach.core.reasons import REASONS, clause, sentence
from outreach.core.states import EventType, SuppressionReason

FIELD = re.compile(r"\{([a-z_]+)\}")
# Codes that the documents name, which must never fall back to their bare words.
NAMED = """\
installation_paused tenant_paused provider_paused campaign_paused enrollment_paused campaign_ended
enrollment_ended outside_hours holiday no_allowed_moment contact_erased address_invalid
address_risky suppressed_domain sender_unverified sender_paused draft_waiting draft_failed
draft_rejected value_missing limit_minute limit_hour limit_day limit_warmup limit_domain
limit_tenant limit_installation reputation_slowed reputation_stopped provider_later
provider_refused outcome_unknown unknown_settled already_intended timer_found_event
step_taken_back machine_event provider_says_so scanner_agent links_at_once with_delivery
beside_scanner step_of_a_machine out_of_office replied unsubscribe_request enrolled_elsewhere
ai_budget postal_address_missing dropped abandoned
"""


@pytest.mark.parametrize("code", NAMED.split())
def test_each_code_of_the_catalogue_is_there(code: str) -> None:
    assert code in REASONS


@pytest.mark.parametrize("word", list(EventType))
def test_each_event_has_a_sentence(word: EventType) -> None:
    assert word in REASONS


@pytest.mark.parametrize("word", list(SuppressionReason))
def test_each_suppression_has_a_sentence(word: SuppressionReason) -> None:
    assert f"suppressed_{word}" in REASONS


@pytest.mark.parametrize("code", sorted(REASONS))
def test_a_sentence_is_whole_with_everything_known_and_with_little(code: str) -> None:
    full = dict.fromkeys(FIELD.findall(REASONS[code].text), "Something")
    needed = {"node", "attempt", "trigger", "from", "to", "address"} & full.keys()
    for detail in (full, dict.fromkeys(needed, "Something")):
        text = sentence(code, detail)
        assert re.fullmatch(r"[A-Z“].*[.]", text), text
        assert not re.search(r"[\[\]{}|…]|  | [.,;:]", text), text
        assert not re.search(r"please|oops|successfully|!", text, re.IGNORECASE), text


def test_what_is_known_is_said() -> None:
    known = {"campaign": "Spring", "who": "Ana", "reason": "a typo"}
    assert sentence("campaign_paused", known) == 'Spring is paused by Ana: "a typo".'
    assert sentence("campaign_paused") == "The campaign is paused."


def test_data_cannot_pose_as_a_field_or_break_the_line() -> None:
    text = sentence("provider_refused", {"answer": "{who} [x]\nnext", "who": "Ana"})
    assert text == "The provider refused it for good: {who} [x] next."


def test_an_unknown_code_is_shown_in_words() -> None:
    assert sentence("something_new") == "Something new."


def test_an_address_stays_as_it_is_written() -> None:
    assert sentence("imported", {"address": "ann@example.com"}) == "ann@example.com came in."
    assert sentence("imported") == "The contact came in."


def test_a_clause_fits_into_another_sentence() -> None:
    assert clause("no_allowed_moment").startswith("no moment within 14 days")
    assert clause("replied", {"name": "Ann"}) == "Ann replied"
