"""The reader's no, given through the link in a mail.

The address is suppressed before the answer; that alone keeps every further mail away. The plan
learns of it the way it learns of everything: as an event, in a delivery of our own that the applier
treats like the provider's. Both are one transaction, and both know a repeat.
"""

from __future__ import annotations

import hashlib
import json
from uuid import UUID

from outreach.clock import transaction_now
from outreach.core.address import normalize_address
from outreach.core.errors import NotFound
from outreach.core.states import SuppressionReason
from outreach.db import Database, Role
from outreach.services.suppress import SuppressionEntry, suppress
from outreach.store.unsubscribes import find_recipient
from outreach.store.wakeups import wake
from outreach.store.webhooks import insert_delivery

PROVIDER = "outreach"


async def unsubscribe(db: Database, tenant_id: UUID, message_id: UUID) -> None:
    """Suppress the address that this message went to, and end its plan; again, changes nothing.

    Raises NotFound when there is no such message. The contact need not exist any more.
    """
    event_id = f"link-{message_id}"
    async with db.transaction(Role.APP, tenant_id) as tx:
        address = await find_recipient(tx, tenant_id, message_id)
        if address is None:
            raise NotFound("message", message_id)
        if normalize_address(address) is not None:  # an erased person's message has none any more
            entry = SuppressionEntry(
                value=address, reason=SuppressionReason.UNSUBSCRIBE, source=event_id, by="recipient"
            )
            await suppress(tx, tenant_id, [entry])
        now = await transaction_now(tx)
        event = {
            "event": "unsubscribe",
            "sg_event_id": event_id,
            "timestamp": int(now.timestamp()),
            "outreach_message_id": str(message_id),
            "outreach_tenant": str(tenant_id),
        }
        # Of the event and not of the body: the second click has another timestamp.
        digest = hashlib.sha256(f"{PROVIDER}\n{event_id}".encode()).digest()
        if await insert_delivery(tx, PROVIDER, digest, json.dumps([event]).encode(), now):
            await wake(tx, "apply_events")
