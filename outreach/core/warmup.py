"""The day cap of a new sender or IP pool: small at first, doubled as receivers get to know it.

The first day is that of the first mail which the provider accepted, not of the row's creation: an
address that waits for a month has not warmed up. The cap of a day is that day's sliding 24 hours.
A lower reputation stretches the warm-up: time counts half while a sender is slowed, and not at all
while it is stopped. SQL twins: `ramp_cap` and `warm_seconds`.

Source: 200 on the first day, doubling every three days, as the mailbox hosts' own advice to new
senders goes (a few hundred, then no more than twice as much every few days).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from outreach.core.states import Reputation

DOUBLING_DAYS = 3
DAY_SECONDS = 86_400
CAP_MAX = 2_147_483_647
_DOUBLINGS_MAX = 31  # more do not fit a column, and mean nothing
_PACE = {Reputation.GOOD: 1.0, Reputation.SLOWED: 0.5, Reputation.STOPPED: 0.0}


@dataclass(frozen=True, slots=True)
class Warmth:
    """What says how far a sender's or pool's warm-up has come."""

    first_sent_at: datetime | None
    lost_seconds: float = 0.0  # to times of a lower reputation that are over
    reputation: Reputation = Reputation.GOOD
    since: datetime | None = None  # of that reputation

    def seconds(self, at: datetime) -> float:
        """The time since the first send that counts; 0 before it."""
        if self.first_sent_at is None:
            return 0.0
        lost = self.lost_seconds + self.losing_seconds(at)
        return max((at - self.first_sent_at).total_seconds() - lost, 0.0)

    def losing_seconds(self, at: datetime) -> float:
        """What the reputation of now has taken so far."""
        if self.since is None:
            return 0.0
        return (at - self.since).total_seconds() * (1 - _PACE[self.reputation])


def ramp_cap(first_day: int | None, warm_seconds: float) -> int | None:
    """The day cap after so much time: `first_day`, doubled every three days; None: no warm-up."""
    if first_day is None:
        return None
    doublings = int(max(warm_seconds, 0.0) // (DOUBLING_DAYS * DAY_SECONDS))
    return int(min(first_day * 2 ** min(doublings, _DOUBLINGS_MAX), CAP_MAX))


def day_number(warm_seconds: float) -> int:
    """The day of the warm-up, from 1."""
    return int(warm_seconds // DAY_SECONDS) + 1
