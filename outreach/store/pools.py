"""Rows of `ip_pools`, and the first mails of senders and pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outreach import sql
from outreach.core.limits import DAY, DEFAULTS, HOUR, MINUTE, Scope
from outreach.core.warmup import CAP_MAX
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool, and the tokens that it has left."""

    name: str
    minute_cap: int
    hour_cap: int
    day_cap: int
    free: int
    is_warming: bool
    warm_seconds: float
    is_new: bool  # nothing was accepted by it yet

    def caps(self) -> list[tuple[int, int]]:
        """(window, cap) of the windows that have one."""
        pairs = ((MINUTE, self.minute_cap), (HOUR, self.hour_cap), (DAY, self.day_cap))
        return [(window, cap) for window, cap in pairs if cap != CAP_MAX]


@dataclass(frozen=True, slots=True)
class PoolStart:
    """When a pool's warm-up began."""

    name: str
    first_sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class SenderPool:
    """By which pool a sender sends, and since when."""

    sender_id: UUID
    name: str
    since: datetime


async def list_pool_tokens(tx: Tx, tenant_id: UUID, names: Sequence[str]) -> list[Pool]:
    """The tokens left of each of the pools; the tenant's lock is held."""
    limits = DEFAULTS[Scope.POOL]
    return await sql.fetch_all(
        tx,
        SQL["list_pool_tokens"],
        Pool,
        tenant_id=tenant_id,
        names=list(names),
        minute_default=limits.per_minute,
        hour_default=limits.per_hour,
        day_default=limits.per_day,
        warmup_default=limits.warm_up,
    )


async def list_pools(tx: Tx, tenant_id: UUID, *, rows_max: int) -> list[PoolStart]:
    """The tenant's pools by name."""
    query = SQL["list_pools"]
    return await sql.fetch_all(tx, query, PoolStart, tenant_id=tenant_id, rows_max=rows_max)


async def list_sender_pools(
    tx: Tx, tenant_id: UUID, sender_ids: Sequence[UUID]
) -> list[SenderPool]:
    """The pools of these senders, of those that have one."""
    return await sql.fetch_all(
        tx,
        SQL["list_sender_pools"],
        SenderPool,
        tenant_id=tenant_id,
        sender_ids=list(sender_ids),
    )


async def begin_warm_ups(tx: Tx, tenant_id: UUID, sender_ids: Sequence[UUID]) -> None:
    """Write down the first accepted mail of senders and pools that have none yet."""
    query = SQL["begin_warm_ups"]
    await sql.execute(tx, query, tenant_id=tenant_id, sender_ids=list(sender_ids))


async def set_sender_pool(tx: Tx, tenant_id: UUID, sender_id: UUID, name: str | None) -> bool:
    """Whether the sender went by another pool, or by none, until now; the tenant's lock is held."""
    query = SQL["set_sender_pool"]
    return bool(await sql.execute(tx, query, tenant_id=tenant_id, sender_id=sender_id, name=name))
