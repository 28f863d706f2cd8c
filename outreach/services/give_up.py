"""Giving up a message of which nobody knows whether it left: it is never sent, whoever decides so.

Its enrollment fails as `outcome_unknown`, or follows `failed` where the node names it. Evidence
that comes later still makes the message `sent`; an enrollment that has ended stays ended.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

from outreach.core.states import Verdict
from outreach.core.transitions import Advance, on_failed
from outreach.services.standing import Standing, write_advances
from outreach.sql import Tx
from outreach.store import holds, unknowns
from outreach.store.holds import No

REASON = "outcome_unknown"


async def give_up(
    tx: Tx,
    tenant_id: UUID,
    message_ids: Collection[UUID],
    standings: Mapping[UUID, Standing],
    now: datetime,
) -> list[Advance]:
    """Abandon those that are still unknown; the moves that it led to. The enrollments are held."""
    gone = await unknowns.abandon_messages(tx, tenant_id, message_ids)
    moves: list[tuple[Standing, Advance]] = []
    for one in gone:
        standing = standings[one.enrollment_id]
        if standing.is_at(one.node_id, one.visit):
            advance = on_failed(standing.plan, standing.position, REASON, standing.zone, now)
            moves.append((standing, advance))
    await write_advances(tx, tenant_id, moves)
    noes = [No(one.enrollment_id, one.action_id, Verdict.REFUSE, "abandoned") for one in gone]
    if noes:
        await holds.insert_refusals(tx, tenant_id, noes)
    return [advance for _, advance in moves]
