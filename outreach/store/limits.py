"""Rows of `send_rate_limits`, the installation's limits, and counters as people see them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outreach import sql
from outreach.core.limits import Override
from outreach.core.reputation import WINDOW_HOURS, Tally
from outreach.core.states import Reputation
from outreach.core.warmup import Warmth
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
    warmup_max: int | None = None
    bounce_percent_max: float | None = None
    complaint_percent_max: float | None = None

    def override(self) -> Override:
        """In core's words."""
        return Override(
            self.per_minute_max,
            self.per_hour_max,
            self.per_day_max,
            self.concurrent_max,
            self.is_off,
            self.warmup_max,
            self.bounce_percent_max,
            self.complaint_percent_max,
        )


@dataclass(frozen=True, slots=True)
class CounterInUse:
    """Tokens taken in one window of a key."""

    scope: str
    key: str
    window_seconds: int
    bucket_at: list[int]
    bucket_used: list[int]


@dataclass(frozen=True, slots=True)
class Brake:
    """A sender, and what bounds it beside its windows."""

    id: UUID
    from_email: str
    ip_pool: str | None
    first_sent_at: datetime | None
    warmup_lost_seconds: float
    reputation: str
    reputation_at: datetime
    settled: int
    bounced: int
    complained: int

    def warmth(self) -> Warmth:
        """How far its warm-up has come, in core's words."""
        since, lost = self.reputation_at, self.warmup_lost_seconds
        return Warmth(self.first_sent_at, lost, Reputation(self.reputation), since)

    def tally(self) -> Tally:
        """What became of its mail, in core's words."""
        return Tally(self.settled, self.bounced, self.complained)


@dataclass(frozen=True, slots=True)
class Running:
    """How many requests of a sender are on their way; of everybody where there is no sender."""

    sender_id: UUID | None
    requests: int


async def set_limit(tx: Tx, tenant_id: UUID, scope: str, key: str, given: Override) -> LimitRow:
    """The row as it is after the given values."""
    row = await sql.find(
        tx,
        SQL["set_limit"],
        LimitRow,
        tenant_id=tenant_id,
        scope=scope,
        key=key,
        warm_up=given.warm_up,
        bounce_percent=given.bounce_percent,
        complaint_percent=given.complaint_percent,
        **_columns(given),
    )
    assert row is not None, "an upsert returns its row"
    return row


async def set_installation_limit(tx: Tx, given: Override) -> LimitRow:
    """The installation's row after the given values."""
    row = await sql.find(tx, SQL["set_installation_limit"], LimitRow, **_columns(given))
    assert row is not None, "the migration made the one row"
    return row


async def unset_limit(tx: Tx, tenant_id: UUID, scope: str, key: str) -> LimitRow | None:
    """Take a rule away; the rule, if there was one."""
    query = SQL["unset_limit"]
    return await sql.find(tx, query, LimitRow, tenant_id=tenant_id, scope=scope, key=key)


async def unset_installation_limit(tx: Tx) -> LimitRow | None:
    """Take away what is set for the installation; what that was, if anything was."""
    return await sql.find(tx, SQL["unset_installation_limit"], LimitRow)


async def get_installation_limit(tx: Tx) -> LimitRow:
    """What is set for the installation."""
    row = await sql.find(tx, SQL["get_installation_limit"], LimitRow)
    assert row is not None, "the migration made the one row"
    return row


async def list_limits(tx: Tx, tenant_id: UUID, *, rows_max: int) -> list[LimitRow]:
    """What the tenant has set."""
    query = SQL["list_limits"]
    return await sql.fetch_all(tx, query, LimitRow, tenant_id=tenant_id, rows_max=rows_max)


async def list_brakes(tx: Tx, tenant_id: UUID, *, rows_max: int) -> list[Brake]:
    """The tenant's senders by address."""
    params = {"tenant_id": tenant_id, "hours": WINDOW_HOURS, "rows_max": rows_max}
    return await sql.fetch_all(tx, SQL["list_brakes"], Brake, **params)


async def list_running(tx: Tx, tenant_id: UUID) -> list[Running]:
    """The tenant's requests on their way by sender, and everybody's; as the worker."""
    return await sql.fetch_all(tx, SQL["list_running"], Running, tenant_id=tenant_id)


async def lock_pace(tx: Tx) -> None:
    """Wait for the claims of others that are about to commit; the last lock but the wake-ups."""
    await tx.execute(SQL["lock_pace"])


async def count_everybodys(tx: Tx) -> int:
    """Requests on their way over all tenants, as they are now."""
    count: int = await sql.value(tx, SQL["count_everybodys"])
    return count


async def list_counters_in_use(tx: Tx, tenant_id: UUID, *, rows_max: int) -> list[CounterInUse]:
    """The tenant's counters that may hold live tokens."""
    query = SQL["list_counters_in_use"]
    return await sql.fetch_all(tx, query, CounterInUse, tenant_id=tenant_id, rows_max=rows_max)


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
