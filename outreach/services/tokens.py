"""How many messages a batch may grant, and what stands in the way when it is none.

The claim asks in terms of *free* counts; the counters themselves are read only where a scope has
nothing left, to say which window binds and when it frees.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outreach.core.limits import (
    REASONS,
    WINDOWS,
    Counter,
    Limits,
    Override,
    Scope,
    bucket_of,
    effective,
)
from outreach.sql import Tx
from outreach.store import counters
from outreach.store.counters import Tokens
from outreach.store.dispatch import Budget, DomainTokens, Lane


@dataclass(frozen=True, slots=True)
class Bound:
    """The limit that binds: its decision code, when a token frees, and what is said of it."""

    reason: str
    until: datetime
    window_seconds: int
    cap: int

    def detail(self, scope: Scope, key: str) -> dict[str, object]:
        """For the decision: what people read."""
        return {"scope": scope.value, "key": key, "n": self.cap, "window": self.window_seconds}


def tenant_limits(budget: Budget) -> Limits:
    """The tenant's caps in force."""
    minute, hour, day = budget.tenant_caps
    return effective(Scope.TENANT, Override(minute, hour, day, is_off=budget.tenant_is_off))


def installation_limits(budget: Budget) -> Limits:
    """The installation's caps in force."""
    minute, hour, day = budget.installation_caps
    override = Override(minute, hour, day, is_off=budget.installation_is_off)
    return effective(Scope.INSTALLATION, override)


def free_of(limits: Limits, live: Sequence[int]) -> int | None:
    """Tokens left over all windows, from the live ones by window; None without a cap."""
    used = dict(zip(WINDOWS, live, strict=True))
    return min((cap - used[window] for window, cap in limits.windows()), default=None)


def bound_of(
    scope: Scope,
    caps: Sequence[tuple[int, int]],
    rows: Mapping[int, Counter],
    at: datetime,
) -> Bound:
    """Of a scope without tokens: the window that frees last."""
    waits = [
        (rows.get(window, Counter()).free_at(cap, at, window), window, cap) for window, cap in caps
    ]
    until, window, cap = max(waits)
    return Bound(REASONS[scope, window], until, window, cap)


async def read_bounds(
    tx: Tx,
    tenant_id: UUID,
    scope: Scope,
    wanted: Mapping[str, Sequence[tuple[int, int]]],
    at: datetime,
) -> tuple[dict[str, Bound], dict[tuple[str, int], datetime]]:
    """What binds each key of a scope, and how far promises of its windows reach already."""
    rows = await counters.list_counters(tx, tenant_id, [(scope.value, key) for key in wanted])
    by_key: dict[str, dict[int, Counter]] = {key: {} for key in wanted}
    promised: dict[tuple[str, int], datetime] = {}
    for row in rows:
        by_key[row.key][row.window_seconds] = Counter.of(row.bucket_at, row.bucket_used)
        if row.promised_until is not None:
            promised[row.key, row.window_seconds] = row.promised_until
    bounds = {key: bound_of(scope, caps, by_key[key], at) for key, caps in wanted.items()}
    return bounds, promised


async def read_installation_bound(tx: Tx, limits: Limits, at: datetime) -> Bound:
    """What binds the whole installation."""
    rows = await counters.list_installation_counters(tx)
    by_window = {row.window_seconds: Counter.of(row.bucket_at, row.bucket_used) for row in rows}
    return bound_of(Scope.INSTALLATION, list(limits.windows()), by_window, at)


def share(lanes: Sequence[Lane], total: int) -> dict[UUID, int]:
    """How many actions to take of each ready sender: equal turns, within its tokens."""
    takes: dict[UUID, int] = {}
    left = total
    for place, lane in enumerate(lanes):
        turn = -(-left // (len(lanes) - place))
        take = min(turn, room_of(lane), left)
        if take > 0:
            takes[lane.sender_id] = take
            left -= take
    return takes


def room_of(lane: Lane) -> int:
    """What a sender may begin now: its tokens, and its free places where it has a maximum."""
    if lane.concurrent_max is None:
        return lane.free
    return min(lane.free, lane.concurrent_max - lane.armed)


def taken(
    granted: Sequence[tuple[UUID, str]],
    lanes: Mapping[UUID, Lane],
    domains: Mapping[str, DomainTokens],
    tenant: Limits,
    at: datetime,
) -> list[Tokens]:
    """The tokens of a batch of (sender, domain), one entry a counter that has a cap."""
    buckets = {window: bucket_of(at, window) for window in WINDOWS}
    of_senders = Tally(sender_id for sender_id, _ in granted)
    of_domains = Tally(domain for _, domain in granted)
    found = [
        Tokens(Scope.DOMAIN.value, domain, window, buckets[window], count)
        for domain, count in sorted(of_domains.items())
        for window, _ in domains[domain].caps()
    ]
    found += [
        Tokens(Scope.SENDER.value, str(sender_id), window, buckets[window], count)
        for sender_id, count in sorted(of_senders.items())
        for window, _ in lanes[sender_id].caps()
    ]
    found += [
        Tokens(Scope.TENANT.value, "", window, buckets[window], len(granted))
        for window, _ in tenant.windows()
    ]
    return found


def every_window(armed: Sequence[tuple[UUID, str, datetime]]) -> list[Tokens]:
    """The tokens that messages of (sender, domain, granted at) took, in every window."""
    found: Tally[tuple[Scope, str, int, int]] = Tally()
    for sender_id, domain, at in armed:
        for window in WINDOWS:
            bucket = bucket_of(at, window)
            found[Scope.SENDER, str(sender_id), window, bucket] += 1
            found[Scope.DOMAIN, domain, window, bucket] += 1
            found[Scope.TENANT, "", window, bucket] += 1
    return [
        Tokens(scope.value, key, window, bucket, count)
        for (scope, key, window, bucket), count in sorted(found.items())
    ]


def installation_windows(armed: Sequence[datetime]) -> list[tuple[int, int, int]]:
    """(window, bucket, count) of messages granted at these moments."""
    found: Tally[tuple[int, int]] = Tally(
        (window, bucket_of(at, window)) for at in armed for window in WINDOWS
    )
    return [(window, bucket, count) for (window, bucket), count in sorted(found.items())]
