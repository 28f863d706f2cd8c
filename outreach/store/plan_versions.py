"""A campaign's versions of its plan, and who stands where in one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outreach import sql
from outreach.core.plan_mapping import NodeCount
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class Version:
    """One stored version, and how many enrollments run it."""

    version: int
    hash: str
    generated_by: str
    notes: str | None
    created_at: datetime
    is_current: bool  # whoever comes into the campaign runs it
    live: int
    total: int


async def list_versions(tx: Tx, tenant_id: UUID, campaign_id: UUID) -> list[Version]:
    """Every version, newest first."""
    return await sql.fetch_all(
        tx, SQL["list_versions"], Version, tenant_id=tenant_id, campaign_id=campaign_id
    )


async def count_standings(
    tx: Tx, tenant_id: UUID, campaign_id: UUID, *, version: int
) -> list[NodeCount]:
    """The live enrollments of one version by node; the first may be those not launched yet."""
    return await sql.fetch_all(
        tx,
        SQL["count_standings"],
        NodeCount,
        tenant_id=tenant_id,
        campaign_id=campaign_id,
        version=version,
    )
