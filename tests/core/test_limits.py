"""Sliding windows: held in the provider's time, nearly used up, and the same in Python and SQL.

The oracle (`tests/support/windows.py`) shares no code with the counters: it slides a window over
the moments at which requests left.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outreach.core import limits
from outreach.core.limits import (
    DAY,
    DEFAULTS,
    HOUR,
    MINUTE,
    REASONS,
    START_SECONDS_MAX,
    WINDOWS,
    Counter,
    Limits,
    Override,
    Scope,
    bucket_of,
    bucket_seconds,
    dies_at,
    effective,
    expired_bucket,
    live_buckets,
)
from outreach.sql import Tx, value
from tests.support.windows import fullest_window, most_in_the_long_run

START = datetime(2026, 3, 29, 0, 0, tzinfo=UTC)
NO_CAP = 2_147_483_647

moments = st.integers(0, 10 * 365 * DAY * 1_000_000).map(
    lambda microseconds: START + timedelta(microseconds=microseconds)
)
windows = st.sampled_from(WINDOWS)
caps = st.integers(0, 50)


@st.composite
def counters(draw: st.DrawFn) -> tuple[datetime, int, Counter]:
    """A moment, a window, and a counter of about that time, dead buckets included."""
    at, window = draw(moments), draw(windows)
    now = bucket_of(at, window)
    ages = draw(st.lists(st.integers(0, 80), max_size=12, unique=True))
    numbers = sorted(now - age for age in ages)
    used = draw(st.lists(st.integers(0, 9), min_size=len(numbers), max_size=len(numbers)))
    return at, window, Counter.of(numbers, used)


def departures(
    rng: random.Random,
    cap: int,
    window: int,
    gap_seconds: Callable[[random.Random], float],
    span_seconds: float,
) -> list[float]:
    """When the requests of a random arrival process leave, up to two seconds after their grants."""
    used: dict[int, int] = {}
    left: list[float] = []
    now = 0.0
    while now < span_seconds:
        at = START + timedelta(seconds=now)
        counter = Counter.of(sorted(used), [used[number] for number in sorted(used)])
        free = cap - counter.live(at, window)
        granted = min(max(free, 0), rng.choice((1, 1, 3, 100)))
        if granted:
            bucket = bucket_of(at, window)
            used[bucket] = used.get(bucket, 0) + granted
            left += [now + rng.uniform(0, START_SECONDS_MAX) for _ in range(granted)]
        dead = expired_bucket(at, window)
        used = {number: count for number, count in used.items() if number > dead}
        now += gap_seconds(rng)
    return left


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("cap", [1, 7, 20])
@pytest.mark.parametrize("seed", range(4))
def test_no_sliding_window_is_over_its_cap(window: int, cap: int, seed: int) -> None:
    rng = random.Random(f"{seed} {window} {cap}")
    mean = window / cap / rng.choice((0.5, 2, 10))

    left = departures(rng, cap, window, lambda r: r.expovariate(1 / mean), window * 12)

    assert left
    assert fullest_window(left, window) <= cap


@pytest.mark.parametrize("window", WINDOWS)
def test_a_saturated_limit_is_used_to_nine_tenths(window: int) -> None:
    rng = random.Random(window)
    span = window * 30

    left = departures(rng, 20, window, lambda r: window / r.uniform(200, 400), span)

    assert fullest_window(left, window) <= 20
    assert len(left) >= 0.9 * most_in_the_long_run(20, window, span)


def test_the_oracle_sees_a_window_that_is_three_buckets_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A control: with the sixty buckets that a window seems to need, it must be over."""
    monkeypatch.setattr(limits, "live_buckets", lambda window: limits.SUB_BUCKETS)
    rng = random.Random(1)

    left = departures(rng, 20, MINUTE, lambda r: r.uniform(0.05, 0.3), 600)

    assert fullest_window(left, MINUTE) > 20


@pytest.mark.parametrize(("window", "buckets"), [(MINUTE, 63), (HOUR, 62), (DAY, 62)])
def test_a_token_outlives_its_window_and_the_time_to_leave(window: int, buckets: int) -> None:
    assert live_buckets(window) == buckets
    last_moment = START + timedelta(seconds=bucket_seconds(window) - 1e-6)
    assert bucket_of(last_moment, window) == bucket_of(START, window), "the end of one bucket"
    dead_from = dies_at(bucket_of(START, window), window)
    assert dead_from >= last_moment + timedelta(seconds=window + START_SECONDS_MAX)


@given(counters())
def test_a_bucket_lives_until_its_death_and_not_a_moment_longer(
    drawn: tuple[datetime, int, Counter],
) -> None:
    _, window, counter = drawn
    tick = timedelta(microseconds=1)
    for number, used in zip(counter.bucket_at, counter.bucket_used, strict=True):
        alone = Counter.of([number], [used])
        assert alone.live(dies_at(number, window) - tick, window) == used
        assert alone.live(dies_at(number, window), window) == 0


