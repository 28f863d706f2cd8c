"""Due sends that will never go: the decision, and where their enrollments go instead.

Apart from the claim, because a claim must not wait for enrollments. Between the two the actions
stay pending: whoever meets one again refuses it again, and the first to hold the enrollment acts.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from outreach.clock import transaction_now
from outreach.core import transitions
from outreach.core.gates import DueSend, Refuse
from outreach.core.states import ActionState, EnrollmentState, Verdict
from outreach.db import Database, Role
from outreach.services.standing import Standing, lock_standings, write_advances
from outreach.sql import Tx
from outreach.store import holds, refusals
from outreach.store.holds import No

VALUE_ROWS_MAX = 200


async def refuse(db: Database, tenant_id: UUID, refused: Sequence[tuple[DueSend, Refuse]]) -> int:
    """End these steps; how many still stood where the claim saw them."""
    if not refused:
        return 0
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        return await _refuse(tx, tenant_id, refused)


async def fail_stale_values(db: Database) -> int:
    """Fail, for every tenant, what has waited for a value longer than its plan's `idle_after`.

    Bounded for each tenant and call; the longest waiting first.
    """
    async with db.transaction(Role.WORKER) as tx:
        tenants = await refusals.list_tenants_waiting_for_values(tx)
    return sum([await _fail_stale_values(db, tenant_id) for tenant_id in tenants])


async def _fail_stale_values(db: Database, tenant_id: UUID) -> int:
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        waiting = await refusals.list_waiting_for_values(tx, tenant_id, rows_max=VALUE_ROWS_MAX)
        standings = await lock_standings(tx, tenant_id, [w.enrollment_id for w in waiting])
        now = await transaction_now(tx)
        verdict = Refuse("value_missing", EnrollmentState.FAILED)
        ending = []
        for one in waiting:
            standing = standings[one.enrollment_id]
            patience = standing.plan.idle_after.after(one.since, standing.zone)
            is_waiting = standing.step_action_state is ActionState.PENDING
            if patience <= now and is_waiting and standing.state is EnrollmentState.ACTIVE:
                ending.append((standing, one.action_id, verdict))
        await _end(tx, tenant_id, ending)
        return len(ending)


async def _refuse(tx: Tx, tenant_id: UUID, refused: Sequence[tuple[DueSend, Refuse]]) -> int:
    standings = await lock_standings(tx, tenant_id, [due.enrollment_id for due, _ in refused])
    ending: list[tuple[Standing, UUID, Refuse]] = []
    for due, verdict in refused:
        standing = standings.get(due.enrollment_id)
        if standing is None or not standing.is_at(due.node_id, due.visit):
            continue
        if standing.step_action_state is ActionState.PENDING:
            ending.append((standing, due.action_id, verdict))
    await _end(tx, tenant_id, ending)
    return len(ending)


async def _end(tx: Tx, tenant_id: UUID, ending: Sequence[tuple[Standing, UUID, Refuse]]) -> None:
    if not ending:
        return
    now = await transaction_now(tx)
    noes = [
        No(standing.enrollment_id, action_id, Verdict.REFUSE, verdict.reason)
        for standing, action_id, verdict in ending
    ]
    await holds.insert_refusals(tx, tenant_id, noes)
    await holds.cancel_actions(tx, tenant_id, [action_id for _, action_id, _ in ending])
    moves = []
    for standing, _, verdict in ending:
        move = (
            transitions.on_refused
            if verdict.state is EnrollmentState.STOPPED
            else transitions.on_failed
        )
        advance = move(standing.plan, standing.position, verdict.reason, standing.zone, now)
        moves.append((standing, advance))
    await write_advances(tx, tenant_id, moves)
