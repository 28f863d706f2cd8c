"""The one clock: the database's.

What happens in a transaction happens at its `now()`, so rows that it writes agree with each other
and two workers never argue about the time. Core is handed the moment and never asks for it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from outreach import sql
from outreach.sql import Tx


async def transaction_now(tx: Tx) -> datetime:
    """The moment at which this transaction began, in UTC."""
    moment: datetime = await sql.value(tx, "select now()")
    return moment.astimezone(UTC)
