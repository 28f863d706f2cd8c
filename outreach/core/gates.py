"""What one due send may do: go, wait, never go, or be forgotten.

The order of the questions is the order of `spec`: whoever is paused or ended first, then the clock,
then the person, then the sender. Tokens come last and elsewhere (`services/claim`), because they
are of a whole batch. Each no carries the code under which people read it (`core/reasons`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from outreach.core import schedule, suppression
from outreach.core.plan import Plan
from outreach.core.states import (
    CampaignState,
    EnrollmentState,
    MessageState,
    SuppressionReason,
)


@dataclass(slots=True)  # frozen takes ten times as long to make
class DueSend:
    """One due action with everything that decides about it, out of locked rows."""

    action_id: UUID
    enrollment_id: UUID
    sender_id: UUID
    node_id: str
    visit: int
    message_id: UUID | None
    due_at: datetime
    enrollment_state: EnrollmentState
    current_node_id: str | None
    current_visit: int | None
    campaign_id: UUID
    plan_version: int
    campaign_state: CampaignState
    campaign_name: str
    from_email: str
    from_name: str
    reply_to: str | None
    is_sender_ready: bool
    contact_id: UUID
    email: str
    email_domain: str
    first_name: str | None
    last_name: str | None
    title: str | None
    company: str | None
    phone: str | None
    timezone: str | None
    locale: str | None
    country: str | None
    attributes: Mapping[str, Any]
    address_verdict: str
    erased_at: datetime | None
    suppressed_reason: SuppressionReason | None
    is_domain_suppressed: bool
    lead_name: str | None
    lead_url: str | None
    lead_attributes: Mapping[str, Any] | None
    message_state: MessageState | None
    attempts: int | None
    subject: str | None
    body_text: str | None
    body_html: str | None
    to_address: str | None
    from_address: str | None
    message_from_name: str | None
    message_reply_to: str | None
    ip_pool: str | None = None


@dataclass(frozen=True, slots=True)
class Allow:
    """Nothing stands against it but tokens and missing values."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Not now: due again at `until`, or when a person's act ends what `held_by` names."""

    reason: str
    until: datetime | None = None
    held_by: Literal["campaign", "enrollment"] | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """Never: the enrollment ends as `state`, or goes where the plan sends failures."""

    reason: str
    state: Literal[EnrollmentState.STOPPED, EnrollmentState.FAILED]


@dataclass(frozen=True, slots=True)
class Stale:
    """The enrollment has moved on or ended: the action is canceled and nothing else happens."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Its sender was stopped this moment: left as it is."""


Judgement = Allow | Hold | Refuse | Stale | Busy


def judge(
    due: DueSend, plan: Plan, zone: ZoneInfo, now: datetime, *, allows_risky: bool
) -> Judgement:
    """The first thing that stands against a due send, in the order of the rules."""
    if due.campaign_state == CampaignState.PAUSED:
        return Hold("campaign_paused", held_by="campaign")
    if due.enrollment_state == EnrollmentState.PAUSED:
        return Hold("enrollment_paused", held_by="enrollment")
    if due.campaign_state != CampaignState.ACTIVE or due.enrollment_state != EnrollmentState.ACTIVE:
        return Stale()
    if (due.current_node_id, due.current_visit) != (due.node_id, due.visit):
        return Stale()
    if due.message_state is not None and due.message_state != MessageState.WAITING_RETRY:
        return Stale()
    return _outside(plan, zone, now) or _person(due, allows_risky) or _sender(due)


def _outside(plan: Plan, zone: ZoneInfo, now: datetime) -> Hold | Refuse | None:
    if schedule.is_allowed(plan, zone, now):
        return None
    try:
        until = schedule.next_allowed(plan, zone, now)
    except schedule.NoAllowedMoment:
        return Refuse("no_allowed_moment", EnrollmentState.FAILED)
    return Hold(schedule.why_not(plan, zone, now), until)


def _person(due: DueSend, allows_risky: bool) -> Refuse | None:
    if due.erased_at is not None:
        return Refuse("contact_erased", EnrollmentState.STOPPED)
    if due.address_verdict == "invalid":
        return Refuse("address_invalid", EnrollmentState.FAILED)
    if due.address_verdict == "risky" and not allows_risky:
        return Refuse("address_risky", EnrollmentState.FAILED)
    if due.suppressed_reason is not None:
        reason = SuppressionReason(due.suppressed_reason)
        return Refuse(suppression.decision_code(reason), EnrollmentState.STOPPED)
    if due.is_domain_suppressed:
        return Refuse("suppressed_domain", EnrollmentState.STOPPED)
    return None


def _sender(due: DueSend) -> Allow | Busy:
    return Allow() if due.is_sender_ready else Busy()
