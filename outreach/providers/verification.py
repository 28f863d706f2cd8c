"""What the use cases ask of a provider about an address that mail is to be sent from."""

from __future__ import annotations

from typing import Protocol


class SenderVerifier(Protocol):
    """The provider's word on sender identities."""

    async def is_verified(self, email: str) -> bool:
        """Whether the provider sends mail from this address.

        Raises Unavailable when it does not answer, Refused when it does not let us ask.
        """
        ...
