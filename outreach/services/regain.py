"""Mail that went out and that this database does not know: found by its events, and put back.

An event carries the id of its message, and that id is derived from enrollment, node and visit. So
an event that nobody can place is tried against the steps of the address it names: one whose id
comes out was sent from this very data, and the ledger has lost it. That proves a loss, which holds
all sending when it is news, and it is enough to make the ledger's row anew: its step then settles
as sent instead of being sent again.

What belongs to another installation on the same account, to nobody any more, or to an enrollment
that was lost as well comes out nowhere. It is counted and shown, and moves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from outreach import ids
from outreach.core.address import normalize_address
from outreach.core.plan import Plan
from outreach.core.provider_events import ProviderEvent, read_event
from outreach.core.states import EventType
from outreach.db import Database, Role
from outreach.services import audit
from outreach.services.apply_events import adopt_events
from outreach.services.fence import hold
from outreach.services.plans import load_plans
from outreach.services.standing import lock_standings
from outreach.sql import Tx
from outreach.store import fence as fence_store
from outreach.store import regain as store
from outreach.store.incidents import Incident, raise_incidents
from outreach.store.regain import LostTime, Proven, StepRow

ROWS_MAX = 500
VISITS_MAX = 10  # of one node by one contact; nobody's loop has gone round more often
# `processed` comes within minutes. What else may come late, so for some days after an approval it
# may speak of mail that the operator knows to be lost.
LATE = timedelta(days=3)
EXAMPLES_MAX = 20

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AT_ONCE = frozenset({EventType.PROCESSED})
_SOON = frozenset(
    {
        EventType.DELIVERED,
        EventType.DEFERRED,
        EventType.BOUNCED,
        EventType.BLOCKED,
        EventType.DROPPED,
    }
)


@dataclass(frozen=True, slots=True)
class Stray:
    """A kept event of one of our tenants, and the address that it names."""

    row_id: UUID
    event: ProviderEvent
    tenant_id: UUID
    message_id: UUID
    address: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """A mail that an enrollment can have."""

    message_id: UUID
    enrollment_id: UUID
    sender_id: UUID
    node_id: str
    visit: int
    dedupe_key: str


@dataclass(slots=True)
class Gap:
    """What was found: mails put back, events that prove nothing here, and from when to when."""

    messages: int = 0
    events: int = 0  # of our tenants, whose message is unknown
    unproven: list[str] = field(default_factory=list)  # the messages that came out nowhere
    first_at: datetime | None = None
    last_at: datetime | None = None
    latest_at: datetime | None = None  # of all that was looked at: where to go on
    lost: LostTime | None = None  # the time that is lost, while sending is held for it

    def widen(self, at: datetime) -> None:
        """Let the gap reach to this moment."""
        self.first_at = at if self.first_at is None else min(self.first_at, at)
        self.last_at = at if self.last_at is None else max(self.last_at, at)


async def reconcile(db: Database, *, actor: str) -> Gap:
    """Put back all that events prove, and apply those; what came of it is on the record."""
    gap = await look_for_lost(db, since=_EPOCH)
    adopted = ROWS_MAX
    while adopted:
        adopted = await adopt_events(db)
    async with db.transaction(Role.OPERATOR) as tx:
        gap.lost = await store.find_lost_time(tx)
        await audit.record(
            tx,
            None,
            actor=actor,
            act="data_loss_reconciled",
            subject="installation",
            messages=gap.messages,
            unproven=len(gap.unproven),
        )
    return gap


async def look_for_lost(db: Database, *, since: datetime) -> Gap:
    """Put back what events that were kept since then prove; news of a loss holds all sending."""
    gap, after = Gap(), (since, UUID(int=0))
    while True:
        async with db.transaction(Role.WORKER) as tx:
            rows = await store.list_strays(
                tx, after_at=after[0], after_id=after[1], rows_max=ROWS_MAX
            )
        if rows:
            after = (rows[-1].received_at, rows[-1].id)
            gap.latest_at = rows[-1].received_at
            await _put_back(db, [s for row in rows if (s := _stray(row)) is not None], gap)
        if len(rows) < ROWS_MAX:
            return gap


def _stray(row: store.StrayRow) -> Stray | None:
    event = read_event(row.payload)
    if not isinstance(event, ProviderEvent) or None in (event.tenant_id, event.message_id):
        return None
    assert event.tenant_id is not None
    assert event.message_id is not None
    named = event.payload.get("email")
    address = normalize_address(named) if isinstance(named, str) else None
    return Stray(row.id, event, event.tenant_id, event.message_id, address)


async def _put_back(db: Database, strays: Sequence[Stray], gap: Gap) -> None:
    async with db.transaction(Role.OPERATOR) as tx:
        known = await store.list_known_tenants(tx, {stray.tenant_id for stray in strays})
    for tenant_id in sorted(known):
        own = [stray for stray in strays if stray.tenant_id == tenant_id]
        gap.events += len(own)
        await _put_back_for(db, tenant_id, own, gap)


async def _put_back_for(db: Database, tenant_id: UUID, strays: Sequence[Stray], gap: Gap) -> None:
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        fence = await fence_store.get_fence(tx)
        found = await _identify(tx, tenant_id, strays)
        await lock_standings(tx, tenant_id, {one.enrollment_id for one in found.values()})
        made = await store.insert_proven(tx, tenant_id, list(found.values())) if found else set()
        await store.look_now(tx, [s.row_id for s in strays if s.message_id in found])
        alarms = [Incident("sent_and_forgotten", str(message_id)) for message_id in made]
        await raise_incidents(tx, tenant_id, alarms)
    gap.messages += len(made)
    for stray in strays:
        if stray.message_id in found:
            gap.widen(stray.event.at)
        elif len(gap.unproven) < EXAMPLES_MAX and str(stray.message_id) not in gap.unproven:
            gap.unproven.append(str(stray.message_id))
    news = [s for s in strays if s.message_id in made and _is_news(s.event, fence.approved_at)]
    if news:
        await hold(db, "event_of_unknown_message", message_id=str(news[0].message_id))


def _is_news(event: ProviderEvent, approved_at: datetime | None) -> bool:
    """Whether it speaks of a loss that nobody can have approved yet."""
    if approved_at is None:
        return True
    if event.type in _AT_ONCE:
        return event.at > approved_at
    return event.type in _SOON and event.at > approved_at + LATE


async def _identify(tx: Tx, tenant_id: UUID, strays: Sequence[Stray]) -> dict[UUID, Proven]:
    """The steps whose message id comes out, by that id."""
    earliest: dict[UUID, Stray] = {}
    for stray in sorted(strays, key=lambda stray: stray.event.at):
        if stray.address is not None:
            earliest.setdefault(stray.message_id, stray)
    addresses = {s.address.lower() for s in earliest.values() if s.address is not None}
    rows = await store.list_steps(tx, tenant_id, addresses) if addresses else []
    plans = await load_plans(tx, tenant_id, {(row.campaign_id, row.plan_version) for row in rows})
    found = {}
    for row in rows:
        for step in _steps(tenant_id, row, plans[row.campaign_id, row.plan_version]):
            stray_of = earliest.get(step.message_id)
            if stray_of is not None:
                found[step.message_id] = _proven(step, stray_of)
    return found


def _steps(tenant_id: UUID, row: StepRow, plan: Plan) -> Iterator[Step]:
    """Every mail that this enrollment can have."""
    for node in plan.nodes:
        for visit in range(1, VISITS_MAX + 1) if node.action == "send" else ():
            key = ids.dedupe_key(row.enrollment_id, node.id, visit)
            message_id = ids.message_id(tenant_id, key)
            sender_id = node.sender_identity_id or row.sender_id
            yield Step(message_id, row.enrollment_id, sender_id, node.id, visit, key)


def _proven(step: Step, stray: Stray) -> Proven:
    assert stray.address is not None
    return Proven(
        message_id=step.message_id,
        enrollment_id=step.enrollment_id,
        sender_id=step.sender_id,
        node_id=step.node_id,
        visit=step.visit,
        dedupe_key=step.dedupe_key,
        attempt=stray.event.attempt or 1,
        address=stray.address,
        at=stray.event.at,
    )
