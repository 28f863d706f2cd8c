"""What the sandbox accepted: the independent record that tests and the demo compare with SQL."""

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from outreach.dev.sandbox.fates import Suppressed


@dataclass(frozen=True, slots=True)
class Accepted:
    """One accepted request; `number` counts from 1 without gaps."""

    number: int
    message_id: str
    """The X-Message-Id."""
    outreach_message_id: str | None
    outreach_attempt: str | None
    outreach_tenant: str | None
    to: tuple[str, ...]
    sender: str
    subject: str
    arrived_monotonic: float
    """When the first bytes of the request were there."""
    accepted_monotonic: float
    arrived_unix: float
    accepted_unix: float

    def as_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "message_id": self.message_id,
            "outreach_message_id": self.outreach_message_id,
            "outreach_attempt": self.outreach_attempt,
            "outreach_tenant": self.outreach_tenant,
            "to": self.to,
            "from": self.sender,
            "subject": self.subject,
            "arrived_monotonic": self.arrived_monotonic,
            "accepted_monotonic": self.accepted_monotonic,
            "arrived_at": datetime.fromtimestamp(self.arrived_unix, UTC).isoformat(),
            "accepted_at": datetime.fromtimestamp(self.accepted_unix, UTC).isoformat(),
        }


class Ledger:
    """The newest accepted requests, within bounds, and counters without bounds."""

    def __init__(self, accepted_max: int, bodies_max: int) -> None:
        self._accepted_max = accepted_max
        self._bodies_max = bodies_max
        self._listed: deque[Accepted] = deque()
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._times: Counter[str] = Counter()
        self.accepted_total = 0
        self.accepted_again = 0
        """Requests whose `outreach_message_id` had been accepted before, among those listed."""
        self.refused: Counter[int] = Counter()
        """Answers that are refusals, by status; ordered faults are not among them."""
        self.validated_only = 0
        """Requests in SendGrid's own sandbox mode: answered 200, never sent."""

    def add(self, record: Accepted, body: bytes) -> None:
        self.accepted_total += 1
        self._listed.append(record)
        if record.outreach_message_id is not None:
            self._times[record.outreach_message_id] += 1
            if self._times[record.outreach_message_id] > 1:
                self.accepted_again += 1
        if self._bodies_max:
            self._bodies[record.message_id] = body
            if len(self._bodies) > self._bodies_max:
                self._bodies.popitem(last=False)
        if len(self._listed) > self._accepted_max:
            self._forget(self._listed.popleft())

    def _forget(self, record: Accepted) -> None:
        name = record.outreach_message_id
        if name is None:
            return
        self._times[name] -= 1
        if not self._times[name]:
            del self._times[name]

    def listed(self) -> list[Accepted]:
        """Every accepted request still kept, oldest first."""
        return list(self._listed)

    def after(self, number: int, limit: int) -> list[Accepted]:
        """At most `limit` requests accepted after this one, oldest first."""
        if not self._listed:
            return []
        start = max(0, number + 1 - self._listed[0].number)
        return list(islice(self._listed, start, start + limit))

    def body(self, message_id: str) -> bytes | None:
        """The JSON of an accepted request, while it is kept."""
        return self._bodies.get(message_id)


class Mailboxes:
    """How many mails each address got, and why it gets no more."""

    def __init__(self) -> None:
        self._state: dict[str, tuple[int, Suppressed | None]] = {}

    def next_mail(self, address: str) -> tuple[int, Suppressed | None]:
        """The number of the mail that comes now, from 1, and what earlier ones did."""
        count, suppressed = self._state.get(address.lower(), (0, None))
        return count + 1, suppressed

    def remember(self, address: str, nth: int, suppressed: Suppressed | None) -> None:
        self._state[address.lower()] = (nth, suppressed)
