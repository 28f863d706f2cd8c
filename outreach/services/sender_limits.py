"""What bounds a sender beyond its own windows: its reputation, its warm-up, and the pool it shares.

The claim asks here once it has its lanes. Tenants without IP pools pay nothing for them, and a
sender's first mail is written down once, when the provider has accepted it.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from outreach.core.gates import DueSend
from outreach.core.limits import DAY, WINDOWS, Scope, bucket_of
from outreach.core.mail import Mail
from outreach.core.outcome import Accepted
from outreach.core.states import Reputation
from outreach.core.warmup import day_number
from outreach.db import Database, Role
from outreach.services import tokens
from outreach.services.outcomes import Freed, Result
from outreach.services.tokens import Bound
from outreach.sql import Tx
from outreach.store import limits as limit_store
from outreach.store import pools as store
from outreach.store.counters import Tokens
from outreach.store.dispatch import Lane
from outreach.store.holds import SetHold
from outreach.store.pools import Pool

Pools = Mapping[str, Pool]


async def read_pools(tx: Tx, tenant_id: UUID, lanes: Sequence[Lane]) -> Pools:
    """The pools of these senders, with the tokens that each has left."""
    names = sorted({lane.ip_pool for lane in lanes if lane.ip_pool is not None})
    rows = await store.list_pool_tokens(tx, tenant_id, names) if names else []
    return {row.name: row for row in rows}


def within_pools(lanes: Sequence[Lane], pools: Pools) -> list[Lane]:
    """The lanes, none with more tokens than its pool."""
    return [
        lane
        if lane.ip_pool is None
        else replace(lane, free=min(lane.free, pools[lane.ip_pool].free))
        for lane in lanes
    ]


def share_pools(takes: Mapping[UUID, int], lanes: Sequence[Lane], pools: Pools) -> dict[UUID, int]:
    """What each sender takes, so that those of a pool take in equal turns what it has left."""
    left = {name: pool.free for name, pool in pools.items()}
    pool_of = {lane.sender_id: lane.ip_pool for lane in lanes}
    waiting = Tally(pool_of[sender_id] for sender_id in takes)
    shared: dict[UUID, int] = {}
    for sender_id, take in takes.items():
        name = pool_of[sender_id]
        if name is not None:
            take = min(take, -(-left[name] // waiting[name]))
            left[name] -= take
            waiting[name] -= 1
        if take > 0:
            shared[sender_id] = take
    return shared


def stops(lanes: Sequence[Lane]) -> list[SetHold]:
    """The holds of senders that may not send at all."""
    return [SetHold("sender", lane.sender_id, _stop_reason(lane)) for lane in lanes]


def _stop_reason(lane: Lane) -> str:
    if lane.is_paused:
        return "sender_paused"
    return "reputation_stopped" if lane.is_verified else "sender_unverified"


async def read_holds(
    tx: Tx, tenant_id: UUID, lanes: Sequence[Lane], pools: Pools, at: datetime
) -> list[SetHold]:
    """Why each of these senders, which has no token, has none, and until when."""
    own = {str(lane.sender_id): lane.caps() for lane in lanes if lane.caps()}
    bounds: Mapping[str, Bound] = {}
    if own:
        bounds, _ = await tokens.read_bounds(tx, tenant_id, Scope.SENDER, own, at)
    shared = {name: pool.caps() for name, pool in pools.items() if pool.free < 1}
    pool_bounds: Mapping[str, Bound] = {}
    if shared:
        pool_bounds, _ = await tokens.read_bounds(tx, tenant_id, Scope.POOL, shared, at)
    holds = []
    for lane in lanes:
        found = [_of_sender(lane, bounds[str(lane.sender_id)])] if lane.caps() else []
        if lane.ip_pool is not None and lane.ip_pool in pool_bounds:
            found.append(_of_pool(lane, pools[lane.ip_pool], pool_bounds[lane.ip_pool]))
        holds.append(max(found, key=lambda hold: hold.until or at))
    return holds


def _of_sender(lane: Lane, bound: Bound) -> SetHold:
    detail = bound.detail(Scope.SENDER, str(lane.sender_id))
    reason = bound.reason
    if lane.reputation == Reputation.SLOWED:
        reason = "reputation_slowed"
    elif bound.window_seconds == DAY and lane.is_warming:
        reason, detail = "limit_warmup", {**detail, "day": day_number(lane.warm_seconds)}
    return SetHold("sender", lane.sender_id, reason, bound.until, detail)


def _of_pool(lane: Lane, pool: Pool, bound: Bound) -> SetHold:
    detail = bound.detail(Scope.POOL, pool.name)
    reason = bound.reason
    if bound.window_seconds == DAY and pool.is_warming:
        detail = {**detail, "day": day_number(pool.warm_seconds), "sender": f"IP pool {pool.name}"}
        reason = "limit_warmup"
    return SetHold("sender", lane.sender_id, reason, bound.until, detail)


def taken(
    granted: Sequence[tuple[UUID, str]], lanes: Mapping[UUID, Lane], pools: Pools, at: datetime
) -> list[Tokens]:
    """The pools' tokens of a batch of (sender, domain)."""
    found: Tally[tuple[str, int]] = Tally()
    for sender_id, _ in granted:
        name = lanes[sender_id].ip_pool
        if name is not None:
            found.update((name, window) for window, _ in pools[name].caps())
    return [
        Tokens(Scope.POOL.value, name, window, bucket_of(at, window), count)
        for (name, window), count in sorted(found.items())
    ]


