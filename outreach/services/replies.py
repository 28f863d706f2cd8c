"""Taking a mail in: kept and announced in one transaction, applied later.

The mail servers forget it once this is answered, so it is answered only after the commit. The same
mail to the same recipients is kept once, however often it is handed on.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from outreach.core.webhook_body import storable
from outreach.db import Database, Role
from outreach.store.replies import NewInbound, insert_inbound
from outreach.store.wakeups import wake

ADDRESSES_MAX = 50
ADDRESS_LENGTH_MAX = 320


@dataclass(frozen=True, slots=True)
class ReceivedMail:
    """What came: the mail's head, all that is known of the rest, and the envelope as sent."""

    head: bytes
    length: int
    digest: bytes  # SHA-256 of the whole
    envelope: bytes
    problem: str | None = None


async def take_in(db: Database, mail: ReceivedMail) -> bool:
    """Keep the mail and wake the applier; whether it was new. A repeat changes nothing."""
    envelope = _read_envelope(mail.envelope)
    to = json.dumps(envelope.get("to"), sort_keys=True)
    digest = hashlib.sha256(mail.digest + to.encode()).digest()
    new = NewInbound(digest, mail.head, mail.length, envelope, mail.problem)
    async with db.transaction(Role.APP) as tx:
        is_new = await insert_inbound(tx, new)
        if is_new and mail.problem is None:
            await wake(tx, "apply_replies")
    return is_new


def _read_envelope(text: bytes) -> dict[str, object]:
    """`to` and `from` as the mail servers had them; a part that is not to be read is left out."""
    try:
        given = json.loads(text.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(given, dict):
        return {}
    envelope: dict[str, object] = {}
    to, sender = given.get("to"), given.get("from")
    if isinstance(to, list):
        addresses = {each[:ADDRESS_LENGTH_MAX].lower() for each in to if isinstance(each, str)}
        envelope["to"] = storable(sorted(addresses)[:ADDRESSES_MAX])
    if isinstance(sender, str):
        envelope["from"] = storable(sender[:ADDRESS_LENGTH_MAX])
    return envelope
