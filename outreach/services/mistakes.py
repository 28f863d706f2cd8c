"""Enrollments that went on because of what turns out to be a machine's: where they came from.

Asked only when a mark changes from a person's to a machine's, which is rare: one statement more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC
from uuid import UUID

from outreach.core.matching import Event
from outreach.core.mistakes import Mistake, Taken, find_mistake
from outreach.services.grade_events import Regraded
from outreach.services.standing import Standing
from outreach.sql import Tx
from outreach.store import enrollments as store
from outreach.store.enrollments import StepTakenRow


async def find_mistakes(
    tx: Tx,
    tenant_id: UUID,
    regraded: Sequence[Regraded],
    standings: Mapping[UUID, Standing],
) -> dict[UUID, Mistake]:
    """By enrollment, the step to take back; of those that may still be."""
    turned: dict[UUID, list[Event]] = defaultdict(list)
    for one in regraded:
        if one.is_machine:
            event = Event(one.id, one.type, one.at, is_machine=True)
            turned[one.message_id].append(event)
    concerned = {
        standing.enrollment_id: standing
        for standing in standings.values()
        if standing.latest_message_id in turned
        and not standing.has_ended
        and not standing.plan.count_machine_events
    }
    if not concerned:
        return {}
    steps: dict[UUID, list[StepTakenRow]] = defaultdict(list)
    for row in await store.list_steps(tx, tenant_id, concerned):
        steps[row.enrollment_id].append(row)
    found = {}
    for enrollment_id, rows in steps.items():
        standing = concerned[enrollment_id]
        assert standing.latest_message_id is not None
        mistake = _mistake(rows, standing, turned[standing.latest_message_id])
        if mistake is not None:
            found[enrollment_id] = mistake
    return found


def _mistake(
    rows: Sequence[StepTakenRow], standing: Standing, turned: Sequence[Event]
) -> Mistake | None:
    position, sent_at = standing.position, rows[0].sent_at
    accepted_at = position.accepted_at or (None if sent_at is None else sent_at.astimezone(UTC))
    steps = [
        Taken(
            row.from_node_id,
            row.to_node_id,
            row.trigger,
            row.code,
            row.event_id,
            row.created_at.astimezone(UTC),
        )
        for row in rows
    ]
    mistake = find_mistake(steps, position, accepted_at, turned)
    if mistake is None:
        return None
    # Where it stands it may look again whatever was sent: nothing is taken back but a timer's rest.
    is_here = mistake.before.node_id == position.node_id
    return mistake if is_here or standing.is_untouched else None
