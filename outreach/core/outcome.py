"""What one request to a provider can come to, and what follows from it.

Default-deny: only what the provider certainly did not accept is a refusal, only what it certainly
did accept is a yes, and everything else is *unknown*, which is never sent again by itself.

Source: the table of outcomes in the README; RFC 9110 for the codes; SendGrid's error page.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum

from outreach.core.states import AttemptOutcome

COUNTED_ATTEMPTS_MAX = 6  # then the message fails
FIRST_RETRY_SECONDS = 20 * 60
NOT_SENT_SECONDS_MAX = 60.0
LATER_SECONDS_MIN = 1.0
LATER_SECONDS_MAX = 3600.0  # a provider that asks for longer is asked again after an hour


class Because(Enum):
    """Why a request was refused: it decides who has to wait."""

    MESSAGE = "provider_refused"  # this message can never be accepted
    ACCOUNT = "provider_paused"  # the key or the quota: nobody can send
    SENDER = "sender_paused"  # the sender identity: nobody can send as it
    LATER = "provider_later"  # come back at a time


@dataclass(slots=True)  # frozen takes ten times as long to make
class Accepted:
    """The provider has it."""

    provider_message_id: str | None
    http_status: int | None = None  # None: an event, a log or a person says so, not an answer


@dataclass(frozen=True, slots=True)
class Rejected:
    """The provider certainly does not have it."""

    because: Because
    http_status: int
    detail: str
    retry_at: datetime | None = None  # only with Because.LATER, as asked, not yet clamped


@dataclass(frozen=True, slots=True)
class NotSent:
    """It never left whole: no connection, an unfinished request, or not begun in time."""

    detail: str
    is_unreachable: bool = False  # nobody listens there: the next one would fare no better


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have been accepted, and nobody has said so."""

    detail: str
    http_status: int | None = None


Outcome = Accepted | Rejected | NotSent | Unknown

_REFUSALS = frozenset({400, 404, 405, 406, 413, 415, 422, 451})


def classify(
    status: int,
    provider_message_id: str | None,
    detail: str,
    *,
    retry_at: datetime | None = None,
) -> Outcome:
    """The outcome of an answered request."""
    if status == 202:
        return Accepted(provider_message_id, status)
    if status in _REFUSALS:
        return Rejected(Because.MESSAGE, status, detail)
    if status == 401:
        return Rejected(Because.ACCOUNT, status, detail)
    if status == 403:
        return Rejected(Because.SENDER, status, detail)
    if status == 429:
        return Rejected(Because.LATER, status, detail, retry_at)
    return Unknown(detail, status)


def asked_moment(retry_after: str | None, reset: str | None, now: datetime) -> datetime | None:
    """When an answer asks to come back; the later of two wishes, None when none can be read.

    `Retry-After` has seconds or a date (RFC 9110), `X-RateLimit-Reset` a Unix time. Either may be
    absurd, and is then clamped to the bounds of `retry_at`, so that no header stops us for good.
    """
    wishes = [at for at in (_after(retry_after, now), _unix(reset, now)) if at is not None]
    return max(wishes, default=None)


def _after(header: str | None, now: datetime) -> datetime | None:
    if header is None:
        return None
    seconds = _whole(header)
    if seconds is not None:
        return _clamped(seconds, now)
    try:
        at = parsedate_to_datetime(header)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        return _clamped((at - now).total_seconds(), now)
    except (ValueError, OverflowError):
        return None


def _unix(header: str | None, now: datetime) -> datetime | None:
    moment = None if header is None else _whole(header)
    return None if moment is None else _clamped(moment - now.timestamp(), now)


def _whole(header: str) -> float | None:
    """The number that the text is, if it is one of sensible length."""
    text = header.strip()
    digits = text.removeprefix("-")
    return float(text) if digits.isascii() and digits.isdigit() and len(digits) <= 20 else None


def _clamped(seconds: float, now: datetime) -> datetime:
    bounded = min(max(seconds, LATER_SECONDS_MIN), LATER_SECONDS_MAX)
    return now + timedelta(seconds=bounded)


def attempt_outcome(outcome: Outcome) -> AttemptOutcome:
    """The word for it in `send_attempts`."""
    match outcome:
        case Accepted():
            return AttemptOutcome.ACCEPTED
        case Rejected():
            return AttemptOutcome.REJECTED
        case NotSent():
            return AttemptOutcome.NOT_SENT
        case Unknown():
            return AttemptOutcome.UNKNOWN


def counts(outcome: Outcome) -> bool:
    """Whether it counts towards giving the message up: only a refusal of this message now."""
    return isinstance(outcome, Rejected) and outcome.because in (Because.LATER, Because.MESSAGE)


def retry_at(
    outcome: Rejected | NotSent, attempt: int, counted_attempts: int, now: datetime
) -> datetime:
    """When a message is due again whose attempt of this number was not accepted.

    A definite refusal waits 20 minutes, twice as long each time; what the provider asks for itself
    is honoured within bounds; what never left is due at once, since nothing was wrong with it, and
    from then on after twice as long each time, up to a minute: the provider may be out of reach.
    """
    if isinstance(outcome, NotSent):
        doublings = min(max(attempt - counted_attempts - 1, 0), 6)
        return now + timedelta(seconds=min(2.0**doublings, NOT_SENT_SECONDS_MAX))
    if outcome.because is Because.LATER and outcome.retry_at is not None:
        asked = (outcome.retry_at - now).total_seconds()
        return now + timedelta(seconds=min(max(asked, LATER_SECONDS_MIN), LATER_SECONDS_MAX))
    if outcome.because is Because.LATER:
        doubled = FIRST_RETRY_SECONDS * 2 ** max(counted_attempts - 1, 0)
        return now + timedelta(seconds=doubled)
    return now + timedelta(seconds=FIRST_RETRY_SECONDS)
