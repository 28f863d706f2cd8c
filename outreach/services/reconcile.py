"""A campaign's accounts: while it runs, and at its end, to be held against the provider's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from outreach.core.states import EnrollmentState
from outreach.db import Database, Role
from outreach.store import campaigns
from outreach.store import reconcile as store
from outreach.store.reconcile import Bodies, End, Wave

PAGE_ROWS = 10_000
# A request may have been decided while the transaction that suppressed its address was running.
GRACE_SECONDS = 1.0

_BEFORE_ALL = UUID(int=0)
_LIVE = (EnrollmentState.DRAFT, EnrollmentState.ACTIVE, EnrollmentState.PAUSED)
_ENDED = (EnrollmentState.COMPLETED, EnrollmentState.STOPPED, EnrollmentState.FAILED)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a campaign is."""

    enrollments: Counter[str]  # by state
    at_node: Counter[str]  # of those that still run, by step
    messages: Counter[str]  # by state
    events: Counter[str]  # by kind, those of people
    machine_events: int

    @property
    def total(self) -> int:
        return self.enrollments.total()

    @property
    def ended(self) -> int:
        return sum(self.enrollments[state] for state in _ENDED)


@dataclass(frozen=True, slots=True)
class Account:
    """What our books say at the end."""

    ends: list[End]
    sent_after_suppression: int
    first_wave: Wave
    bodies: Bodies
    eventful_contact: str | None
    sent_by_node: Mapping[str, int] = field(default_factory=dict)


async def progress(db: Database, tenant_id: UUID, campaign_id: UUID) -> Progress:
    """The figures of this moment."""
    async with db.transaction(Role.READONLY) as tx:
        positions = await store.count_positions(tx, tenant_id, campaign_id)
        messages = await campaigns.count_messages(tx, tenant_id, campaign_id)
        events = await store.count_events(tx, tenant_id, campaign_id)
    found = Progress(Counter(), Counter(), Counter(), Counter(), 0)
    for position in positions:
        found.enrollments[position.state] += position.count
        if position.state in _LIVE and position.node is not None:
            found.at_node[position.node] += position.count
    for message in messages:
        found.messages[message.state] += message.count
    for event in events:
        if not event.is_machine:
            found.events[event.event] += event.count
    machines = sum(event.count for event in events if event.is_machine)
    return Progress(found.enrollments, found.at_node, found.messages, found.events, machines)


async def account(db: Database, tenant_id: UUID, campaign_id: UUID, *, first_node: str) -> Account:
    """The figures of the end; nothing moves any more."""
    async with db.transaction(Role.READONLY) as tx:
        return Account(
            ends=await store.count_ends(tx, tenant_id, campaign_id),
            sent_after_suppression=await store.count_sent_after_suppression(
                tx, tenant_id, campaign_id, grace_seconds=GRACE_SECONDS
            ),
            first_wave=await store.measure_first_wave(tx, tenant_id, campaign_id, first_node),
            bodies=await store.count_bodies(tx),
            eventful_contact=await store.find_eventful_contact(tx, tenant_id, campaign_id),
            sent_by_node={
                row.node: row.count
                for row in await store.count_sent_by_node(tx, tenant_id, campaign_id)
            },
        )


async def list_sent(db: Database, tenant_id: UUID, campaign_id: UUID) -> list[UUID]:
    """The ids of all messages that the ledger calls sent."""
    found: list[UUID] = []
    while True:
        async with db.transaction(Role.READONLY) as tx:
            page = await store.list_sent(
                tx,
                tenant_id,
                campaign_id,
                after=found[-1] if found else _BEFORE_ALL,
                rows_max=PAGE_ROWS,
            )
        found += page
        if len(page) < PAGE_ROWS:
            return found


async def count_waiting(db: Database) -> int:
    """Webhook bodies that nobody has applied yet."""
    async with db.transaction(Role.READONLY) as tx:
        return (await store.count_bodies(tx)).received
