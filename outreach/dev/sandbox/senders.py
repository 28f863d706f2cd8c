"""The management endpoints that a check of a sender identity asks.

Every address and every domain counts as verified, unless an order says otherwise. SendGrid can only
list what it knows; so that any address can be found, one that a question names is listed too.

Source: Twilio SendGrid, "Sender Verification", "Domain Authentication", "API Key Permissions".
"""

from hashlib import blake2b
from typing import Any

SCOPES = (
    "mail.send",
    "mail.batch.create",
    "mail.batch.read",
    "email_activity.read",
    "sender_verification_eligible",
    "user.webhooks.event.settings.read",
    "user.webhooks.event.settings.update",
    "suppression.read",
    "whitelabel.read",
)


class Senders:
    """Which From addresses and domains are verified."""

    def __init__(self) -> None:
        self._addresses: dict[str, bool] = {}
        self._domains: dict[str, bool] = {}
        self._known: set[str] = set()

    def order(self, value: str, verified: bool) -> None:
        """From now on this address, or this domain when it begins with @, is verified or not."""
        value = value.strip().lower()
        if value.startswith("@"):
            self._domains[value[1:]] = verified
        else:
            self._addresses[value] = verified

    def may_send(self, address: str) -> bool:
        """Whether mail from this address is taken: an order for the address comes first."""
        address = address.lower()
        if address in self._addresses:
            return self._addresses[address]
        return self._domains.get(address.rpartition("@")[2], True)

    def saw(self, address: str) -> None:
        """Someone asks about, or sends from, this address: it is known from now on."""
        address = address.strip().lower()
        if "@" in address:
            self._known.add(address)

    def verified_senders(self) -> dict[str, Any]:
        return {
            "results": [
                {
                    "id": _id_of(address),
                    "nickname": address,
                    "from_email": address,
                    "from_name": "",
                    "reply_to": address,
                    "verified": self.may_send(address),
                    "locked": False,
                }
                for address in sorted(self._known | set(self._addresses))
            ]
        }

    def domains(self, wanted: str | None) -> list[dict[str, Any]]:
        """The domain asked for, or every domain that is known."""
        known = self._known | set(self._addresses)
        names = {address.rpartition("@")[2] for address in known} | set(self._domains)
        if wanted:
            names = {wanted.strip().lower()}
        return [
            {
                "id": _id_of(name),
                "domain": name,
                "subdomain": "em1",
                "username": "sandbox",
                "automatic_security": True,
                "default": False,
                "valid": self._domains.get(name, True),
                "dns": {},
            }
            for name in sorted(names)
        ]


def _id_of(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=4).digest(), "big") >> 1
