"""A warm-up: from the first send, doubling every three days, stretched by a lower reputation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from outreach.core.limits import DEFAULTS, Limits, Scope, in_force, is_warming, slowed
from outreach.core.states import Reputation
from outreach.core.warmup import CAP_MAX, Warmth, day_number, ramp_cap
from outreach.sql import Tx, value

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DAY = 86_400.0
TWIN = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

reputations = st.sampled_from(list(Reputation))
ages = st.floats(-DAY, 4_000 * DAY, allow_nan=False)


@pytest.mark.parametrize(
    ("days", "cap"),
    [
        (0, 200),
        (2.999, 200),
        (3, 400),
        (5.999, 400),
        (6, 800),
        (9, 1_600),
        (12, 2_000),
        (99, 2_000),
    ],
)
def test_a_senders_day_doubles_every_three_days_until_its_cap(days: float, cap: int) -> None:
    limits = DEFAULTS[Scope.SENDER]
    assert in_force(limits, days * DAY, Reputation.GOOD).per_day == cap
    assert is_warming(limits, days * DAY) is (days < 12)


def test_days_are_counted_from_the_first_send_and_not_before() -> None:
    assert Warmth(None).seconds(START) == 0
    assert Warmth(START).seconds(START + timedelta(days=4)) == 4 * DAY
    assert Warmth(START).seconds(START - timedelta(days=1)) == 0, "a clock that was set back"
    assert [day_number(days * DAY) for days in (0, 0.99, 1, 3)] == [1, 1, 2, 4]


@pytest.mark.parametrize(
    ("reputation", "days"),
    [(Reputation.GOOD, 10), (Reputation.SLOWED, 7), (Reputation.STOPPED, 4)],
)
def test_a_lower_reputation_stretches_it(reputation: Reputation, days: float) -> None:
    since = START + timedelta(days=4)
    warmth = Warmth(START, 0.0, reputation, since)
    assert warmth.seconds(since) == 4 * DAY
    assert warmth.seconds(START + timedelta(days=10)) == days * DAY


def test_what_was_lost_stays_lost() -> None:
    later = START + timedelta(days=10)
    lost = Warmth(START, 0.0, Reputation.STOPPED, START + timedelta(days=4)).losing_seconds(later)
    assert Warmth(START, lost, Reputation.GOOD, later).seconds(later) == 4 * DAY


def test_a_first_day_at_the_cap_is_no_warm_up_and_none_is_none() -> None:
    assert not is_warming(Limits(per_day=100, warm_up=100), 0)
    assert not is_warming(Limits(per_day=100), 0)
    assert in_force(Limits(warm_up=0), 99 * DAY, Reputation.GOOD).per_day == 0
    assert in_force(Limits(), 0, Reputation.SLOWED) == Limits()
    assert ramp_cap(200, 1e9) == CAP_MAX


@pytest.mark.parametrize(("cap", "half"), [(None, None), (0, 0), (1, 1), (2, 1), (7, 3), (20, 10)])
def test_a_slowed_sender_has_half_of_each_limit(cap: int | None, half: int | None) -> None:
    assert slowed(cap, Reputation.SLOWED) == half
    assert slowed(cap, Reputation.GOOD) == cap


@TWIN
@given(first=st.integers(0, CAP_MAX), seconds=ages)
@example(first=1, seconds=5e-324)
@example(first=1, seconds=3 * DAY - 1e-9)
async def test_ramp_cap_is_a_twin(tx: Tx, first: int, seconds: float) -> None:
    found = await value(tx, "select ramp_cap(%(f)s::int, %(s)s::float8)", f=first, s=seconds)
    assert found == ramp_cap(first, seconds)


@TWIN
@given(cap=st.integers(0, CAP_MAX), reputation=reputations)
async def test_slowed_cap_is_a_twin(tx: Tx, cap: int, reputation: Reputation) -> None:
    query = "select slowed_cap(%(c)s::int, %(r)s::reputation_state)"
    found = await value(tx, query, c=cap, r=reputation.value)
    assert found == (CAP_MAX if cap == CAP_MAX else slowed(cap, reputation))


@TWIN
@given(
    first=st.none() | st.integers(0, 900),
    lost=st.integers(0, 100),
    since=st.integers(0, 900),
    reputation=reputations,
)
async def test_warm_seconds_is_a_twin(
    tx: Tx, first: int | None, lost: int, since: int, reputation: Reputation
) -> None:
    at = START + timedelta(hours=1_000)
    began = None if first is None else START + timedelta(hours=first)
    changed = START + timedelta(hours=since)
    found = await value(
        tx,
        "select greatest(warm_seconds(%(f)s::timestamptz, %(l)s::float8, %(r)s::reputation_state,"
        " %(s)s::timestamptz, %(a)s::timestamptz), 0)",
        f=began,
        l=lost,
        r=reputation.value,
        s=changed,
        a=at,
    )
    assert found == Warmth(began, lost, reputation, changed).seconds(at)
