"""After data loss: every step that is due now may have been taken already, so none is sent again.

The ledger gets a row for each, of unknown outcome, and what settles any unknown settles these: an
event, the provider's logs where the account has them, the campaign's policy, a person. It is the
way to let the rest go on when events cannot be waited for; only while all sending is held.
"""

from __future__ import annotations

from uuid import UUID

from outreach import ids
from outreach.clock import transaction_now
from outreach.core.errors import Refused
from outreach.core.outcome import Unknown
from outreach.db import Database, Role
from outreach.services import audit
from outreach.services.control import every_tenant
from outreach.services.outcomes import Result, record_outcomes
from outreach.services.standing import lock_standings
from outreach.sql import Tx
from outreach.store import fence as fence_store
from outreach.store import regain as store
from outreach.store.regain import Proven

ROWS_MAX = 500
LOST = "it may have been sent before the data was lost"


async def doubt_due(db: Database, *, actor: str) -> int:
    """Make everything that is due unknown; how many steps. Raises Refused while nothing is held."""
    async with db.transaction(Role.OPERATOR) as tx:
        if (await fence_store.get_fence(tx)).held_at is None:
            raise Refused("nothing_held", "Nothing is held: what is due may be on its way.")
    doubted = 0
    async for tenant in every_tenant(db):
        doubted += await _doubt_tenant(db, tenant.id)
    async with db.transaction(Role.OPERATOR) as tx:
        await audit.record(
            tx, None, actor=actor, act="due_doubted", subject="installation", steps=doubted
        )
    return doubted


async def _doubt_tenant(db: Database, tenant_id: UUID) -> int:
    doubted = 0
    while True:
        async with db.transaction(Role.WORKER, tenant_id) as tx:
            made = await _doubt(tx, tenant_id)
        doubted += made
        if not made:
            return doubted


async def _doubt(tx: Tx, tenant_id: UUID) -> int:
    due = await store.list_due_steps(tx, tenant_id, rows_max=ROWS_MAX)
    if not due:
        return 0
    await lock_standings(tx, tenant_id, {step.enrollment_id for step in due})
    now = await transaction_now(tx)
    rows = []
    for step in due:
        key = ids.dedupe_key(step.enrollment_id, step.node_id, step.visit)
        rows.append(
            Proven(
                message_id=ids.message_id(tenant_id, key),
                enrollment_id=step.enrollment_id,
                sender_id=step.sender_id,
                node_id=step.node_id,
                visit=step.visit,
                dedupe_key=key,
                attempt=1,
                address=step.address,
                at=now,
            )
        )
    made = await store.insert_proven(tx, tenant_id, rows)
    results = [Result(id_, 1, Unknown(LOST), "reconcile") for id_ in sorted(made)]
    await record_outcomes(tx, tenant_id, results)
    return len(made)
