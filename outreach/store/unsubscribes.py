"""What an unsubscribe link leads to."""

from __future__ import annotations

from uuid import UUID

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


async def find_recipient(tx: Tx, tenant_id: UUID, message_id: UUID) -> str | None:
    """The address that the message went to, or None where there is no such message."""
    address: str | None = await sql.value(
        tx, SQL["find_recipient"], tenant_id=tenant_id, message_id=message_id
    )
    return address
