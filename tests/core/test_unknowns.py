"""When an unknown outcome is looked into, and what it takes before anything is done about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.core.states import UnknownPolicy
from outreach.core.unknowns import (
    GIVE_UP_AFTER,
    LOOKS,
    RESEND_AFTER,
    AccountFacts,
    Case,
    Step,
    is_green,
    is_look_due,
    needs_facts,
    next_look_at,
    presumes,
    step,
)

ARMED = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
SECONDS = timedelta(seconds=1)
CASE = Case(ARMED, ARMED + 10 * SECONDS, UnknownPolicy.RESEND_AFTER, None, has_logs=False)
GOOD = AccountFacts(20, 20, 0, 0, 0, 0, None)

moments = st.integers(0, 60 * 60 * 48).map(lambda seconds: ARMED + seconds * SECONDS)
cases = st.builds(
    Case,
    st.just(ARMED),
    st.integers(1, 60).map(lambda seconds: ARMED + seconds * SECONDS),
    st.sampled_from(UnknownPolicy),
    st.none() | moments,
    st.booleans(),
)
facts = st.builds(
    AccountFacts,
    *(st.integers(0, 30) for _ in range(6)),
    st.none() | moments,
)


def looks_of(has_logs: bool, policy: UnknownPolicy) -> list[float]:
    """Hours after the arm at which somebody looks, were every look made and in vain."""
    now, found = ARMED, list[float]()
    case = replace(CASE, has_logs=has_logs, policy=policy)
    while len(found) < 6:
        now = next_look_at(case, now)
        found.append((now - ARMED) / timedelta(hours=1))
        if is_look_due(case, now):
            case = replace(case, looked_at=now)
    return [round(hours, 2) for hours in found]


def test_the_looks_of_each_policy() -> None:
    once, again = UnknownPolicy.AT_MOST_ONCE, UnknownPolicy.RESEND_AFTER
    assert looks_of(False, once) == [25, 26, 27, 28, 29, 30]
    assert looks_of(True, once) == [0.08, 0.5, 6, 25, 26, 27]
    assert looks_of(False, again) == [1, 1.17, 1.33, 1.5, 1.67, 1.83]
    assert looks_of(True, again) == [0.08, 0.5, 1, 1.17, 1.33, 1.5]


def test_looks_that_were_missed_are_made_once() -> None:
    late = ARMED + 7 * timedelta(hours=1)
    case = replace(CASE, has_logs=True)
    assert is_look_due(case, late)
    assert not is_look_due(replace(case, looked_at=late), late + timedelta(days=1))
    assert not is_look_due(case, ARMED + LOOKS[0] - SECONDS)
    assert not is_look_due(CASE, late), "there are no logs to ask"


@given(case=cases, now=moments)
def test_the_next_look_lies_ahead_and_within_a_day(case: Case, now: datetime) -> None:
    assert now < next_look_at(case, now) <= max(now, ARMED) + GIVE_UP_AFTER


@given(case=cases, facts=facts, now=moments)
def test_nothing_is_done_before_its_time_or_without_every_sign(
    case: Case, facts: AccountFacts, now: datetime
) -> None:
    match step(case, facts, now):
        case Step.RESEND:
            assert case.policy is UnknownPolicy.RESEND_AFTER
            assert now >= ARMED + RESEND_AFTER
            assert all(presumes(case, facts, now).values())
            assert facts.accepted_after == facts.told_after >= 20
        case Step.GIVE_UP:
            assert now >= ARMED + GIVE_UP_AFTER
            assert is_green(facts, now)
        case found:
            assert found is Step.WAIT
    if not needs_facts(case, now):
        assert step(case, facts, now) is Step.WAIT


@given(case=cases, now=moments)
def test_without_facts_nothing_is_done(case: Case, now: datetime) -> None:
    assert step(case, None, now) is Step.WAIT


def test_with_every_sign_it_is_sent_again() -> None:
    assert step(CASE, GOOD, ARMED + RESEND_AFTER) is Step.RESEND
    once = replace(CASE, policy=UnknownPolicy.AT_MOST_ONCE)
    assert step(once, GOOD, ARMED + RESEND_AFTER) is Step.WAIT


@pytest.mark.parametrize(
    "facts",
    [
        replace(GOOD, accepted_after=19, told_after=19),
        replace(GOOD, told_after=19),
        replace(GOOD, webhooks_late=1),
        replace(GOOD, webhooks_quarantined=1),
        replace(GOOD, waiting_since=ARMED),
    ],
)
def test_each_missing_sign_is_enough_to_wait(facts: AccountFacts) -> None:
    assert step(CASE, facts, ARMED + RESEND_AFTER) is Step.WAIT


def test_a_request_with_a_long_deadline_is_waited_for_ten_times_as_long() -> None:
    slow = replace(CASE, deadline_at=ARMED + timedelta(minutes=7))
    assert step(slow, GOOD, ARMED + timedelta(minutes=69)) is Step.WAIT
    assert step(slow, GOOD, ARMED + timedelta(minutes=70)) is Step.RESEND


@pytest.mark.parametrize(
    ("counts", "is_healthy"),
    [
        ((100, 95, 0, 0), True),
        ((100, 94, 50, 50), False),
        ((0, 0, 100, 95), True),
        ((0, 0, 100, 94), False),
        ((0, 0, 0, 0), False),
        ((1, 1, 0, 0), True),
    ],
)
def test_webhooks_are_healthy_while_mails_are_told_of(
    counts: tuple[int, int, int, int], is_healthy: bool
) -> None:
    assert is_green(AccountFacts(*counts, 0, 0, None), ARMED) is is_healthy
    waiting = AccountFacts(*counts, 0, 0, ARMED - timedelta(minutes=6))
    assert not is_green(waiting, ARMED)
