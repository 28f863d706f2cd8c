"""Attempts that nobody answered for: their process died, or could not write down what it heard.

The provider may have the mail, so the outcome is unknown and the message is not sent again by
itself. What really happened is settled later by an event, by the provider's log or by a person.
"""

from __future__ import annotations

from collections import defaultdict
from uuid import UUID

from outreach.core.outcome import Unknown
from outreach.db import Database, Role
from outreach.services.outcomes import Result, record_outcomes
from outreach.store.ledger import list_overdue_attempts

# A worker that lives may be late in writing down an answer that came just before the deadline.
GRACE_SECONDS = 5.0
SETTLED_BY = "rescuer"
NO_ANSWER = Unknown("No answer was recorded before the deadline.")


async def rescue_attempts(
    db: Database, *, grace_seconds: float = GRACE_SECONDS, batch: int = 500
) -> int:
    """Make attempts unknown whose deadline passed so long ago; how many, 0 when none is left.

    A transaction a tenant. One that is answered at this moment keeps its answer.
    """
    async with db.transaction(Role.WORKER) as tx:
        overdue = await list_overdue_attempts(tx, grace_seconds=grace_seconds, rows_max=batch)
    by_tenant: defaultdict[UUID, list[Result]] = defaultdict(list)
    for attempt in overdue:
        result = Result(attempt.message_id, attempt.attempt, NO_ANSWER, SETTLED_BY)
        by_tenant[attempt.tenant_id].append(result)
    for tenant_id, results in by_tenant.items():
        async with db.transaction(Role.WORKER, tenant_id) as tx:
            await record_outcomes(tx, tenant_id, results)
    return len(overdue)
