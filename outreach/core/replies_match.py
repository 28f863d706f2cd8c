"""Which message a mail may be about: by the address that it came to, else by what it answers.

Each mail that goes out has a reply address and an unsubscribe address of its own (`r+…`, `u+…`,
`services/compose.py`), and a Message-ID that says both ids. A provider may have put its own in its
place; then that is looked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from outreach.core.provider_events import OWN_MESSAGE_ID

REFERENCES_MAX = 20
_OWN_ADDRESS = re.compile(r"([ru])\+([0-9a-f]{32})@.+")


@dataclass(frozen=True, slots=True)
class Candidates:
    """Where to look, the surest first."""

    message_id: UUID | None  # of the address
    is_unsubscribe: bool
    own: tuple[tuple[UUID, UUID], ...]  # message and tenant, of our own Message-IDs
    provider_ids: tuple[str, ...]


def candidates(
    envelope_to: Sequence[object], header_to: Sequence[str], references: Sequence[str]
) -> Candidates:
    """The envelope says where the mail came to; its headers count where that names none of ours.

    Of several addresses of ours one that unsubscribes counts, else the first.
    """
    found = _own_addresses([each for each in envelope_to if isinstance(each, str)])
    found = found or _own_addresses(header_to)
    chosen = next((each for each in found if each[0] == "u"), next(iter(found), None))
    locals_ = [each.partition("@")[0] for each in references[:REFERENCES_MAX]]
    matches = [OWN_MESSAGE_ID.fullmatch(local) for local in locals_]
    own = [(UUID(match[1]), UUID(match[2])) for match in matches if match]
    others = [local for local, match in zip(locals_, matches, strict=True) if not match and local]
    return Candidates(
        message_id=None if chosen is None else chosen[1],
        is_unsubscribe=chosen is not None and chosen[0] == "u",
        own=tuple(dict.fromkeys(own)),
        provider_ids=tuple(dict.fromkeys(others)),
    )


def _own_addresses(addresses: Sequence[str]) -> list[tuple[str, UUID]]:
    matches = (_OWN_ADDRESS.fullmatch(address.strip().lower()) for address in addresses)
    return [(match[1], UUID(match[2])) for match in matches if match]
