"""What one due send may do, asked in the order of the rules."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from outreach.core.gates import (
    Allow,
    Busy,
    DueSend,
    Hold,
    Judgement,
    Refuse,
    Stale,
    judge,
)
from outreach.core.plan import Plan, parse_plan
from outreach.core.states import (
    CampaignState,
    EnrollmentState,
    MessageState,
    SuppressionReason,
)

MONDAY = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)
SATURDAY = datetime(2026, 5, 9, 10, 0, tzinfo=UTC)
UTC_ZONE = ZoneInfo("UTC")

DUE = DueSend(
    action_id=UUID(int=1),
    enrollment_id=UUID(int=2),
    sender_id=UUID(int=3),
    node_id="intro",
    visit=1,
    message_id=None,
    due_at=MONDAY,
    enrollment_state=EnrollmentState.ACTIVE,
    current_node_id="intro",
    current_visit=1,
    campaign_id=UUID(int=4),
    plan_version=1,
    campaign_state=CampaignState.ACTIVE,
    campaign_name="Spring",
    from_email="ana@acme.example",
    from_name="Ana",
    reply_to=None,
    is_sender_ready=True,
    contact_id=UUID(int=5),
    email="sam@cust.example",
    email_domain="cust.example",
    first_name="Sam",
    last_name=None,
    title=None,
    company=None,
    phone=None,
    timezone=None,
    locale=None,
    country=None,
    attributes={},
    address_verdict="unchecked",
    erased_at=None,
    suppressed_reason=None,
    is_domain_suppressed=False,
    lead_name=None,
    lead_url=None,
    lead_attributes=None,
    message_state=None,
    attempts=None,
    subject=None,
    body_text=None,
    body_html=None,
    to_address=None,
    from_address=None,
    message_from_name=None,
    message_reply_to=None,
)


def plan(**changes: Any) -> Plan:
    node = {"id": "intro", "action": "send", "subject": "Hi", "body": "Hello."}
    data = {"version": "1.0", "timezone": "UTC", "start_node_id": "intro", "nodes": [node]}
    return parse_plan(data | changes)


WEEKDAYS = {"days": ["mon", "tue", "wed", "thu", "fri"], "start": "08:00", "end": "18:00"}
OFFICE = plan(send_window=WEEKDAYS | {"zone": "plan"})
FRIDAYS = plan(
    send_window=WEEKDAYS | {"days": ["fri"], "zone": "plan", "skip_holidays": "US"},
)
# The next two Fridays are Christmas Day and New Year's Day.
BEFORE_CHRISTMAS = datetime(2026, 12, 19, 10, 0, tzinfo=UTC)

# Each fault with what it leads to, in the order in which the rules ask for them.
FAULTS: list[tuple[dict[str, Any], Judgement]] = [
    (
        {"campaign_state": CampaignState.PAUSED},
        Hold("campaign_paused", held_by="campaign"),
    ),
    (
        {"enrollment_state": EnrollmentState.PAUSED},
        Hold("enrollment_paused", held_by="enrollment"),
    ),
    ({"current_node_id": "elsewhere"}, Stale()),
    ({"current_visit": 2}, Stale()),
    ({"current_node_id": None, "current_visit": None}, Stale()),
    ({"erased_at": MONDAY}, Refuse("contact_erased", EnrollmentState.STOPPED)),
    ({"address_verdict": "invalid"}, Refuse("address_invalid", EnrollmentState.FAILED)),
    (
        {"suppressed_reason": SuppressionReason.UNSUBSCRIBE},
        Refuse("suppressed_unsubscribe", EnrollmentState.STOPPED),
    ),
    ({"is_domain_suppressed": True}, Refuse("suppressed_domain", EnrollmentState.STOPPED)),
    ({"is_sender_ready": False}, Busy()),
]


def verdict(
    due: DueSend = DUE,
    of: Plan = OFFICE,
    now: datetime = MONDAY,
    *,
    allows_risky: bool = True,
) -> Judgement:
    return judge(due, of, UTC_ZONE, now, allows_risky=allows_risky)


def test_with_nothing_against_it_a_send_goes() -> None:
    assert verdict() == Allow()


@pytest.mark.parametrize(("fault", "expected"), FAULTS, ids=lambda x: str(x)[:40])
def test_each_fault_alone_has_its_judgement(fault: dict[str, Any], expected: Judgement) -> None:
    assert verdict(replace(DUE, **fault)) == expected


@pytest.mark.parametrize("first", range(len(FAULTS)))
def test_of_several_faults_the_earliest_rule_speaks(first: int) -> None:
    faults: dict[str, Any] = {}
    for fault, _ in FAULTS[first:]:
        faults |= fault
    assert verdict(replace(DUE, **faults)) == FAULTS[first][1]


@pytest.mark.parametrize("state", sorted(set(CampaignState) - {"active", "paused"}))
def test_a_campaign_that_is_over_leaves_nothing_to_do(state: CampaignState) -> None:
    assert verdict(replace(DUE, campaign_state=state)) == Stale()


@pytest.mark.parametrize("state", sorted(set(EnrollmentState) - {"active", "paused"}))
def test_an_enrollment_that_ended_leaves_nothing_to_do(state: EnrollmentState) -> None:
    assert verdict(replace(DUE, enrollment_state=state)) == Stale()


@pytest.mark.parametrize("state", MessageState)
def test_a_step_is_sent_again_only_while_it_waits_for_another_try(state: MessageState) -> None:
    expected = Allow() if state is MessageState.WAITING_RETRY else Stale()
    assert verdict(replace(DUE, message_state=state)) == expected


def test_outside_its_hours_it_waits_for_the_next_moment_inside() -> None:
    monday = datetime(2026, 5, 11, 8, 0, tzinfo=UTC)
    assert verdict(now=SATURDAY) == Hold("outside_hours", monday)


def test_the_hours_are_asked_before_the_person() -> None:
    suppressed = replace(DUE, suppressed_reason=SuppressionReason.BOUNCE)
    assert isinstance(verdict(suppressed, now=SATURDAY), Hold)
    assert isinstance(verdict(suppressed), Refuse)


def test_where_no_moment_is_allowed_it_fails() -> None:
    found = verdict(of=FRIDAYS, now=BEFORE_CHRISTMAS)
    assert found == Refuse("no_allowed_moment", EnrollmentState.FAILED)


def test_a_risky_address_is_the_tenants_choice() -> None:
    risky = replace(DUE, address_verdict="risky")
    assert verdict(risky) == Allow()
    refused = Refuse("address_risky", EnrollmentState.FAILED)
    assert verdict(risky, allows_risky=False) == refused
    assert verdict(allows_risky=False) == Allow()


@pytest.mark.parametrize("reason", SuppressionReason)
def test_every_reason_of_a_suppression_has_its_code(reason: SuppressionReason) -> None:
    expected = Refuse(f"suppressed_{reason.value}", EnrollmentState.STOPPED)
    assert verdict(replace(DUE, suppressed_reason=reason)) == expected
