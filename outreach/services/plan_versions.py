"""Versions of a campaign's plan: listed, exported, and what a new one would change.

A preview locks nothing and writes nothing. What it says of enrollments is a moment's truth; the
update itself asks again under its locks (`services/plan_update`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from outreach.core.errors import Conflict, Invalid
from outreach.core.plan import Plan, parse_plan
from outreach.core.plan_diff import PlanDiff, diff_plans
from outreach.core.plan_json import PLAN_BYTES_MAX
from outreach.core.plan_mapping import NodeCount, busy, mapping_problems, unmapped, vanished_nodes
from outreach.db import Database, Role
from outreach.services.campaigns import get_campaign_id
from outreach.services.plans import load_plan
from outreach.sql import Tx
from outreach.store import campaigns
from outreach.store import plan_versions as store
from outreach.store.plan_versions import Version


@dataclass(frozen=True, slots=True)
class Preview:
    """What a new version changes, and for whom."""

    version: int  # of the plan that runs now
    diff: PlanDiff
    touched: tuple[NodeCount, ...]  # of nodes that change or vanish
    untouched: int  # live enrollments elsewhere
    drafts: int  # not launched yet: they enter the new plan
    vanished: tuple[str, ...]
    unmapped: tuple[NodeCount, ...]  # vanished nodes that the mapping says nothing about
    busy: tuple[NodeCount, ...]  # vanished nodes with mail on the way


async def versions(db: Database, tenant_id: UUID, campaign: str) -> list[Version]:
    """Every version of the campaign's plan, newest first; NotFound."""
    async with db.transaction(Role.APP, tenant_id) as tx:
        campaign_id = await get_campaign_id(tx, tenant_id, campaign)
        return await store.list_versions(tx, tenant_id, campaign_id)


async def export(db: Database, tenant_id: UUID, campaign: str, version: int | None = None) -> str:
    """One version as JSON that comes in again as the same plan, the current one by default.

    Raises NotFound for the campaign and for the version.
    """
    async with db.transaction(Role.APP, tenant_id) as tx:
        campaign_id = await get_campaign_id(tx, tenant_id, campaign)
        if version is None:
            version = (await campaigns.get_campaign_state(tx, tenant_id, campaign_id)).plan_version
        plan = await load_plan(tx, tenant_id, campaign_id, version)
    return plan_text(plan)


async def preview(
    db: Database,
    tenant_id: UUID,
    campaign: str,
    *,
    plan: bytes,
    mapping: Mapping[str, str],
    if_version: int | None = None,
) -> Preview:
    """What an update with this plan would do; nothing is changed, and nothing waits.

    Raises Invalid for the plan or the mapping, Conflict for another version, NotFound.
    """
    new = parse_plan(plan)
    async with db.transaction(Role.APP, tenant_id) as tx:
        campaign_id = await get_campaign_id(tx, tenant_id, campaign)
        head = await campaigns.get_campaign_state(tx, tenant_id, campaign_id)
        check_version(head.name, head.plan_version, if_version)
        old = await load_plan(tx, tenant_id, campaign_id, head.plan_version)
        return await look(tx, tenant_id, campaign_id, head.plan_version, old, new, mapping)


async def look(
    tx: Tx,
    tenant_id: UUID,
    campaign_id: UUID,
    version: int,
    old: Plan,
    new: Plan,
    mapping: Mapping[str, str],
) -> Preview:
    """The preview within a transaction; raises Invalid for the mapping."""
    problems = mapping_problems(old, new, mapping)
    if problems:
        raise Invalid(problems)
    counts = await store.count_standings(tx, tenant_id, campaign_id, version=version)
    return summed(version, old, new, mapping, counts)


def summed(
    version: int, old: Plan, new: Plan, mapping: Mapping[str, str], counts: Sequence[NodeCount]
) -> Preview:
    """The preview from what was counted."""
    diff = diff_plans(old, new)
    touched_ids = {node.node_id for node in diff.nodes}
    return Preview(
        version=version,
        diff=diff,
        touched=tuple(one for one in counts if one.node_id in touched_ids),
        untouched=sum(one.enrollments for one in counts if one.node_id not in {None, *touched_ids}),
        drafts=sum(one.enrollments for one in counts if one.node_id is None),
        vanished=tuple(vanished_nodes(old, new)),
        unmapped=tuple(unmapped(old, new, mapping, counts)),
        busy=tuple(busy(old, new, counts)),
    )


def check_version(name: str, actual: int, expected: int | None) -> None:
    """Raise Conflict where somebody has changed the plan since the caller read it."""
    if expected is not None and expected != actual:
        raise Conflict(
            "campaign", name, expected=f"at version {expected}", actual=f"at version {actual}"
        )


def plan_text(plan: Plan) -> str:
    """The plan as JSON for people, in one line where it would be too large otherwise."""
    canonical = plan.canonical()
    text = json.dumps(json.loads(canonical), indent=2, ensure_ascii=False)
    return text if len(text.encode()) < PLAN_BYTES_MAX else canonical
