"""The limits of a simulation: the same sliding windows as the claim's, held in memory.

Windows, sub-buckets, warm-up and the moment at which a token frees are those of `core.limits`; what
is left out is what a plan cannot know: other campaigns' mail, requests in flight, retries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from outreach.core.limits import (
    DAY,
    DEFAULTS,
    REASONS,
    Limits,
    Scope,
    bucket_of,
    dies_at,
    expired_bucket,
    in_force,
    is_warming,
)
from outreach.core.states import Reputation
from outreach.core.warmup import Warmth

SenderKey = UUID | None  # None: one of which nothing is known
NEVER = timedelta(days=400)  # longer than any simulation


@dataclass(frozen=True, slots=True)
class Caps:
    """The limits that a simulation keeps, and how far its senders' warm-up has come."""

    limits: Mapping[Scope, Limits] = field(default_factory=lambda: DEFAULTS)
    warmth: Mapping[SenderKey, Warmth] = field(default_factory=dict)
    sender_limits: Mapping[SenderKey, Limits] = field(default_factory=dict)
    domain_limits: Mapping[int, Limits] = field(default_factory=dict)  # by the domain's number
    own: SenderKey = None  # who sends where a node names nobody

    def of_sender(self, key: SenderKey) -> Limits:
        """That sender's own, else those of every sender."""
        return self.sender_limits.get(key, self.limits[Scope.SENDER])


@dataclass(frozen=True, slots=True)
class Bound:
    """Why nothing may go now, and when the next may."""

    reason: str
    until: datetime


class _Window:
    """Tokens taken in one window, oldest bucket first."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self._buckets: deque[list[int]] = deque()
        self._live = 0

    def free(self, cap: int, at: datetime) -> int:
        """How many tokens are left."""
        since = expired_bucket(at, self.seconds)
        while self._buckets and self._buckets[0][0] <= since:
            self._live -= self._buckets.popleft()[1]
        return cap - self._live

    def free_at(self, cap: int, at: datetime) -> datetime:
        """When the next token frees, of a window that is full."""
        if cap < 1:
            return at + NEVER
        excess = 1 - self.free(cap, at)
        for bucket, used in self._buckets:
            excess -= used
            if excess <= 0:
                return dies_at(bucket, self.seconds)
        raise AssertionError("a window with no token left has taken some")

    def take(self, at: datetime) -> None:
        """One token."""
        bucket = bucket_of(at, self.seconds)
        if self._buckets and self._buckets[-1][0] == bucket:
            self._buckets[-1][1] += 1
        else:
            self._buckets.append([bucket, 1])
        self._live += 1


class _Scope:
    """The windows of one key of a scope, by the limits of the moment."""

    def __init__(self, scope: Scope, limits: Limits, warmth: Warmth) -> None:
        self._scope, self._limits, self._warmth = scope, limits, warmth
        self._windows = {seconds: _Window(seconds) for seconds, _ in limits.windows()}
        if limits.warm_up is not None:
            self._windows.setdefault(DAY, _Window(DAY))

    def bound(self, at: datetime) -> Bound | None:
        """The window that frees last of those that are full; None where each has a token."""
        warm_seconds = self._warmth.seconds(at)
        limits = in_force(self._limits, warm_seconds, self._warmth.reputation)
        found: Bound | None = None
        for seconds, cap in limits.windows():
            window = self._windows[seconds]
            if window.free(cap, at) < 1:
                until = window.free_at(cap, at)
                if found is None or until > found.until:
                    is_ramp = seconds == DAY and is_warming(self._limits, warm_seconds)
                    found = Bound(self._reason(seconds, is_ramp=is_ramp), until)
        return found

    def free(self, at: datetime) -> int | None:
        """How many may go now; None is any number."""
        limits = in_force(self._limits, self._warmth.seconds(at), self._warmth.reputation)
        left = [self._windows[seconds].free(cap, at) for seconds, cap in limits.windows()]
        return max(min(left), 0) if left else None

    def take(self, at: datetime) -> None:
        """A token in each window; the first begins the warm-up."""
        if self._warmth.first_sent_at is None:
            self._warmth = replace(self._warmth, first_sent_at=at)
        for window in self._windows.values():
            window.take(at)

    def _reason(self, seconds: int, *, is_ramp: bool) -> str:
        if self._scope is Scope.SENDER and self._warmth.reputation is Reputation.SLOWED:
            return "reputation_slowed"
        return "limit_warmup" if is_ramp else REASONS[self._scope, seconds]


class Tokens:
    """All scopes at once."""

    def __init__(self, caps: Caps) -> None:
        self._caps = caps
        self._senders: dict[SenderKey, _Scope] = {}
        self._domains: dict[int, _Scope] = {}
        self._shared = [
            _Scope(scope, caps.limits[scope], Warmth(None))
            for scope in (Scope.TENANT, Scope.INSTALLATION)
        ]

    def bound(self, sender: SenderKey, at: datetime) -> Bound | None:
        """What keeps the whole sender from sending now."""
        found = [bound for scope in self._of(sender) if (bound := scope.bound(at)) is not None]
        return max(found, key=lambda bound: bound.until, default=None)

    def domain_bound(self, domain: int | None, at: datetime) -> Bound | None:
        """What keeps mail to the domain from going now; None for one that is small."""
        return None if domain is None else self._of_domain(domain).bound(at)

    def domain_free(self, domain: int, at: datetime) -> int | None:
        """How many may go to the domain now; None is any number."""
        return self._of_domain(domain).free(at)

    def take(self, sender: SenderKey, domain: int | None, at: datetime) -> None:
        """A token of every scope; each was seen to have one."""
        for scope in self._of(sender):
            scope.take(at)
        if domain is not None:
            self._of_domain(domain).take(at)

    def _of(self, key: SenderKey) -> list[_Scope]:
        if key not in self._senders:
            warmth = self._caps.warmth.get(key, Warmth(None))
            self._senders[key] = _Scope(Scope.SENDER, self._caps.of_sender(key), warmth)
        return [self._senders[key], *self._shared]

    def _of_domain(self, domain: int) -> _Scope:
        if domain not in self._domains:
            limits = self._caps.domain_limits.get(domain, self._caps.limits[Scope.DOMAIN])
            self._domains[domain] = _Scope(Scope.DOMAIN, limits, Warmth(None))
        return self._domains[domain]
