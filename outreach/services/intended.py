"""A due send whose message the ledger has already: the step goes on from what became of that.

The id of a message is derived from its step, so planning the step again, after a loss of data, ends
here and not in a second mail. The claim leaves such an action as it is, because it must not wait
for enrollments; whoever meets it again comes to the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from outreach import ids
from outreach.clock import transaction_now
from outreach.core import transitions
from outreach.core.gates import DueSend
from outreach.core.states import MessageState, Verdict
from outreach.core.transitions import Advance, Event
from outreach.db import Database, Role
from outreach.services.standing import (
    Standing,
    histories,
    lock_standings,
    wake_due,
    write_advances,
)
from outreach.sql import Tx
from outreach.store import holds, regain
from outreach.store.holds import No
from outreach.store.regain import Intended


async def settle_intended(db: Database, tenant_id: UUID, due: Sequence[DueSend]) -> int:
    """Close these actions; how many enrollments moved."""
    if not due:
        return 0
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        return await _settle(tx, tenant_id, due)


async def _settle(tx: Tx, tenant_id: UUID, due: Sequence[DueSend]) -> int:
    standings = await lock_standings(tx, tenant_id, [one.enrollment_id for one in due])
    made = {_message_id(tenant_id, one): one for one in due}
    messages = await regain.list_intended(tx, tenant_id, made)
    history = await histories(tx, tenant_id, made)
    noes = [No(d.enrollment_id, d.action_id, Verdict.REFUSE, "already_intended") for d in due]
    await holds.insert_refusals(tx, tenant_id, noes)
    await holds.cancel_actions(tx, tenant_id, [one.action_id for one in due])
    now = await transaction_now(tx)
    moves: dict[UUID, tuple[Standing, Advance]] = {}
    for message_id, one in made.items():
        standing, message = standings.get(one.enrollment_id), messages.get(message_id)
        if standing is None or message is None or not standing.is_at(one.node_id, one.visit):
            continue
        advance = _advance(standing, message, history.get(message_id, []), now)
        if advance is not None:
            is_sent = message.state == MessageState.SENT
            latest = message_id if is_sent else standing.latest_message_id
            moves[one.enrollment_id] = (replace(standing, latest_message_id=latest), advance)
    await write_advances(tx, tenant_id, list(moves.values()))
    await wake_due(tx, tenant_id, [advance for _, advance in moves.values()], now)
    return len(moves)


def _message_id(tenant_id: UUID, due: DueSend) -> UUID:
    return ids.message_id(tenant_id, ids.dedupe_key(due.enrollment_id, due.node_id, due.visit))


def _advance(
    standing: Standing, message: Intended, history: Sequence[Event], now: datetime
) -> Advance | None:
    """Where the enrollment goes; nowhere while the message's own outcome is still to come."""
    plan, position, zone = standing.plan, standing.position, standing.zone
    match MessageState(message.state):
        case MessageState.SENT:
            assert message.sent_at is not None
            return transitions.on_accepted(plan, position, message.sent_at, history, zone, now)
        case MessageState.FAILED | MessageState.ABANDONED:
            reason = message.failure_code or "outcome_unknown"
            return transitions.on_failed(plan, position, reason, zone, now)
        case MessageState.SENDING | MessageState.WAITING_RETRY | MessageState.UNKNOWN:
            return None
