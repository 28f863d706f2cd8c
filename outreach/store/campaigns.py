"""Rows of `campaigns`: their making, their state, and how far they are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outreach import sql
from outreach.core.states import UnknownPolicy
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class Sender:
    """Who a campaign writes as."""

    id: UUID
    email: str
    state: str  # SenderState


@dataclass(frozen=True, slots=True)
class LockedCampaign:
    """A campaign whose row this transaction has locked, with what a launch asks for."""

    id: UUID
    name: str
    state: str  # CampaignState
    paused_at: datetime | None
    plan_version: int
    sender_id: UUID
    postal_address: str | None


@dataclass(frozen=True, slots=True)
class CampaignHead:
    """What a campaign says of itself."""

    id: UUID
    name: str
    state: str  # CampaignState
    plan_version: int


@dataclass(frozen=True, slots=True)
class StateCount:
    """How many enrollments are in one state."""

    state: str
    count: int


@dataclass(frozen=True, slots=True)
class MessageCount:
    """How many messages are in one state with one delivery."""

    state: str
    delivery: str
    count: int


@dataclass(frozen=True, slots=True)
class ActionCounts:
    """The timetable of one campaign in three figures."""

    due: int
    pending: int
    next_due_at: datetime | None


async def find_sender_by_email(tx: Tx, tenant_id: UUID, email: str) -> Sender | None:
    """The sender of an address in normal form."""
    return await sql.find(tx, SQL["find_sender_by_email"], Sender, tenant_id=tenant_id, email=email)


async def list_senders(tx: Tx, tenant_id: UUID, ids: Collection[UUID]) -> list[Sender]:
    """The tenant's senders among `ids`."""
    return await sql.fetch_all(tx, SQL["list_senders"], Sender, tenant_id=tenant_id, ids=list(ids))


async def insert_campaign(
    tx: Tx,
    tenant_id: UUID,
    campaign_id: UUID,
    *,
    name: str,
    sender_id: UUID,
    plan: str,
    plan_hash: str,
    unknown_policy: UnknownPolicy,
) -> bool:
    """A draft with version 1 of its plan; False when the name is taken."""
    inserted = await sql.value(
        tx,
        SQL["insert_campaign"],
        tenant_id=tenant_id,
        id=campaign_id,
        name=name,
        sender_id=sender_id,
        plan=plan,
        hash=plan_hash,
        unknown_policy=unknown_policy.value,
    )
    return inserted is not None


async def find_campaign_id(
    tx: Tx, tenant_id: UUID, *, name: str, campaign_id: UUID | None
) -> UUID | None:
    """The campaign of that name, else of that id."""
    found: UUID | None = await sql.value(
        tx, SQL["find_campaign_id"], tenant_id=tenant_id, name=name, id=campaign_id
    )
    return found


async def lock_campaign(tx: Tx, tenant_id: UUID, campaign_id: UUID) -> LockedCampaign | None:
    """The campaign, locked until this transaction ends; claims pass it over meanwhile."""
    return await sql.find(
        tx, SQL["lock_campaign"], LockedCampaign, tenant_id=tenant_id, id=campaign_id
    )


async def set_campaign_launched(tx: Tx, tenant_id: UUID, campaign_id: UUID) -> None:
    """A draft or completed campaign becomes active."""
    await sql.execute(tx, SQL["set_campaign_launched"], tenant_id=tenant_id, id=campaign_id)


async def set_campaign_completed_if_ended(tx: Tx, tenant_id: UUID, campaign_id: UUID) -> bool:
    """An active campaign with nobody left in it is complete."""
    query = SQL["set_campaign_completed_if_ended"]
    return bool(await sql.execute(tx, query, tenant_id=tenant_id, id=campaign_id))


async def set_campaign_paused_if_active(
    tx: Tx, tenant_id: UUID, campaign_id: UUID, *, actor: str, reason: str | None
) -> bool:
    """Pause, with the hold that says so in each decision; False when it was not active."""
    query = SQL["set_campaign_paused_if_active"]
    return bool(
        await sql.value(tx, query, tenant_id=tenant_id, id=campaign_id, actor=actor, reason=reason)
    )


async def set_campaign_resumed_if_paused(tx: Tx, tenant_id: UUID, campaign_id: UUID) -> bool:
    """A paused campaign runs again; False when it was not paused."""
    query = SQL["set_campaign_resumed_if_paused"]
    return bool(await sql.execute(tx, query, tenant_id=tenant_id, id=campaign_id))


async def set_campaign_stopped_if_unstopped(
    tx: Tx, tenant_id: UUID, campaign_id: UUID, *, reason: str | None
) -> bool:
    """The final state; False when it was in it already."""
    query = SQL["set_campaign_stopped_if_unstopped"]
    return bool(await sql.execute(tx, query, tenant_id=tenant_id, id=campaign_id, reason=reason))


async def lock_live_enrollments(
    tx: Tx, tenant_id: UUID, campaign_id: UUID, *, rows_max: int
) -> list[UUID]:
    """Some of the enrollments that have not ended, locked in id order."""
    cursor = await tx.execute(
        SQL["lock_live_enrollments"],
        {"tenant_id": tenant_id, "id": campaign_id, "rows_max": rows_max},
    )
    return [row[0] for row in await cursor.fetchall()]


async def stop_enrollments(
    tx: Tx,
    tenant_id: UUID,
    enrollment_ids: Sequence[UUID],
    *,
    end_reason: str,
    actor: str,
    note: str | None,
) -> int:
    """End the locked enrollments as stopped, with who did it and why; the number that ended."""
    ended: int = await sql.value(
        tx,
        SQL["stop_enrollments"],
        tenant_id=tenant_id,
        enrollment_ids=list(enrollment_ids),
        end_reason=end_reason,
        actor=actor,
        note=note,
    )
    return ended


async def get_campaign_state(tx: Tx, tenant_id: UUID, campaign_id: UUID) -> CampaignHead:
    """The campaign's own row; the caller has its id from this tenant."""
    query = SQL["get_campaign_state"]
    head = await sql.find(tx, query, CampaignHead, tenant_id=tenant_id, id=campaign_id)
    assert head is not None, "campaigns are never deleted"
    return head


async def count_enrollments(tx: Tx, tenant_id: UUID, campaign_id: UUID) -> list[StateCount]:
    """Enrollments by state."""
    query = SQL["count_enrollments"]
    return await sql.fetch_all(tx, query, StateCount, tenant_id=tenant_id, id=campaign_id)


async def count_messages(tx: Tx, tenant_id: UUID, campaign_id: UUID) -> list[MessageCount]:
    """Messages by state and delivery."""
    query = SQL["count_messages"]
    return await sql.fetch_all(tx, query, MessageCount, tenant_id=tenant_id, id=campaign_id)


async def count_actions(tx: Tx, tenant_id: UUID, campaign_id: UUID) -> ActionCounts:
    """What the timetable holds for the campaign."""
    query = SQL["count_actions"]
    counts = await sql.find(tx, query, ActionCounts, tenant_id=tenant_id, id=campaign_id)
    assert counts is not None, "an aggregate is one row"
    return counts
