"""Taking a webhook in: kept and announced in one transaction, applied later.

Whoever posted it may forget it once this returns, so this returns only after the commit. The body
is kept as it came, whatever it says; making sense of it is the applier's work.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from outreach.db import Database, Role
from outreach.store.wakeups import wake
from outreach.store.webhooks import count_refused_webhooks, insert_delivery


async def ingest(db: Database, provider: str, payload: bytes, signed_at: datetime) -> bool:
    """Keep the body and wake the applier; whether it was new. A repeat changes nothing."""
    digest = hashlib.sha256(provider.encode() + b"\n" + payload).digest()
    async with db.transaction(Role.APP) as tx:
        is_new = await insert_delivery(tx, provider, digest, payload, signed_at)
        if is_new:
            await wake(tx, "apply_events")
    return is_new


async def count_refused(db: Database, many: int) -> None:
    """Remember that so many were turned away; nothing else is kept of them."""
    async with db.transaction(Role.APP) as tx:
        await count_refused_webhooks(tx, many)
