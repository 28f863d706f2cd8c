"""The record of who did what, and why: written in the transaction of the act itself."""

from __future__ import annotations

from uuid import UUID

from outreach.core.errors import Invalid
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


def require_reason(reason: str) -> None:
    """What people will ask about later says why; raises Invalid when it does not."""
    if not reason.strip():
        raise Invalid.at("$.reason", "A pause or a stop needs a reason; everybody sees it.")
