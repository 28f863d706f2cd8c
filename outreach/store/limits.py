"""Rows of `send_rate_limits`, the installation's limits, and counters as people see them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outreach import sql
from outreach.core.limits import Override
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class LimitRow:
    """What is set for one key of a scope; null falls back to the next wider word."""

    scope: str
    key: str
    per_minute_max: int | None
    per_hour_max: int | None
    per_day_max: int | None
    concurrent_max: int | None
    is_off: bool

    def override(self) -> Override:
        """In core's words."""
        return Override(
            self.per_minute_max,
            self.per_hour_max,
            self.per_day_max,
            self.concurrent_max,
            self.is_off,
        )


@dataclass(frozen=True, slots=True)
class CounterInUse:
    """Tokens taken in one window of a key."""

    scope: str
    key: str
    window_seconds: int
    bucket_at: list[int]
    bucket_used: list[int]


async def set_limit(tx: Tx, tenant_id: UUID, scope: str, key: str, given: Override) -> LimitRow:
    """The row as it is after the given values."""
    row = await sql.find(
        tx,
        SQL["set_limit"],
        LimitRow,
        tenant_id=tenant_id,
        scope=scope,
        key=key,
        **_columns(given),
    )
    assert row is not None, "an upsert returns its row"
    return row


async def set_installation_limit(tx: Tx, given: Override) -> LimitRow:
    """The installation's row after the given values."""
    row = await sql.find(tx, SQL["set_installation_limit"], LimitRow, **_columns(given))
    assert row is not None, "the migration made the one row"
    return row


async def get_installation_limit(tx: Tx) -> LimitRow:
    """What is set for the installation."""
    row = await sql.find(tx, SQL["get_installation_limit"], LimitRow)
    assert row is not None, "the migration made the one row"
    return row


async def list_limits(tx: Tx, tenant_id: UUID, *, rows_max: int) -> list[LimitRow]:
    """What the tenant has set."""
    query = SQL["list_limits"]
    return await sql.fetch_all(tx, query, LimitRow, tenant_id=tenant_id, rows_max=rows_max)


async def list_counters_in_use(tx: Tx, tenant_id: UUID, *, rows_max: int) -> list[CounterInUse]:
    """The tenant's counters that may hold live tokens."""
    query = SQL["list_counters_in_use"]
    return await sql.fetch_all(tx, query, CounterInUse, tenant_id=tenant_id, rows_max=rows_max)


async def get_now(tx: Tx) -> datetime:
    """The database's time at the transaction's start."""
    now: datetime = await sql.value(tx, SQL["get_now"])
    return now


async def end_limit_holds_of_tenant(tx: Tx, tenant_id: UUID) -> int:
    """End the tenant's holds by limits; how many."""
    return await sql.execute(tx, SQL["end_limit_holds_of_tenant"], tenant_id=tenant_id)


async def recall_promised_actions(tx: Tx, tenant_id: UUID) -> int:
    """Make due what limits had put off; how many actions."""
    return await sql.execute(tx, SQL["recall_promised_actions"], tenant_id=tenant_id)


async def forget_promises(tx: Tx, tenant_id: UUID) -> int:
    """Let the next promises begin from now."""
    return await sql.execute(tx, SQL["forget_promises"], tenant_id=tenant_id)


async def unpark_tenant(tx: Tx, tenant_id: UUID) -> int:
    """Have the sweep look at the tenant."""
    return await sql.execute(tx, SQL["unpark_tenant"], tenant_id=tenant_id)


def _columns(given: Override) -> dict[str, object]:
    return {
        "per_minute": given.per_minute,
        "per_hour": given.per_hour,
        "per_day": given.per_day,
        "concurrent": given.concurrent,
        "is_off": given.is_off,
    }
