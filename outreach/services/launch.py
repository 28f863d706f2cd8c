"""Launching: a draft campaign becomes active and its drafts enter their plan.

When an enrollment's first step is due depends only on the plan's version and on the zone that
applies, so core is asked once for each such group, and one statement lets everybody enter: the
number of statements does not depend on the audience. The campaign's row is the lock: two launches
at once are one launch, and an enroll is either before it or finds the campaign active.
"""

from __future__ import annotations

from datetime import datetime
from typing import assert_never
from uuid import UUID
from zoneinfo import ZoneInfo

from outreach.core.errors import Conflict, NotFound, Refused
from outreach.core.plan import Plan
from outreach.core.schedule import zone_for
from outreach.core.states import ENROLLMENT_ENDS, CampaignState, SenderState
from outreach.core.transitions import Advance, start
from outreach.db import Database, Role
from outreach.services import audit
from outreach.services.campaigns import get_campaign_id
from outreach.services.plans import load_plan, load_plans
from outreach.sql import Tx
from outreach.store import campaigns, sweep, wakeups
from outreach.store import enroll as store
from outreach.store.campaigns import LockedCampaign
from outreach.store.enroll import DraftGroup, Start, StartAction, StartStep


async def launch(
    db: Database, tenant_id: UUID, campaign: str, *, actor: str, reason: str | None = None
) -> CampaignState:
    """Activate a draft campaign and everybody in it; nothing changes for one that is launched.

    Raises Refused (`sender_unverified`, `postal_address_missing`), Conflict for a paused or
    stopped campaign, NotFound.
    """
    state = await _launch(db, tenant_id, campaign, actor=actor, reason=reason)
    async with db.transaction(Role.APP, tenant_id) as tx:
        await sweep.learn_statistics(tx)
    return state


async def _launch(
    db: Database, tenant_id: UUID, campaign: str, *, actor: str, reason: str | None
) -> CampaignState:
    async with db.transaction(Role.APP, tenant_id) as tx:
        locked = await lock_campaign(tx, tenant_id, campaign)
        state = CampaignState(locked.state)
        match state:
            case CampaignState.DRAFT:
                pass
            case CampaignState.ACTIVE | CampaignState.COMPLETED:
                return state
            case CampaignState.PAUSED | CampaignState.STOPPED:
                raise Conflict("campaign", locked.name, expected="a draft", actual=state)
            case _:
                assert_never(state)
        await _refuse_unready(tx, tenant_id, locked)
        await campaigns.set_campaign_launched(tx, tenant_id, locked.id)
        counts = await activate(tx, tenant_id, locked.id)
        await audit.record(
            tx,
            tenant_id,
            actor=actor,
            act="campaign_launched",
            subject=locked.name,
            reason=reason,
            campaign_id=str(locked.id),
            enrollments=sum(counts.values()),
        )
        state = await complete_if_ended(tx, tenant_id, locked.id)
        if state is CampaignState.ACTIVE:
            await wake_senders(tx, tenant_id)
        return state


async def lock_campaign(tx: Tx, tenant_id: UUID, campaign: str) -> LockedCampaign:
    """The campaign of that name or id, its row locked to the transaction's end; NotFound."""
    campaign_id = await get_campaign_id(tx, tenant_id, campaign)
    locked = await campaigns.lock_campaign(tx, tenant_id, campaign_id)
    if locked is None:
        raise NotFound("campaign", campaign)
    return locked


async def activate(
    tx: Tx, tenant_id: UUID, campaign_id: UUID, *, held_by: str | None = None
) -> dict[str, int]:
    """Let the campaign's drafts enter their plan; how many came to which state.

    The caller has locked the campaign, and wakes the senders. With `held_by` their actions wait
    for that to end.
    """
    groups = await store.list_draft_groups(tx, tenant_id, campaign_id)
    if not groups:
        return {}
    versions = {(campaign_id, group.plan_version) for group in groups}
    plans = await load_plans(tx, tenant_id, versions)
    starts = start_groups(groups, {version: plan for (_, version), plan in plans.items()})
    await store.forget_plans(tx)
    return await store.activate_drafts(tx, tenant_id, campaign_id, starts, held_by=held_by)


