"""A campaign's live enrollments go over to a new version of its plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


async def lock_running_enrollments(
    tx: Tx, tenant_id: UUID, campaign_id: UUID, *, version: int
) -> int:
    """Hold the live enrollments that run the version to the transaction's end; how many."""
    count: int = await sql.value(
        tx,
        SQL["lock_running_enrollments"],
        tenant_id=tenant_id,
        campaign_id=campaign_id,
        version=version,
    )
    return count


async def insert_version(
    tx: Tx, tenant_id: UUID, campaign_id: UUID, *, plan: str, plan_hash: str, notes: str | None
) -> int:
    """Make the plan the campaign's next version, which runs from now on; its number."""
    version: int = await sql.value(
        tx,
        SQL["insert_version"],
        tenant_id=tenant_id,
        campaign_id=campaign_id,
        plan=plan,
        hash=plan_hash,
        notes=notes,
    )
    return version


async def map_enrollments(
    tx: Tx,
    tenant_id: UUID,
    campaign_id: UUID,
    mapping: Mapping[str, str],
    *,
    version: int,
    actor: str,
) -> int:
    """Carry who stands on each source to its target, as it stands; how many."""
    count: int = await sql.value(
        tx,
        SQL["map_enrollments"],
        tenant_id=tenant_id,
        campaign_id=campaign_id,
        version=version,
        sources=list(mapping.keys()),
        targets=list(mapping.values()),
        actor=actor,
    )
    return count


async def stop_enrollments_of_nodes(
    tx: Tx,
    tenant_id: UUID,
    campaign_id: UUID,
    node_ids: Collection[str],
    *,
    version: int,
    actor: str,
) -> int:
    """End who stands on these nodes as stopped; how many."""
    count: int = await sql.value(
        tx,
        SQL["stop_enrollments_of_nodes"],
        tenant_id=tenant_id,
        campaign_id=campaign_id,
        version=version,
        node_ids=list(node_ids),
        actor=actor,
    )
    return count


async def carry_over_enrollments(
    tx: Tx,
    tenant_id: UUID,
    campaign_id: UUID,
    *,
    version: int,
    new_version: int,
    vanished: Collection[str],
) -> int:
    """Let everybody who is live run the new version; how many."""
    return await sql.execute(
        tx,
        SQL["carry_over_enrollments"],
        tenant_id=tenant_id,
        campaign_id=campaign_id,
        version=version,
        new_version=new_version,
        vanished=list(vanished),
    )


async def set_senders(
    tx: Tx, tenant_id: UUID, campaign_id: UUID, senders: Mapping[str, UUID | None], *, version: int
) -> int:
    """Let pending sends go out by what their node says; how many changed."""
    return await sql.execute(
        tx,
        SQL["set_senders"],
        tenant_id=tenant_id,
        campaign_id=campaign_id,
        version=version,
        node_ids=list(senders.keys()),
        sender_ids=list(senders.values()),
    )


async def list_standing_on(
    tx: Tx,
    tenant_id: UUID,
    campaign_id: UUID,
    node_ids: Collection[str],
    *,
    version: int,
    after: UUID,
    rows_max: int,
) -> list[UUID]:
    """The next of those who stand on these nodes, in id order."""
    cursor = await tx.execute(
        SQL["list_standing_on"],
        {
            "tenant_id": tenant_id,
            "campaign_id": campaign_id,
            "version": version,
            "node_ids": list(node_ids),
            "after": after,
            "rows_max": rows_max,
        },
    )
    return [row[0] for row in await cursor.fetchall()]


async def cancel_timers(tx: Tx, tenant_id: UUID, enrollment_ids: Sequence[UUID]) -> None:
    """Take back the pending timers of these enrollments."""
    await sql.execute(
        tx, SQL["cancel_timers"], tenant_id=tenant_id, enrollment_ids=list(enrollment_ids)
    )
