"""When bounces and complaints slow a sender down, stop it, and let it go on.

The receivers' patience is per sender address, so that is what is judged, over a sliding week. A
rate over its threshold halves every limit and the pace of the warm-up; one far over it stops the
sender. Both act at once. The way back is slow on purpose: one step at a time, only after a whole
day under a lower threshold, so that a sender does not swing. Few mails say nothing: a rate needs a
sample, and a single complaint never slows anybody.

Source: Google's and Yahoo's sender rules since February 2024 ask for complaints under 0.1 % and
act at 0.3 %; SendGrid reviews accounts from 5 % bounces on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from outreach.core.states import Reputation

BOUNCE_PERCENT_MAX = 5.0
COMPLAINT_PERCENT_MAX = 0.1
BOUNCE_STOP_FACTOR = 2.0
COMPLAINT_STOP_FACTOR = 3.0
CALM_SHARE = 0.8  # of a threshold: under that it is calm
CALM_HOURS = 24
WINDOW_HOURS = 7 * 24
SAMPLE_MIN = 50
SLOWING_EVENTS_MIN = 2
STOPPING_EVENTS_MIN = 4

_LEVELS = tuple(Reputation)


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of a sender's mail in the window."""

    settled: int = 0  # taken or refused by the receiver
    bounced: int = 0
    complained: int = 0

    @property
    def bounce_percent(self) -> float:
        """Of what is settled."""
        return 100.0 * self.bounced / self.settled if self.settled else 0.0

    @property
    def complaint_percent(self) -> float:
        """Of what is settled."""
        return 100.0 * self.complained / self.settled if self.settled else 0.0


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Per cent over which a sender is slowed; it is stopped at a multiple of them."""

    bounce_percent: float = BOUNCE_PERCENT_MAX
    complaint_percent: float = COMPLAINT_PERCENT_MAX

    @classmethod
    def of(cls, bounce: Iterable[float | None], complaint: Iterable[float | None]) -> Thresholds:
        """The first value given of each, the most particular first, else the default."""
        return cls(_first(bounce, BOUNCE_PERCENT_MAX), _first(complaint, COMPLAINT_PERCENT_MAX))


@dataclass(frozen=True, slots=True)
class Regard:
    """How a sender stands, since when, and since when it could stand better."""

    reputation: Reputation = Reputation.GOOD
    since: datetime | None = None
    calm_at: datetime | None = None


def judged(regard: Regard, tally: Tally, thresholds: Thresholds, now: datetime) -> Regard:
    """The regard after a look at the tally; the same one when nothing changes."""
    level = _level(tally, thresholds, 1.0)
    if _LEVELS.index(level) > _LEVELS.index(regard.reputation):
        return Regard(level, now)
    if regard.reputation is Reputation.GOOD:
        return regard
    is_calm = _LEVELS.index(_level(tally, thresholds, CALM_SHARE)) < _LEVELS.index(
        regard.reputation
    )
    if not is_calm:
        return Regard(regard.reputation, regard.since)
    calm_at = regard.calm_at or now
    if now - calm_at >= timedelta(hours=CALM_HOURS):
        better = _LEVELS[_LEVELS.index(regard.reputation) - 1]
        return Regard(better, now)
    return Regard(regard.reputation, regard.since, calm_at)


def excess(tally: Tally, thresholds: Thresholds) -> dict[str, object]:
    """For people: the rates and what they are held against."""
    return {
        "bounce_percent": round(tally.bounce_percent, 2),
        "complaint_percent": round(tally.complaint_percent, 3),
        "messages": tally.settled,
        "threshold": (
            f"{thresholds.bounce_percent:g} % bounces or {thresholds.complaint_percent:g} %"
            " complaints"
        ),
    }


def _level(tally: Tally, thresholds: Thresholds, share: float) -> Reputation:
    """What the rates alone say, with thresholds at a share of their size."""
    if tally.settled < SAMPLE_MIN:
        return Reputation.GOOD
    rates: Sequence[tuple[int, float, float, float]] = (
        (tally.bounced, tally.bounce_percent, thresholds.bounce_percent, BOUNCE_STOP_FACTOR),
        (
            tally.complained,
            tally.complaint_percent,
            thresholds.complaint_percent,
            COMPLAINT_STOP_FACTOR,
        ),
    )
    if any(n >= STOPPING_EVENTS_MIN and rate > at * by * share for n, rate, at, by in rates):
        return Reputation.STOPPED
    if any(n >= SLOWING_EVENTS_MIN and rate > at * share for n, rate, at, _ in rates):
        return Reputation.SLOWED
    return Reputation.GOOD


def _first(values: Iterable[float | None], fallback: float) -> float:
    return next((value for value in values if value is not None), fallback)
