"""Reputation: slowed and stopped at once, back by single steps and only after a calm day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.core.reputation import Regard, Tally, Thresholds, excess, judged
from outreach.core.states import Reputation

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
GOOD, SLOWED, STOPPED = Reputation.GOOD, Reputation.SLOWED, Reputation.STOPPED
LEVELS = list(Reputation)
DEFAULT = Thresholds()

tallies = st.builds(Tally, st.integers(0, 4_000), st.integers(0, 400), st.integers(0, 40))


@pytest.mark.parametrize(
    ("tally", "level"),
    [
        (Tally(), GOOD),
        (Tally(49, 49, 9), GOOD),  # too few to say anything
        (Tally(100, 5), GOOD),  # at the threshold is not over it
        (Tally(100, 6), SLOWED),
        (Tally(100, 10), SLOWED),
        (Tally(100, 11), STOPPED),
        (Tally(100, 0, 1), GOOD),  # one complaint slows nobody
        (Tally(2_000, 0, 2), GOOD),
        (Tally(1_999, 0, 2), SLOWED),
        (Tally(100, 0, 3), SLOWED),  # and three stop nobody
        (Tally(1_333, 0, 4), STOPPED),
        (Tally(1_334, 0, 4), SLOWED),
    ],
)
def test_rates_over_their_thresholds_act_at_once(tally: Tally, level: Reputation) -> None:
    assert judged(Regard(), tally, DEFAULT, NOW).reputation is level


def test_the_way_back_waits_for_a_calm_day_under_a_lower_threshold() -> None:
    regard = judged(Regard(), Tally(100, 7), DEFAULT, NOW)
    assert regard == Regard(SLOWED, NOW)
    under, calm = Tally(100, 5), Tally(100, 4)
    assert judged(regard, under, DEFAULT, NOW + 48 * HOUR) == regard, "4 to 5 % changes nothing"
    regard = judged(regard, calm, DEFAULT, NOW + HOUR)
    assert regard == Regard(SLOWED, NOW, NOW + HOUR)
    assert judged(regard, calm, DEFAULT, NOW + 24 * HOUR) == regard
    restless = judged(regard, under, DEFAULT, NOW + 2 * HOUR)
    assert restless == Regard(SLOWED, NOW), "the day begins anew"
    assert judged(regard, calm, DEFAULT, NOW + 25 * HOUR) == Regard(GOOD, NOW + 25 * HOUR)


def test_a_stopped_sender_is_slow_before_it_is_good() -> None:
    regard, at = Regard(STOPPED, NOW), NOW
    seen = []
    for _ in range(60):
        at += HOUR
        regard = judged(regard, Tally(), DEFAULT, at)
        seen.append(regard.reputation)
    assert [seen.count(level) for level in (STOPPED, SLOWED, GOOD)] == [24, 25, 11]
    assert seen == sorted(seen, key=LEVELS.index, reverse=True)


def test_the_most_particular_threshold_counts() -> None:
    given_ = Thresholds.of([None, 20.0], [0.5, 9.0])
    assert given_ == Thresholds(20.0, 0.5)
    assert Thresholds.of([None, None], [None]) == DEFAULT
    assert judged(Regard(), Tally(100, 15), given_, NOW).reputation is GOOD
    assert judged(Regard(), Tally(100, 21), given_, NOW).reputation is SLOWED


@given(tallies, st.sampled_from(LEVELS), st.integers(0, 100))
def test_it_never_rises_by_more_than_a_step_or_without_a_calm_day(
    tally: Tally, before: Reputation, calm_hours: int
) -> None:
    calm_at = None if before is GOOD else NOW - calm_hours * HOUR
    regard = Regard(before, NOW - 200 * HOUR, calm_at)

    after = judged(regard, tally, DEFAULT, NOW)

    rise = LEVELS.index(before) - LEVELS.index(after.reputation)
    assert rise <= 1
    if rise == 1:
        assert calm_hours >= 24
    fresh = judged(Regard(), tally, DEFAULT, NOW).reputation
    assert LEVELS.index(after.reputation) >= LEVELS.index(fresh), "never better than the rates"


@given(tallies, st.sampled_from(LEVELS))
def test_a_second_look_changes_nothing(tally: Tally, before: Reputation) -> None:
    once = judged(Regard(before, NOW), tally, DEFAULT, NOW)
    assert judged(once, tally, DEFAULT, NOW) == once


def test_people_read_the_rates_and_what_they_are_held_against() -> None:
    assert excess(Tally(1_000, 61, 2), DEFAULT) == {
        "bounce_percent": 6.1,
        "complaint_percent": 0.2,
        "messages": 1_000,
        "threshold": "5 % bounces or 0.1 % complaints",
    }