async def freed_of_pools(tx: Tx, tenant_id: UUID, freed: Sequence[Freed]) -> list[Tokens]:
    """The pools' tokens of what was not sent; of a sender that changed its pool since, none."""
    senders = sorted({one.sender_id for one in freed})
    pool_of = {row.sender_id: row for row in await store.list_sender_pools(tx, tenant_id, senders)}
    found: Tally[tuple[str, int, int]] = Tally()
    for one in freed:
        row = pool_of.get(one.sender_id)
        if row is not None and row.since < one.armed_at:
            found.update((row.name, window, bucket_of(one.armed_at, window)) for window in WINDOWS)
    return [
        Tokens(Scope.POOL.value, name, window, bucket, count)
        for (name, window, bucket), count in sorted(found.items())
    ]


async def count_everybodys(tx: Tx) -> int:
    """Requests on their way over all tenants, one's own among them, which nobody adds to before
    this transaction ends. Other tenants' claims wait here: it is a claim's last question."""
    await limit_store.lock_pace(tx)
    return await limit_store.count_everybodys(tx)


def newcomers(
    granted: Sequence[tuple[Mail, DueSend]], lanes: Mapping[UUID, Lane], pools: Pools
) -> dict[UUID, UUID]:
    """The senders, by message, that have not had a mail accepted, or their pool has not."""
    return {
        mail.message_id: due.sender_id
        for mail, due in granted
        if _is_new(lanes[due.sender_id], pools)
    }


def _is_new(lane: Lane, pools: Pools) -> bool:
    return lane.is_new or (lane.ip_pool is not None and pools[lane.ip_pool].is_new)


async def begin_warm_ups(
    db: Database, tenant_id: UUID, newcomers: Mapping[UUID, UUID], results: Sequence[Result]
) -> None:
    """The day of a new sender's first accepted mail is its first; lost in a crash, its next one."""
    if not newcomers:
        return
    accepted = [result.message_id for result in results if isinstance(result.outcome, Accepted)]
    senders = sorted({newcomers[id_] for id_ in accepted if id_ in newcomers})
    if senders:
        async with db.transaction(Role.WORKER, tenant_id) as tx:
            await store.begin_warm_ups(tx, tenant_id, senders)
