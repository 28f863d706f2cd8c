"""Sends that wait for a value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A send held by a missing value since then."""

    action_id: UUID
    enrollment_id: UUID
    since: datetime


async def list_tenants_waiting_for_values(tx: Tx) -> list[UUID]:
    """The tenants that have had a send held by a missing value."""
    cursor = await tx.execute(SQL["list_tenants_waiting_for_values"])
    return [row[0] for row in await cursor.fetchall()]


async def list_waiting_for_values(tx: Tx, tenant_id: UUID, *, rows_max: int) -> list[Waiting]:
    """The sends whose patience with a missing value may be over, each once."""
    return await sql.fetch_all(
        tx, SQL["list_waiting_for_values"], Waiting, tenant_id=tenant_id, rows_max=rows_max
    )