async def wake_senders(tx: Tx, tenant_id: UUID) -> None:
    """Let workers look at the tenant's timetable as soon as this transaction has committed.

    The last thing that a transaction does (docs/locks.md).
    """
    await store.lower_floors(tx, tenant_id)
    await store.unpark_tenant(tx, tenant_id)
    await wakeups.wake(tx, "send_due", tenant_id=tenant_id)


async def complete_if_ended(tx: Tx, tenant_id: UUID, campaign_id: UUID) -> CampaignState:
    """Complete an active campaign with nobody left in it; the state it is in then.

    The caller has locked the campaign.
    """
    await campaigns.set_campaign_completed_if_ended(tx, tenant_id, campaign_id)
    head = await campaigns.get_campaign_state(tx, tenant_id, campaign_id)
    return CampaignState(head.state)


def start_groups(groups: list[DraftGroup], plans: dict[int, Plan]) -> list[Start]:
    """What becomes of each group; core is asked once for each zone that really applies."""
    asked: dict[tuple[int, str, datetime], Advance] = {}
    starts: list[Start] = []
    for group in groups:
        plan = plans[group.plan_version]
        zone = zone_for(plan, group.timezone)
        key = (group.plan_version, zone.key, group.entered_at)
        if key not in asked:
            asked[key] = start(plan, ZoneInfo(zone.key), group.entered_at)
        starts.append(_start(group, plan, asked[key]))
    return starts


def _start(group: DraftGroup, plan: Plan, advance: Advance) -> Start:
    position = advance.position
    end_reason = advance.end_reason
    if advance.state in ENROLLMENT_ENDS and end_reason is None:
        end_reason = advance.state.value
    sends = (
        StartAction(
            "send",
            send.node_id,
            send.visit,
            None,
            send.due_at,
            plan.node(send.node_id).sender_identity_id,
        )
        for send in advance.sends
    )
    timers = (
        StartAction("timeout", timer.node_id, timer.visit, str(timer.on), timer.due_at, None)
        for timer in advance.timers
    )
    return Start(
        plan_version=group.plan_version,
        timezone=group.timezone,
        state=advance.state.value,
        node_id=position.node_id,
        visits=dict(position.visits),
        entered_at=position.entered_at,
        came_by=None if position.came_by is None else position.came_by.value,
        end_reason=end_reason,
        actions=(*sends, *timers),
        steps=tuple(
            StartStep(
                from_node_id=step.from_node_id,
                to_node_id=step.to_node_id,
                visit=step.visit,
                trigger=None if step.trigger is None else step.trigger.value,
                code=step.code,
                reason=end_reason if step.to_node_id is None else None,
                at=step.at,
            )
            for step in advance.steps
        ),
    )


async def _refuse_unready(tx: Tx, tenant_id: UUID, campaign: LockedCampaign) -> None:
    """What no mail may leave without: verified senders and a postal address."""
    plan = await load_plan(tx, tenant_id, campaign.id, campaign.plan_version)
    await refuse_unverified(tx, tenant_id, campaign.sender_id, plan)
    if campaign.postal_address is None:
        raise Refused(
            "postal_address_missing",
            "The tenant has no postal address, which every mail must state."
            " Set it with"
            " `outreach tenants create --slug SLUG --name NAME --postal-address ADDRESS`.",
            subject=campaign.name,
        )


async def refuse_unverified(tx: Tx, tenant_id: UUID, sender_id: UUID, plan: Plan) -> None:
    """Raise Refused unless the campaign's sender and all that its nodes name are verified."""
    named = {node.sender_identity_id for node in plan.nodes if node.sender_identity_id is not None}
    senders = await campaigns.list_senders(tx, tenant_id, {sender_id, *named})
    for sender in senders:
        if sender.state != SenderState.VERIFIED:
            raise Refused(
                "sender_unverified",
                f"The sender {sender.email} is not verified yet."
                f" Verify it with `outreach senders verify --tenant SLUG --email {sender.email}`.",
                subject=sender.email,
            )
