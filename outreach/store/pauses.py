"""Ending the pauses that an operator makes: their holds, and the actions that these kept back."""

from __future__ import annotations

from uuid import UUID

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


async def end_pause(tx: Tx, tenant_id: UUID, *, scope: str, reason: str) -> int:
    """End the hold if there is one."""
    return await sql.execute(tx, SQL["end_pause"], tenant_id=tenant_id, scope=scope, reason=reason)


async def release_actions(tx: Tx, tenant_id: UUID, held_by: str) -> int:
    """Put back what the scope's holds took out; how many actions that were."""
    return await sql.execute(tx, SQL["release_actions"], tenant_id=tenant_id, held_by=held_by)
