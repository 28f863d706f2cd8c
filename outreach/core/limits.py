"""Sliding windows of sends, held exactly, at the price of a few per cent.

A window is counted in sub-buckets of a sixtieth of its length. A token taken in bucket *b* stays
live while the current bucket is less than `live_buckets` later: 60 for the window itself, one
because the present bucket has only begun, and as many more as a granted request may take to leave
(`START_SECONDS_MAX`), so that the limit holds in the provider's time too. Hence 63 for a minute.
A message takes a token in every window of every scope, or none at all.

Counters are sparse: two arrays, bucket numbers (seconds since the epoch // bucket length, rising)
and tokens taken in each.

Source: the brute-force oracle of tests/core/test_limits.py, which finds no window over its limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from outreach.core.states import Reputation
from outreach.core.warmup import ramp_cap

SUB_BUCKETS = 60
START_SECONDS_MAX = 2.0  # a request that has not begun this long after its grant is not sent

MINUTE, HOUR, DAY = 60, 3600, 86_400
WINDOWS = (MINUTE, HOUR, DAY)


class Scope(StrEnum):
    """What a limit is for; also the order in which the binding one is named."""

    SENDER = "sender"
    POOL = "pool"
    TENANT = "tenant"
    DOMAIN = "domain"
    INSTALLATION = "installation"


@dataclass(frozen=True, slots=True)
class Limits:
    """The caps of one scope: None is no cap at all."""

    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None
    concurrent: int | None = None
    warm_up: int | None = None  # the day cap of the first days (core/warmup.py)

    def windows(self) -> Iterable[tuple[int, int]]:
        """(window in seconds, cap), shortest first."""
        for window, cap in zip(
            WINDOWS, (self.per_minute, self.per_hour, self.per_day), strict=True
        ):
            if cap is not None:
                yield window, cap


# 2,000 a day is what the large mailbox hosts let one address send to people outside.
DEFAULTS: Mapping[Scope, Limits] = {
    Scope.SENDER: Limits(per_minute=20, per_hour=1_000, per_day=2_000, warm_up=200),
    Scope.POOL: Limits(warm_up=200),
    Scope.TENANT: Limits(per_hour=5_000),
    Scope.DOMAIN: Limits(per_hour=200),
    Scope.INSTALLATION: Limits(per_hour=20_000),
}

REASONS: Mapping[tuple[Scope, int], str] = {
    (Scope.SENDER, MINUTE): "limit_minute",
    (Scope.SENDER, HOUR): "limit_hour",
    (Scope.SENDER, DAY): "limit_day",
    **{(Scope.POOL, window): "limit_pool" for window in WINDOWS},
    **{(Scope.TENANT, window): "limit_tenant" for window in WINDOWS},
    **{(Scope.DOMAIN, window): "limit_domain" for window in WINDOWS},
    **{(Scope.INSTALLATION, window): "limit_installation" for window in WINDOWS},
}


@dataclass(frozen=True, slots=True)
class Override:
    """What a tenant or the operator has set for a scope; None falls back to the next wider word."""

    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None
    concurrent: int | None = None
    is_off: bool = False
    warm_up: int | None = None
    bounce_percent: float | None = None
    complaint_percent: float | None = None


def effective(scope: Scope, *overrides: Override | None) -> Limits:
    """The limits in force: for each window the first override that speaks of it, else the default.

    Overrides come the most particular first. `is_off` speaks of every window, day cap and warm-up
    included, and lifts it; it does not lift `concurrent`, which paces and is no window.
    """
    given = [override for override in overrides if override is not None]
    default = DEFAULTS[scope]

    def cap(values: Iterable[tuple[int | None, bool]], fallback: int | None) -> int | None:
        for value, is_off in values:
            if value is not None or is_off:
                return value
        return fallback

    return Limits(
        cap(((o.per_minute, o.is_off) for o in given), default.per_minute),
        cap(((o.per_hour, o.is_off) for o in given), default.per_hour),
        cap(((o.per_day, o.is_off) for o in given), default.per_day),
        cap(((o.concurrent, False) for o in given), default.concurrent),
        cap(((o.warm_up, o.is_off) for o in given), default.warm_up),
    )


def in_force(limits: Limits, warm_seconds: float, reputation: Reputation) -> Limits:
    """The caps of this moment: the day's within its warm-up, all of them by reputation."""
    ramp = ramp_cap(limits.warm_up, warm_seconds)
    caps = [cap for cap in (limits.per_day, ramp) if cap is not None]
    return Limits(
        slowed(limits.per_minute, reputation),
        slowed(limits.per_hour, reputation),
        slowed(min(caps, default=None), reputation),
        limits.concurrent,
        limits.warm_up,
    )


