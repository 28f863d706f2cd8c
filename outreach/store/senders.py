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
    pause_reason: str | None
    created_at: datetime


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


async def end_sender_holds(tx: Tx, tenant_id: UUID, sender_id: UUID) -> int:
    """End what held its mail for want of verification, or by a pause."""
    return await sql.execute(tx, SQL["end_sender_holds"], tenant_id=tenant_id, id=sender_id)


async def release_sender_actions(tx: Tx, tenant_id: UUID, sender_id: UUID) -> int:
    """Put back what was held for it; how many actions that were."""
    return await sql.execute(tx, SQL["release_sender_actions"], tenant_id=tenant_id, id=sender_id)
