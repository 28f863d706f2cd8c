"""The record of who did what, and why: written in the transaction of the act itself."""

from __future__ import annotations

from uuid import UUID

from outreach.sql import Tx
from outreach.store import audit as store


async def record(
    tx: Tx,
    tenant_id: UUID | None,
    *,
    actor: str,
    act: str,
    subject: str,
    reason: str | None = None,
    **detail: object,
) -> None:
    """Add one act, such as `tenant_paused`, to the log; no tenant means the installation."""
    await store.insert_act(
        tx, tenant_id, actor=actor, act=act, subject=subject, reason=reason, detail=detail
    )
