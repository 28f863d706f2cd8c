"""What an answer of the provider means, and when a message that was not accepted is due again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.core.outcome import (
    COUNTED_ATTEMPTS_MAX,
    FIRST_RETRY_SECONDS,
    LATER_SECONDS_MAX,
    LATER_SECONDS_MIN,
    NOT_SENT_SECONDS_MAX,
    Accepted,
    Because,
    NotSent,
    Outcome,
    Rejected,
    Unknown,
    asked_moment,
    attempt_outcome,
    classify,
    counts,
    retry_at,
)
from outreach.core.states import AttemptOutcome

NOW = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
REFUSED = (400, 404, 405, 406, 413, 415, 422, 451)


def later(seconds: float | None = None) -> Rejected:
    asked = None if seconds is None else NOW + timedelta(seconds=seconds)
    return Rejected(Because.LATER, 429, "too many requests", asked)


def wait(outcome: Rejected | NotSent, attempt: int = 1, counted: int = 0) -> float:
    return (retry_at(outcome, attempt, counted, NOW) - NOW).total_seconds()


def test_only_202_is_a_yes() -> None:
    assert classify(202, "id", "") == Accepted("id", 202)
    assert [status for status in range(200, 600) if _is(status, Accepted)] == [202]


def _is(status: int, kind: type[Outcome]) -> bool:
    return isinstance(classify(status, None, ""), kind)


@pytest.mark.parametrize(
    ("statuses", "because"),
    [
        (REFUSED, Because.MESSAGE),
        ((401,), Because.ACCOUNT),
        ((403,), Because.SENDER),
        ((429,), Because.LATER),
    ],
)
def test_a_clear_refusal_says_who_has_to_wait(statuses: tuple[int, ...], because: Because) -> None:
    for status in statuses:
        assert classify(status, None, "why") == Rejected(because, status, "why")


def test_everything_else_may_have_been_accepted() -> None:
    clear = {202, 401, 403, 429, *REFUSED}
    for status in set(range(100, 1000)) - clear:
        assert classify(status, None, "?") == Unknown("?", status)


def test_only_a_429_keeps_the_moment_that_it_names() -> None:
    named = NOW + timedelta(seconds=9)
    assert classify(429, None, "", retry_at=named) == Rejected(Because.LATER, 429, "", named)
    assert classify(403, None, "", retry_at=named) == Rejected(Because.SENDER, 403, "")


@pytest.mark.parametrize(
    ("outcome", "word", "is_counted"),
    [
        (Accepted(None), AttemptOutcome.ACCEPTED, False),
        (Rejected(Because.MESSAGE, 400, ""), AttemptOutcome.REJECTED, True),
        (later(), AttemptOutcome.REJECTED, True),
        (Rejected(Because.ACCOUNT, 401, ""), AttemptOutcome.REJECTED, False),
        (Rejected(Because.SENDER, 403, ""), AttemptOutcome.REJECTED, False),
        (NotSent(""), AttemptOutcome.NOT_SENT, False),
        (Unknown(""), AttemptOutcome.UNKNOWN, False),
    ],
)
def test_each_outcome_has_a_word_and_counts_or_not(
    outcome: Outcome, word: AttemptOutcome, is_counted: bool
) -> None:
    assert attempt_outcome(outcome) is word
    assert counts(outcome) is is_counted


@given(st.floats(-1e8, 1e8))
def test_what_the_provider_asks_for_is_honoured_within_bounds(seconds: float) -> None:
    expected = min(max(seconds, LATER_SECONDS_MIN), LATER_SECONDS_MAX)
    assert wait(later(seconds)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("retry_after", "reset", "seconds"),
    [
        ("120", None, 120),
        (" 0 ", None, LATER_SECONDS_MIN),
        ("Mon, 04 May 2026 09:02:00 GMT", None, 120),
        ("Mon, 04 May 2026 08:00:00 GMT", None, LATER_SECONDS_MIN),
        ("Mon, 04 May 2026 11:02:00 +0200", None, 120),
        ("-5", None, LATER_SECONDS_MIN),
        ("1000000000", None, LATER_SECONDS_MAX),
        ("99999999999999999999", None, LATER_SECONDS_MAX),
        (None, str(int(NOW.timestamp()) + 120), 120),
        (None, str(int(NOW.timestamp()) - 9), LATER_SECONDS_MIN),
        (None, str(int(NOW.timestamp() * 1000)), LATER_SECONDS_MAX),
        ("60", str(int(NOW.timestamp()) + 120), 120),
        ("garbage", str(int(NOW.timestamp()) + 120), 120),
        ("garbage", "soon", None),
        ("9" * 400, None, None),
        ("1e9", "٣", None),
        ("Mon, 99 May 2026", None, None),
        ("Mon, 04 May 9999 09:02:00 GMT", None, LATER_SECONDS_MAX),
        ("", "", None),
        (None, None, None),
    ],
)
def test_the_headers_of_a_429_name_a_moment_within_bounds_or_none(
    retry_after: str | None, reset: str | None, seconds: float | None
) -> None:
    asked = asked_moment(retry_after, reset, NOW)
    assert asked == (None if seconds is None else NOW + timedelta(seconds=seconds))


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_header_is_an_error_or_stops_us_for_good(retry_after: str, reset: str) -> None:
    asked = asked_moment(retry_after, reset, NOW)
    assert asked is None or 1 <= (asked - NOW).total_seconds() <= LATER_SECONDS_MAX


def test_a_429_that_names_no_moment_waits_longer_each_time() -> None:
    waits = [wait(later(), n, n) for n in range(1, COUNTED_ATTEMPTS_MAX)]

    assert waits == [FIRST_RETRY_SECONDS * 2**n for n in range(COUNTED_ATTEMPTS_MAX - 1)]
    assert waits[0] == 1200


def test_what_never_left_is_due_at_once_and_then_ever_less_often() -> None:
    waits = [wait(NotSent(""), attempt) for attempt in (1, 2, 3, 6, 7, 50, 30_000)]

    assert waits == [1, 2, 4, 32, NOT_SENT_SECONDS_MAX, NOT_SENT_SECONDS_MAX, NOT_SENT_SECONDS_MAX]


def test_a_counted_refusal_before_does_not_slow_what_never_left() -> None:
    assert wait(NotSent(""), attempt=4, counted=3) == 1


def test_another_refusal_waits_for_twenty_minutes() -> None:
    assert wait(Rejected(Because.SENDER, 403, ""), 1) == FIRST_RETRY_SECONDS
