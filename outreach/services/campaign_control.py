"""Pause, resume and stop: a person's act on a whole campaign.

Each takes effect at its commit, whatever the size of the audience, because a claim reads the state
from the campaign's row under a share lock. What follows from it for many rows follows after: a
paused campaign's actions leave the timetable as claims meet them, a stopped one's enrollments end
in batches, and a stop that was cut short goes on when it is called again.
"""

from __future__ import annotations

from uuid import UUID

from outreach.core.errors import Conflict
from outreach.core.states import CampaignState
from outreach.db import Database, Role, lock_tenant
from outreach.services import audit
from outreach.services.campaigns import get_campaign_id
from outreach.services.launch import complete_if_ended, lock_campaign, wake_senders
from outreach.sql import Tx
from outreach.store import campaigns as store
from outreach.store.campaigns import LockedCampaign
from outreach.store.enrollments import cancel_actions
from outreach.store.pauses import lock_held_actions, release_campaign_actions
from outreach.store.wakeups import wake

# What a pause held comes back at most this many a second, and no faster than its sender may send.
RESUME_PACE = 1_000
STOP_BATCH_ROWS = 2_000
END_REASON = "campaign_ended"  # of everybody in it


async def pause(
    db: Database, tenant_id: UUID, campaign: str, *, actor: str, reason: str | None = None
) -> CampaignState:
    """Nothing more is sent for the campaign, from the commit on; a paused one stays as it is.

    Raises Conflict unless it is active or paused, NotFound.
    """
    async with db.transaction(Role.APP, tenant_id) as tx:
        locked = await lock_campaign(tx, tenant_id, campaign)
        if locked.state == CampaignState.PAUSED:
            return CampaignState.PAUSED
        if not await store.set_campaign_paused_if_active(
            tx, tenant_id, locked.id, actor=actor, reason=reason
        ):
            raise Conflict("campaign", locked.name, expected="active", actual=locked.state)
        await _record(tx, tenant_id, locked, "campaign_paused", actor=actor, reason=reason)
    return CampaignState.PAUSED


async def resume(
    db: Database, tenant_id: UUID, campaign: str, *, actor: str, reason: str | None = None
) -> CampaignState:
    """A paused campaign runs again and what it held comes back; an active one stays as it is.

    Raises Conflict unless it is paused or active, NotFound. Under the tenant's lock no claim can
    park an action between the release and the commit. Held actions are locked before the campaign's
    row, as by those who complete a campaign; what is parked in between is released with them.
    """
    async with db.transaction(Role.APP, tenant_id) as tx:
        await lock_tenant(tx, tenant_id)
        campaign_id = await get_campaign_id(tx, tenant_id, campaign)
        await lock_held_actions(tx, tenant_id, campaign_id)
        locked = await lock_campaign(tx, tenant_id, campaign)
        has_ended = await store.set_campaign_resumed_if_paused(tx, tenant_id, campaign_id)
        if not has_ended and locked.state != CampaignState.ACTIVE:
            raise Conflict("campaign", locked.name, expected="paused", actual=locked.state)
        await release_campaign_actions(
            tx, tenant_id, campaign_id, pace=RESUME_PACE, unmet_since=locked.paused_at
        )
        if not has_ended:
            return CampaignState.ACTIVE
        await _record(tx, tenant_id, locked, "campaign_resumed", actor=actor, reason=reason)
        state = await complete_if_ended(tx, tenant_id, campaign_id)
        await wake_senders(tx, tenant_id)
        await wake(tx, "fire_timers", tenant_id=tenant_id)
        return state


async def stop(
    db: Database, tenant_id: UUID, campaign: str, *, actor: str, reason: str | None = None
) -> CampaignState:
    """End the campaign for good, and everybody in it as stopped (`campaign_ended`).

    A mail that is with the provider at this moment may still arrive. The audit log names who
    stopped it first; a later call ends whom that one left. Raises NotFound.
    """
    async with db.transaction(Role.APP, tenant_id) as tx:
        locked = await lock_campaign(tx, tenant_id, campaign)
        if await store.set_campaign_stopped_if_unstopped(tx, tenant_id, locked.id, reason=reason):
            await _record(tx, tenant_id, locked, "campaign_stopped", actor=actor, reason=reason)
    while await _stop_some(db, tenant_id, locked.id, actor=actor, reason=reason):
        pass
    return CampaignState.STOPPED


async def _stop_some(
    db: Database, tenant_id: UUID, campaign_id: UUID, *, actor: str, reason: str | None
) -> int:
    """End a batch of enrollments; how many. As the worker, which alone may change the ledger."""
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        ids = await store.lock_live_enrollments(
            tx, tenant_id, campaign_id, rows_max=STOP_BATCH_ROWS
        )
        if not ids:
            return 0
        await cancel_actions(tx, tenant_id, ids)
        return await store.stop_enrollments(
            tx, tenant_id, ids, end_reason=END_REASON, actor=actor, note=reason
        )


async def _record(
    tx: Tx, tenant_id: UUID, campaign: LockedCampaign, act: str, *, actor: str, reason: str | None
) -> None:
    await audit.record(
        tx,
        tenant_id,
        actor=actor,
        act=act,
        subject=campaign.name,
        reason=reason,
        campaign_id=str(campaign.id),
    )
