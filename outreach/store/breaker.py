"""The account's breaker, in the installation's one row: `provider_later_until`, and how often."""

from __future__ import annotations

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


async def open_breaker(tx: Tx, *, first_seconds: float, seconds_max: float) -> float | None:
    """Break off for a while, longer each time; for how long, None when it was done already."""
    seconds: float | None = await sql.value(
        tx, SQL["open_breaker"], first_seconds=first_seconds, seconds_max=seconds_max
    )
    return seconds
