"""The simulation's windows are the claim's: the same tokens left, free at the same moment."""

from __future__ import annotations

import random
from datetime import timedelta
from uuid import UUID

from outreach.core.limits import DAY, HOUR, MINUTE, Counter, Limits, Scope, bucket_of
from outreach.core.simulate_tokens import Caps, Tokens
from outreach.core.states import Reputation
from outreach.core.warmup import Warmth
from tests.core.transitions_support import T0

ALONE = {scope: Limits() for scope in Scope}


def test_a_window_answers_as_the_counter_of_the_claim() -> None:
    chance = random.Random(5)
    for window, limits in (
        (MINUTE, Limits(per_minute=7)),
        (HOUR, Limits(per_hour=7)),
        (DAY, Limits(per_day=7)),
    ):
        tokens, taken, at = Tokens(Caps({**ALONE, Scope.SENDER: limits})), list[int](), T0
        for _ in range(400):
            at += timedelta(seconds=chance.random() * window / 10)
            counter = Counter(tuple(sorted(set(taken))), counts(taken))
            bound, is_full = tokens.bound(None, at), counter.live(at, window) >= 7
            assert (bound is not None) is is_full
            if bound is None:
                tokens.take(None, None, at)
                taken.append(bucket_of(at, window))
            else:
                assert bound.until == counter.free_at(7, at, window)


def counts(taken: list[int]) -> tuple[int, ...]:
    return tuple(taken.count(bucket) for bucket in sorted(set(taken)))


def test_a_warm_sender_has_its_cap_and_a_slowed_one_half() -> None:
    limits = {**ALONE, Scope.SENDER: Limits(per_day=10, warm_up=2)}
    long_ago = Warmth(T0 - timedelta(days=60))
    slowed = Warmth(T0 - timedelta(days=60), reputation=Reputation.SLOWED, since=T0)
    for warmth, cap, reason in (
        (Warmth(None), 2, "limit_warmup"),
        (long_ago, 10, "limit_day"),
        (slowed, 5, "reputation_slowed"),
    ):
        tokens = Tokens(Caps(limits, warmth={None: warmth}))
        for _ in range(cap):
            assert tokens.bound(None, T0) is None
            tokens.take(None, None, T0)
        bound = tokens.bound(None, T0)
        assert bound is not None
        assert bound.reason == reason


def test_senders_have_windows_of_their_own_and_share_the_tenants() -> None:
    limits = {**ALONE, Scope.SENDER: Limits(per_hour=1), Scope.TENANT: Limits(per_hour=2)}
    tokens = Tokens(Caps(limits))
    first, second, third = None, *(uuid_of(n) for n in (1, 2))
    for sender in (first, second):
        assert tokens.bound(sender, T0) is None
        tokens.take(sender, None, T0)
    bound = tokens.bound(third, T0)
    assert bound is not None
    assert bound.reason == "limit_tenant"


def uuid_of(number: int) -> UUID:
    return UUID(int=number)
