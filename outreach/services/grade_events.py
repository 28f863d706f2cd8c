"""Which opens and clicks are a machine's: judged anew around each event that arrives.

The verdict is `core.machine_events`'; here is what it needs. A new event bears only on what lies
within its reach in time, so no more than that is read and marked: one statement for all messages
of a batch, and one more where a mark changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from outreach.core.machine_events import REACH, MachineReason, Seen, grade
from outreach.core.states import EventType
from outreach.services.unpack import OwnedEvent
from outreach.sql import Tx
from outreach.store import events as store
from outreach.store.events import Engagement

_SIGNS = frozenset({EventType.DELIVERED, EventType.OPENED, EventType.CLICKED})


@dataclass(frozen=True, slots=True)
class Regraded:
    """An event whose mark is another than it was stored with."""

    id: str
    message_id: UUID
    type: EventType
    at: datetime
    is_machine: bool


async def grade_events(tx: Tx, tenant_id: UUID, fresh: Sequence[OwnedEvent]) -> list[Regraded]:
    """Mark what these new events, stored already, show to be a machine's or a person's.

    What is marked anew, the new ones among it. Whoever calls holds the enrollments, so that of two
    transactions with events of one message the later sees what the earlier stored.
    """
    moments: dict[UUID, list[datetime]] = defaultdict(list)
    for item in fresh:
        if item.event.type in _SIGNS:
            moments[item.message_id].append(item.event.at)
    if not moments:
        return []
    since = min(min(ats) for ats in moments.values()) - 2 * REACH
    until = max(max(ats) for ats in moments.values()) + 2 * REACH
    stories: dict[UUID, list[Engagement]] = defaultdict(list)
    for row in await store.list_engagement(tx, tenant_id, moments, since, until):
        stories[row.message_id].append(row)
    changes = [
        change
        for message_id, story in sorted(stories.items())
        for change in _changes(story, moments[message_id])
    ]
    if changes:
        await store.set_grades(tx, tenant_id, changes)
    return [_regraded(event, reason) for event, reason in changes]


def _changes(
    story: Sequence[Engagement], moments: Sequence[datetime]
) -> list[tuple[Engagement, MachineReason | None]]:
    """The events near those moments on which the verdict is another than their mark."""
    verdicts = grade([_seen(event) for event in story])
    return [
        (event, verdicts[str(event.id)])
        for event in story
        if event.type != EventType.DELIVERED
        and verdicts[str(event.id)] != event.reason
        and any(abs(event.at - at) <= REACH for at in moments)
    ]


def _seen(event: Engagement) -> Seen:
    reason = None if event.reason is None else MachineReason(event.reason)
    return Seen(str(event.id), EventType(event.type), event.at, reason, event.agent, event.url)


def _regraded(event: Engagement, reason: MachineReason | None) -> Regraded:
    return Regraded(
        event.event_id,
        event.message_id,
        EventType(event.type),
        event.at.astimezone(UTC),
        reason is not None,
    )