@given(counters(), caps, st.integers(1, 5))
def test_free_at_is_the_first_moment_with_enough(
    drawn: tuple[datetime, int, Counter], cap: int, wanted: int
) -> None:
    at, window, counter = drawn

    free_at = counter.free_at(cap, at, window, wanted=wanted)

    if cap < wanted:
        assert (free_at - at).total_seconds() == pytest.approx(window, abs=1e-5)
        return
    assert counter.live(free_at, window) + wanted <= cap, "it is free then"
    if free_at > at:
        just_before = free_at - timedelta(microseconds=1)
        assert counter.live(just_before, window) + wanted > cap, "and not before"


def test_free_at_of_an_empty_counter_is_now() -> None:
    assert Counter.of(None, None).free_at(1, START, MINUTE) == START


@given(
    st.sampled_from(list(Scope)),
    *[
        st.none()
        | st.builds(
            Override,
            *[st.none() | st.integers(0, 5)] * 3,
            st.none() | st.integers(1, 5),
            st.booleans(),
        )
    ]
    * 2,
)
def test_the_most_particular_word_decides(
    scope: Scope, own: Override | None, general: Override | None
) -> None:
    found = effective(scope, own, general)

    for name in ("per_minute", "per_hour", "per_day"):
        words = [override for override in (own, general) if override is not None]
        speaking = [o for o in words if o.is_off or getattr(o, name) is not None]
        expected = getattr(speaking[0] if speaking else DEFAULTS[scope], name)
        assert getattr(found, name) == expected
    pacing = [o.concurrent for o in (own, general) if o is not None and o.concurrent is not None]
    assert found.concurrent == (pacing[0] if pacing else None)


def test_off_lifts_windows_but_not_the_pace() -> None:
    found = effective(Scope.SENDER, Override(concurrent=3, is_off=True), Override(per_day=9))

    assert list(found.windows()) == []
    assert found.concurrent == 3


def test_windows_come_shortest_first_and_zero_is_a_cap() -> None:
    assert list(Limits(per_day=5, per_minute=0).windows()) == [(MINUTE, 0), (DAY, 5)]


def test_every_scope_and_window_has_its_code() -> None:
    assert set(REASONS) == {(scope, window) for scope in Scope for window in WINDOWS}


# --- the twins in SQL -----------------------------------------------------------------------

TWIN = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@TWIN
@given(drawn=counters())
async def test_live_tokens_and_expired_bucket_are_twins(
    tx: Tx, drawn: tuple[datetime, int, Counter]
) -> None:
    at, window, counter = drawn

    dead = await value(
        tx, "select expired_bucket(%(at)s::timestamptz, %(window)s::int)", at=at, window=window
    )
    live = await value(
        tx,
        "select live_tokens(%(at)s::int[], %(used)s::int[], %(dead)s::int)",
        at=list(counter.bucket_at),
        used=list(counter.bucket_used),
        dead=dead,
    )

    assert dead == expired_bucket(at, window)
    assert live == counter.live(at, window)


@TWIN
@given(
    own=st.none() | st.integers(0, 3),
    own_is_off=st.booleans(),
    general=st.none() | st.integers(0, 3),
    general_is_off=st.booleans(),
    scope=st.sampled_from(list(Scope)),
)
async def test_cap_in_force_is_a_twin_of_effective(
    tx: Tx,
    own: int | None,
    own_is_off: bool,
    general: int | None,
    general_is_off: bool,
    scope: Scope,
) -> None:
    expected = effective(
        scope,
        Override(per_hour=own, is_off=own_is_off),
        Override(per_hour=general, is_off=general_is_off),
    ).per_hour

    found = await value(
        tx,
        "select cap_in_force(%(a)s::int, %(b)s, %(c)s::int, %(d)s, %(e)s::int)",
        a=own,
        b=own_is_off,
        c=general,
        d=general_is_off,
        e=DEFAULTS[scope].per_hour,
    )

    assert found == (NO_CAP if expected is None else expected)


async def test_a_rule_that_is_not_there_speaks_of_nothing(tx: Tx) -> None:
    """A missing row reaches `cap_in_force` as nulls."""
    assert await value(tx, "select cap_in_force(null, null, null, null, 20)") == 20
    assert await value(tx, "select cap_in_force(null, null, null, null, null)") == NO_CAP


def test_the_bucket_numbers_fit_their_column() -> None:
    assert bucket_of(datetime(2038, 1, 19, tzinfo=UTC), MINUTE) < 2**31
    assert math.floor(START.timestamp()) == bucket_of(START, MINUTE)
