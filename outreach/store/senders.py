"""Rows of `sender_identities`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class Sender:
    """A sender identity as people see it."""

    id: UUID
    from_email: str
    from_name: str
    reply_to: str | None
    state: str
    verified_at: datetime | None
    verified_by: str | None
    paused_at: datetime | None
    paused_by: str | None  # `provider`, or who
    pause_reason: str | None
    created_at: datetime
    ip_pool: str | None


async def insert_sender(
    tx: Tx, tenant_id: UUID, *, from_email: str, from_name: str, reply_to: str | None
) -> bool:
    """Whether it is new."""
    return bool(
        await sql.execute(
            tx,
            SQL["insert_sender"],
            tenant_id=tenant_id,
            from_email=from_email,
            from_name=from_name,
            reply_to=reply_to,
        )
    )


async def find_sender(tx: Tx, tenant_id: UUID, from_email: str) -> Sender | None:
    """The identity with this address."""
    query = SQL["find_sender"]
    return await sql.find(tx, query, Sender, tenant_id=tenant_id, from_email=from_email)


async def list_senders(tx: Tx, tenant_id: UUID, *, rows_max: int) -> list[Sender]:
    """The tenant's identities by address."""
    query = SQL["list_senders"]
    return await sql.fetch_all(tx, query, Sender, tenant_id=tenant_id, rows_max=rows_max)


async def set_sender_verified(tx: Tx, tenant_id: UUID, sender_id: UUID, *, by: str) -> None:
    """It may send from the commit on."""
    query = SQL["set_sender_verified"]
    await sql.execute(tx, query, tenant_id=tenant_id, id=sender_id, verified_by=by)


async def set_sender_unverified(tx: Tx, tenant_id: UUID, sender_id: UUID) -> bool:
    """Whether it was verified until now."""
    query = SQL["set_sender_unverified"]
    return bool(await sql.execute(tx, query, tenant_id=tenant_id, id=sender_id))


async def set_sender_paused_if_running(
    tx: Tx, tenant_id: UUID, sender_id: UUID, *, actor: str, reason: str
) -> bool:
    """Whether no person had paused it until now."""
    query = SQL["set_sender_paused_if_running"]
    params = {"tenant_id": tenant_id, "id": sender_id, "actor": actor, "reason": reason}
    return bool(await sql.execute(tx, query, **params))


async def set_sender_resumed_if_paused(tx: Tx, tenant_id: UUID, sender_id: UUID) -> bool:
    """Whether it was paused until now."""
    query = SQL["set_sender_resumed_if_paused"]
    return bool(await sql.execute(tx, query, tenant_id=tenant_id, id=sender_id))
