"""What the sender asks of a provider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from uuid import UUID

from outreach.core.mail import Mail
from outreach.core.outcome import Outcome


class MailProvider(Protocol):
    """Hands mails over, one request each, never the same request twice."""

    async def send(
        self, mail: Mail, *, start_by: float, leaving: Callable[[], None] | None = None
    ) -> Outcome:
        """One try, no retries of the transport's own; never raises for what the network does.

        `start_by` is a moment of `time.monotonic()`: a request that has not begun by then is not
        made, and the outcome is NotSent. `leaving` is called before the provider could have all
        of it; a ValueError of it keeps the request from leaving, and the outcome is NotSent.
        """
        ...

    def room(self) -> int:
        """How many more requests could begin within a second, at the latency now seen."""
        ...


class MailLog(Protocol):
    """The provider's own record of what it accepted: late, slow, and asked a few times a minute."""

    async def knows(self, message_id: UUID, attempt: int, to_address: str) -> bool:
        """Whether it has this attempt; a no only says that it shows none now.

        Raises Unavailable when it gives no answer, Refused when it may not be asked.
        """
        ...
