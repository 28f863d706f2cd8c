"""Every way to stop sending, when it took effect, and what must not be armed after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from outreach.core.states import SuppressionReason
from outreach.db import Database
from outreach.services import campaign_control, control, enrollment_control, senders, suppress
from outreach.services.suppress import SuppressionEntry
from tests.support.factories import Campaign, run
from tests.support.people import ACTOR

REASON = "a test"
# An act and its record in the audit log commit together, and the record is never written again.
STOPPED_AT: LiteralString = """
select pg_xact_commit_timestamp(xmin) from audit_log where act = %(act)s and actor = %(actor)s
  and (tenant_id = %(t)s or act like 'installation%%')
  and created_at > (select created_at from campaigns where tenant_id = %(t)s and id = %(c)s)
"""
ARMED_AT: LiteralString = """
select pg_xact_commit_timestamp(a.xmin)
from send_attempts a
join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
where m.tenant_id = %(t)s and m.campaign_id = %(c)s and a.attempt = %(attempt)s
  and (%(contact)s::uuid is null or m.contact_id = %(contact)s::uuid)
"""


@dataclass(frozen=True, slots=True)
class Target:
    """What is stopped: a campaign that is due, or one of its contacts."""

    campaign: Campaign
    contact_id: UUID
    email: str
    slug: str
    attempt: int = 1  # the one that is due


Act = Callable[[Database, Target], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Stop:
    """One kind of stop."""

    act: Act
    recorded_as: str  # in the audit log, in the transaction that takes effect
    is_of_one: bool = False  # it concerns one contact
    locks: frozenset[str] = frozenset({"shares"})  # of the claim: without them the race is lost

    @property
    def name(self) -> str:
        return str(self.act.__name__)

    async def stopped_at(self, db: Database, target: Target) -> datetime | None:
        """When the stop committed; None before."""
        campaign = target.campaign
        about = {"t": campaign.tenant_id, "c": campaign.id}
        rows = await run(db, STOPPED_AT, act=self.recorded_as, actor=ACTOR, **about)
        return rows[0][0] if rows else None

    async def armed_at(self, db: Database, target: Target) -> list[datetime]:
        """When each attempt committed that the stop forbids."""
        campaign = target.campaign
        contact_id = target.contact_id if self.is_of_one else None
        about = {"t": campaign.tenant_id, "c": campaign.id, "attempt": target.attempt}
        return [at for (at,) in await run(db, ARMED_AT, contact=contact_id, **about)]


async def pause_campaign(db: Database, target: Target) -> None:
    campaign = target.campaign
    await campaign_control.pause(db, campaign.tenant_id, str(campaign.id), actor=ACTOR)


async def stop_campaign(db: Database, target: Target) -> None:
    campaign = target.campaign
    await campaign_control.stop(db, campaign.tenant_id, str(campaign.id), actor=ACTOR)


async def pause_enrollment(db: Database, target: Target) -> None:
    await enrollment_control.pause(
        db, target.campaign.tenant_id, target.email, reason=REASON, actor=ACTOR
    )


async def stop_enrollment(db: Database, target: Target) -> None:
    await enrollment_control.stop(
        db, target.campaign.tenant_id, target.email, reason=REASON, actor=ACTOR
    )


async def pause_sender(db: Database, target: Target) -> None:
    campaign = target.campaign
    ((email,),) = await run(
        db, "select from_email from sender_identities where id = %(s)s", s=campaign.sender_id
    )
    await senders.pause(db, campaign.tenant_id, email, reason=REASON, actor=ACTOR)


async def pause_tenant(db: Database, target: Target) -> None:
    await control.pause_tenant(db, target.slug, reason=REASON, actor=ACTOR)


async def pause_installation(db: Database, _target: Target) -> None:
    await control.pause_installation(db, reason=REASON, actor=ACTOR)


async def _suppress(db: Database, target: Target, value: str) -> None:
    entry = SuppressionEntry(value, SuppressionReason.MANUAL, source="test")
    await suppress.add(db, target.campaign.tenant_id, [entry], actor=ACTOR)


async def suppress_address(db: Database, target: Target) -> None:
    await _suppress(db, target, target.email)


async def suppress_domain(db: Database, target: Target) -> None:
    await _suppress(db, target, "@" + target.email.partition("@")[2])


STOPS = (
    Stop(pause_campaign, "campaign_paused"),
    Stop(stop_campaign, "campaign_stopped"),
    Stop(pause_enrollment, "enrollment_paused", is_of_one=True),
    Stop(
        stop_enrollment,
        "enrollment_stopped",
        is_of_one=True,
        locks=frozenset({"shares", "actions"}),
    ),
    Stop(pause_sender, "sender_paused", locks=frozenset({"shares", "tenant"})),
    Stop(pause_tenant, "tenant_paused", locks=frozenset({"budget", "tenant"})),
    Stop(pause_installation, "installation_paused", locks=frozenset({"budget"})),
    Stop(suppress_address, "suppressions_added", is_of_one=True),
    Stop(suppress_domain, "suppressions_added", locks=frozenset({"tenant"})),
)