def is_warming(limits: Limits, warm_seconds: float) -> bool:
    """Whether the warm-up allows less than the day cap does."""
    ramp = ramp_cap(limits.warm_up, warm_seconds)
    return ramp is not None and (limits.per_day is None or ramp < limits.per_day)


def slowed(cap: int | None, reputation: Reputation) -> int | None:
    """What is left of a cap: half of it for a sender that is slowed, and at least one."""
    if cap is None or cap <= 1 or reputation is not Reputation.SLOWED:
        return cap
    return cap // 2


def bucket_seconds(window_seconds: int) -> int:
    """The length of a sub-bucket: 1, 60 and 1,440 seconds for the three windows."""
    return window_seconds // SUB_BUCKETS


def bucket_of(at: datetime, window_seconds: int) -> int:
    """The number of the sub-bucket that a moment lies in; fits 32 bits until 2038 and beyond."""
    return math.floor(at.timestamp()) // bucket_seconds(window_seconds)


def live_buckets(window_seconds: int) -> int:
    """For how many buckets, its own included, a token stays taken."""
    return SUB_BUCKETS + 1 + math.ceil(START_SECONDS_MAX / bucket_seconds(window_seconds))


def expired_bucket(at: datetime, window_seconds: int) -> int:
    """The newest bucket that no longer counts at a moment."""
    return bucket_of(at, window_seconds) - live_buckets(window_seconds)


@dataclass(frozen=True, slots=True)
class Counter:
    """Tokens taken, by rising bucket number."""

    bucket_at: tuple[int, ...] = ()
    bucket_used: tuple[int, ...] = ()

    @classmethod
    def of(cls, bucket_at: Sequence[int] | None, bucket_used: Sequence[int] | None) -> Counter:
        """From the two arrays of a row, or an empty one."""
        return cls(tuple(bucket_at or ()), tuple(bucket_used or ()))

    def live(self, at: datetime, window_seconds: int) -> int:
        """Tokens that still count at a moment."""
        since = expired_bucket(at, window_seconds)
        pairs = zip(self.bucket_at, self.bucket_used, strict=True)
        return sum(used for bucket, used in pairs if bucket > since)

    def free_at(self, cap: int, at: datetime, window_seconds: int, *, wanted: int = 1) -> datetime:
        """The first moment at which `wanted` tokens are free, if nobody takes one before.

        With a cap under `wanted` that never comes; the answer is then a whole window away.
        """
        excess = self.live(at, window_seconds) + wanted - cap
        if excess <= 0:
            return at
        since = expired_bucket(at, window_seconds)
        for bucket, used in zip(self.bucket_at, self.bucket_used, strict=True):
            if bucket > since:
                excess -= used
                if excess <= 0:
                    return dies_at(bucket, window_seconds)
        return datetime.fromtimestamp(at.timestamp() + window_seconds, UTC)


def dies_at(bucket: int, window_seconds: int) -> datetime:
    """When the tokens of a bucket stop counting."""
    first_free = bucket + live_buckets(window_seconds)
    return datetime.fromtimestamp(first_free * bucket_seconds(window_seconds), UTC)
