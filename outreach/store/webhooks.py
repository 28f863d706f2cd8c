"""Rows of `webhook_deliveries` on their way in, and the count of what was turned away."""

from __future__ import annotations

from datetime import datetime

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


async def insert_delivery(
    tx: Tx, provider: str, payload_hash: bytes, payload: bytes, signed_at: datetime
) -> bool:
    """Keep a body; whether it was not there yet."""
    return (
        await sql.execute(
            tx,
            SQL["insert_delivery"],
            provider=provider,
            payload_hash=payload_hash,
            payload=payload,
            signed_at=signed_at,
        )
        == 1
    )


async def count_refused_webhooks(tx: Tx, many: int) -> None:
    """Add to the count of webhooks that were turned away."""
    await sql.execute(tx, SQL["count_refused_webhooks"], many=many)
