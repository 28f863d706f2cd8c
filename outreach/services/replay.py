"""Apply stored bodies again: what was lost or not understood comes back, the rest stays as it is.

An event that is stored is not stored again and moves nothing, so a replay may be repeated and
interrupted at will. What follows is the same as when a body comes in late.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from outreach.db import Database, Role
from outreach.services.apply_events import apply_deliveries
from outreach.store import deliveries as store

PAGE_ROWS = 10


async def replay(db: Database, since: datetime, until: datetime) -> int:
    """Apply everything received in `[since, until)` again, oldest first; how many bodies.

    A page of bodies is one transaction.
    """
    count = 0
    after_at, after_id = since, UUID(int=0)
    while True:
        async with db.transaction(Role.WORKER) as tx:
            page = await store.list_deliveries(
                tx, since, until, after_at=after_at, after_id=after_id, rows_max=PAGE_ROWS
            )
            if not page:
                return count
            await apply_deliveries(tx, page)
        count += len(page)
        after_at, after_id = page[-1].received_at, page[-1].id
