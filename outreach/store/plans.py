"""Rows of `campaign_plans`, for reading."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """One stored version, as JSON."""

    campaign_id: UUID
    version: int
    plan: dict[str, Any]


async def list_plans(
    tx: Tx, tenant_id: UUID, keys: Collection[tuple[UUID, int]]
) -> list[PlanVersion]:
    """The versions that exist among `keys`."""
    return await sql.fetch_all(
        tx,
        SQL["list_plans"],
        PlanVersion,
        tenant_id=tenant_id,
        campaign_ids=[campaign_id for campaign_id, _ in keys],
        versions=[version for _, version in keys],
    )
