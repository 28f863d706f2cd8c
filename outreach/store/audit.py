"""Rows of `audit_log`."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from psycopg.types.json import Jsonb

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


async def insert_act(
    tx: Tx,
    tenant_id: UUID | None,
    *,
    actor: str,
    act: str,
    subject: str,
    reason: str | None,
    detail: Mapping[str, object],
) -> None:
    """Add an act; without a tenant it concerns the whole installation."""
    await sql.execute(
        tx,
        SQL["insert_act"],
        tenant_id=tenant_id,
        actor=actor,
        act=act,
        subject=subject,
        reason=reason,
        detail=Jsonb(dict(detail)),
    )
