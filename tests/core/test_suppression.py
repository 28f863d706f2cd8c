"""Suppression: what records a reason, what does not, and how the no is called."""

from __future__ import annotations

import pytest

from outreach.core.delivery import DropReason
from outreach.core.plan import Trigger
from outreach.core.states import EventType, SuppressionReason
from outreach.core.suppression import decision_code, end_code, reason_to_record, refusal

RECORDED = {
    EventType.BOUNCED: SuppressionReason.BOUNCE,
    EventType.SPAM_REPORT: SuppressionReason.COMPLAINT,
    EventType.UNSUBSCRIBED: SuppressionReason.UNSUBSCRIBE,
    EventType.GROUP_UNSUBSCRIBED: SuppressionReason.UNSUBSCRIBE,
}


@pytest.mark.parametrize("event", list(EventType))
def test_which_events_suppress(event: EventType) -> None:
    assert reason_to_record(event) is RECORDED.get(event)


@pytest.mark.parametrize("reason", list(DropReason))
def test_a_drop_suppresses_only_an_invalid_address(reason: DropReason) -> None:
    expected = SuppressionReason.INVALID if reason is DropReason.INVALID else None
    assert reason_to_record(EventType.DROPPED, reason) is expected


def test_codes_of_the_catalogue() -> None:
    assert {decision_code(reason) for reason in SuppressionReason} == {
        "suppressed_unsubscribe",
        "suppressed_bounce",
        "suppressed_complaint",
        "suppressed_blocked",
        "suppressed_invalid",
        "suppressed_manual",
        "suppressed_legal",
    }


def test_the_address_is_named_before_its_domain() -> None:
    assert refusal(None, None) is None
    assert refusal(SuppressionReason.MANUAL, None) == "suppressed_manual"
    assert refusal(None, SuppressionReason.MANUAL) == "suppressed_domain"
    assert refusal(SuppressionReason.BOUNCE, SuppressionReason.LEGAL) == "suppressed_bounce"


def test_how_an_end_is_called() -> None:
    assert end_code(Trigger.BOUNCED) == "suppressed_bounce"
    assert end_code(Trigger.SPAM_REPORT) == "suppressed_complaint"
    assert end_code(Trigger.UNSUBSCRIBED) == "suppressed_unsubscribe"
    assert end_code(Trigger.REPLIED) == "replied"
    assert end_code(Trigger.CLICKED) == "clicked"
