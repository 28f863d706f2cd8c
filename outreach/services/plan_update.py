"""A campaign that may be running gets a new version of its plan, all of it in one transaction.

Whoever is live goes over to the new version and goes on from where they stand: one set of words is
in force at a time, and the old one ends at the commit. Before it nothing has changed; a crash
leaves the old version whole. What is in the ledger keeps its words, its attempts and its outcome; a
send that is not takes the new words when it is claimed. Running timers of nodes that changed are
set anew by core, in batches; those of other nodes stay as they are.

The tenant's lock keeps claims, enrolls and resumes away, the enrollments' rows everybody who takes
a step. A claim that came before has its mail in the ledger; what it records later finds the new
version under the enrollment's lock, and starts the new version's timers (`store/ledger.sql`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from outreach.clock import transaction_now
from outreach.core.errors import Conflict, Invalid
from outreach.core.plan import STOP, Plan, parse_plan
from outreach.core.plan_mapping import retimed_nodes, unmapped_problems
from outreach.core.states import CampaignState
from outreach.core.transitions import on_plan_changed
from outreach.db import Database, Role, lock_tenant
from outreach.services import audit
from outreach.services.campaigns import check_senders, get_campaign_id
from outreach.services.launch import refuse_unverified, wake_senders
from outreach.services.plan_versions import Preview, check_version, look
from outreach.services.plans import forget_plan, load_plan
from outreach.services.standing import histories, lock_standings, write_advances
from outreach.sql import Tx
from outreach.store import campaigns
from outreach.store import plan_update as store
from outreach.store.campaigns import LockedCampaign
from outreach.store.enrollments import complete_campaigns
from outreach.store.wakeups import wake

RETIME_BATCH_ROWS = 2_000
_BEFORE_ALL = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Updated:
    """A campaign that runs another version now, or the same one where nothing was to be changed."""

    version: int
    preview: Preview  # as it was under the locks
    carried: int  # enrollments that run the new version
    mapped: int  # of them, those that stand on another node now
    stopped: int  # those whose node was mapped to `stop`
    retimed: int  # those whose running timers were set anew


async def update(
    db: Database,
    tenant_id: UUID,
    campaign: str,
    *,
    plan: bytes,
    mapping: Mapping[str, str],
    actor: str,
    if_version: int | None = None,
    reason: str | None = None,
) -> Updated:
    """Let the campaign and everybody live in it run a new plan; one with the same hash, nothing.

    Raises Invalid for the plan, the mapping, and enrollments that it leaves without a node;
    Conflict for another version than `if_version`, for a stopped campaign, and while mail of a node
    that vanishes is on its way; Refused for a sender that is not verified; NotFound.
    """
    new = parse_plan(plan)
    made: list[tuple[UUID, int]] = []
    try:
        async with db.transaction(Role.APP, tenant_id) as tx:
            locked = await _lock(tx, tenant_id, campaign)
            check_version(locked.name, locked.plan_version, if_version)
            old = await load_plan(tx, tenant_id, locked.id, locked.plan_version)
            preview = await look(tx, tenant_id, locked.id, locked.plan_version, old, new, mapping)
            if new.hash() == old.hash():
                return Updated(locked.plan_version, preview, 0, 0, 0, 0)
            await _refuse(tx, tenant_id, locked, new, preview)
            version = await store.insert_version(
                tx, tenant_id, locked.id, plan=new.canonical(), plan_hash=new.hash(), notes=reason
            )
            made.append((locked.id, version))
            updated = await _carry_over(
                tx, tenant_id, locked, (old, new), version, preview, mapping, actor
            )
            await _record(tx, tenant_id, locked, updated, mapping, actor=actor, reason=reason)
            if updated.stopped:
                await complete_campaigns(tx, tenant_id, {locked.id})
            await wake_senders(tx, tenant_id)
            await wake(tx, "fire_timers", tenant_id=tenant_id)
            return updated
    except BaseException:
        for campaign_id, version in made:  # nobody may run what was not committed
            forget_plan(tenant_id, campaign_id, version)
        raise


async def _lock(tx: Tx, tenant_id: UUID, campaign: str) -> LockedCampaign:
    """Hold the tenant, the campaign, and everybody who runs its version; NotFound, Conflict.

    Whoever ends the last enrollment locks enrollments before the campaign, as here. A launch, which
    takes no tenant's lock, locks a draft campaign first, and so does this: only a draft has drafts.
    """
    await lock_tenant(tx, tenant_id)
    campaign_id = await get_campaign_id(tx, tenant_id, campaign)
    head = await campaigns.get_campaign_state(tx, tenant_id, campaign_id)
    if head.state == CampaignState.DRAFT:
        locked = await campaigns.lock_campaign(tx, tenant_id, campaign_id)
        await store.lock_running_enrollments(tx, tenant_id, campaign_id, version=head.plan_version)
    else:
        await store.lock_running_enrollments(tx, tenant_id, campaign_id, version=head.plan_version)
        locked = await campaigns.lock_campaign(tx, tenant_id, campaign_id)
    assert locked is not None, "campaigns are never deleted"
    if locked.state == CampaignState.STOPPED:
        raise Conflict("campaign", locked.name, expected="one that can run", actual="stopped")
    is_draft = locked.state == CampaignState.DRAFT
    if is_draft != (head.state == CampaignState.DRAFT):
        raise Conflict("campaign", locked.name, expected="draft or launched", actual="launching")
    return locked


async def _refuse(
    tx: Tx, tenant_id: UUID, campaign: LockedCampaign, plan: Plan, preview: Preview
) -> None:
    """Raise for whoever would stand nowhere, for mail whose node would be gone, for senders."""
    if preview.unmapped:
        raise Invalid(unmapped_problems(preview.unmapped))
    if preview.busy:
        mails = ", ".join(f"{one.on_the_way:,} of {one.node_id}" for one in preview.busy)
        raise Conflict(
            "campaign",
            campaign.name,
            expected="done with the mail of nodes that vanish",
            actual=f"still sending mail ({mails})",
        )
    await check_senders(tx, tenant_id, plan)
    if campaign.state != CampaignState.DRAFT:
        await refuse_unverified(tx, tenant_id, campaign.sender_id, plan)


async def _carry_over(
    tx: Tx,
    tenant_id: UUID,
    campaign: LockedCampaign,
    plans: tuple[Plan, Plan],
    version: int,
    preview: Preview,
    mapping: Mapping[str, str],
    actor: str,
) -> Updated:
    old, new = plans
    before = campaign.plan_version
    stops = [source for source, target in mapping.items() if target == STOP]
    moves = {source: target for source, target in mapping.items() if target != STOP}
    stopped = mapped = 0
    if stops:
        stopped = await store.stop_enrollments_of_nodes(
            tx, tenant_id, campaign.id, stops, version=before, actor=actor
        )
    if moves:
        mapped = await store.map_enrollments(
            tx, tenant_id, campaign.id, moves, version=before, actor=actor
        )
    carried = await store.carry_over_enrollments(
        tx, tenant_id, campaign.id, version=before, new_version=version, vanished=preview.vanished
    )
    senders = {node.id: node.sender_identity_id for node in new.nodes if node.action == "send"}
    if senders:
        await store.set_senders(tx, tenant_id, campaign.id, senders, version=version)
    nodes = {*retimed_nodes(old, new), *moves.values()}
    retimed = await _retime(tx, tenant_id, campaign.id, nodes, version)
    return Updated(version, preview, carried, mapped, stopped, retimed)


async def _retime(tx: Tx, tenant_id: UUID, campaign_id: UUID, nodes: set[str], version: int) -> int:
    """Set the timers of everybody on these nodes anew; how many had any to set."""
    retimed, after = 0, _BEFORE_ALL
    while ids := await store.list_standing_on(
        tx,
        tenant_id,
        campaign_id,
        nodes,
        version=version,
        after=after,
        rows_max=RETIME_BATCH_ROWS,
    ):
        retimed += await _retime_some(tx, tenant_id, ids)
        after = ids[-1]
    return retimed


async def _retime_some(tx: Tx, tenant_id: UUID, ids: list[UUID]) -> int:
    now = await transaction_now(tx)
    standings = await lock_standings(tx, tenant_id, ids)
    latest = {s.latest_message_id for s in standings.values() if s.latest_message_id is not None}
    known = await histories(tx, tenant_id, latest)
    advances = []
    for standing in standings.values():
        message_id = standing.latest_message_id
        history = [] if message_id is None else known.get(message_id, [])
        advance = on_plan_changed(standing.plan, standing.position, history, standing.zone, now)
        if advance is not None:
            # None is put below the tenant's floor of timers; when it fires, it says its own moment.
            timers = tuple(replace(t, due_at=max(t.due_at, now)) for t in advance.timers)
            advances.append((standing, replace(advance, timers=timers)))
    await store.cancel_timers(tx, tenant_id, [standing.enrollment_id for standing, _ in advances])
    await write_advances(tx, tenant_id, advances)
    return len(advances)


async def _record(
    tx: Tx,
    tenant_id: UUID,
    campaign: LockedCampaign,
    updated: Updated,
    mapping: Mapping[str, str],
    *,
    actor: str,
    reason: str | None,
) -> None:
    await audit.record(
        tx,
        tenant_id,
        actor=actor,
        act="campaign_plan_updated",
        subject=campaign.name,
        reason=reason,
        campaign_id=str(campaign.id),
        from_version=campaign.plan_version,
        to_version=updated.version,
        mapping=dict(mapping),
        carried=updated.carried,
        mapped=updated.mapped,
        stopped=updated.stopped,
        changes=updated.preview.diff.sentences(),
    )
