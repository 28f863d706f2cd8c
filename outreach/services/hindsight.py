"""Where a contact's enrollments stood at a moment, why, and what was to come.

Derived from the steps, attempts, events and holds that had been recorded by then, never from where
they stand now. So it says what the program knew: an event that came in later had not happened yet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outreach.clock import transaction_now
from outreach.core.address import address_key, normalize_address
from outreach.core.errors import NotFound
from outreach.core.rebuilt import Moves, Way, delivery_from, way_of
from outreach.core.states import Delivery, EnrollmentState
from outreach.db import Database, Role
from outreach.services.campaigns import get_campaign_id
from outreach.services.explain import Entry, entry
from outreach.sql import Tx
from outreach.store import hindsight as store
from outreach.store.explain import Person, StoryRow, find_contact_by_key
from outreach.store.hindsight import EnrollmentAt, LastStep, MailAt, PendingAt
from outreach.store.rebuild import list_moves

MAILS_MAX = 200


@dataclass(frozen=True, slots=True)
class Mail:
    """A message as it was known then."""

    message_id: UUID
    node_id: str
    visit: int
    attempt: int
    outcome: str
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class View:
    """One enrollment at a moment."""

    id: UUID
    campaign: str
    at: datetime
    state: str
    node_id: str | None
    visit: int
    end_reason: str | None
    because: Entry | None  # None: it had not begun
    event_id: str | None  # that caused the step
    held_by: list[str]
    pending: list[PendingAt]
    mails: list[Mail]


async def view(
    db: Database,
    tenant_id: UUID,
    email: str,
    *,
    campaign: str | None = None,
    at: datetime | None = None,
) -> list[View]:
    """The contact's enrollments at that moment (None: now), oldest first.

    Raises NotFound for a contact that is unknown, or was in no campaign then.
    """
    address = normalize_address(email)
    async with db.snapshot(Role.APP, tenant_id) as tx:
        person = None
        if address is not None:
            person = await find_contact_by_key(tx, tenant_id, address_key(address))
        if person is None:
            raise NotFound("contact", email)
        campaign_id = None if campaign is None else await get_campaign_id(tx, tenant_id, campaign)
        moment = at or await transaction_now(tx)
        found = await store.list_enrollments_at(tx, tenant_id, person.id, campaign_id, moment)
        if not found:
            raise NotFound("enrollment of", email)
        return await _views(tx, tenant_id, person, found, moment)


async def _views(
    tx: Tx, tenant_id: UUID, person: Person, found: Sequence[EnrollmentAt], at: datetime
) -> list[View]:
    ids = [one.id for one in found]
    moves: dict[UUID, list[Moves]] = defaultdict(list)
    for move in await list_moves(tx, tenant_id, ids, until=at):
        moves[move.enrollment_id].append(move)
    ways = {one.id: way_of(moves[one.id]) for one in found}
    places = [(id_, None if way.end else way.node_id) for id_, way in ways.items() if moves[id_]]
    steps = {one.enrollment_id: one for one in await _steps(tx, tenant_id, places, at)}
    pending: dict[UUID, list[PendingAt]] = defaultdict(list)
    for action in await store.list_pending_at(tx, tenant_id, ids, at):
        pending[action.enrollment_id].append(action)
    mails: dict[UUID, list[Mail]] = defaultdict(list)
    for mail in await store.list_mails_at(tx, tenant_id, ids, at, rows_max=MAILS_MAX):
        mails[mail.enrollment_id].append(_mail(mail))
    return [
        _view(person, one, at, ways[one.id], steps.get(one.id), pending[one.id], mails[one.id])
        for one in found
    ]


async def _steps(
    tx: Tx, tenant_id: UUID, places: Sequence[tuple[UUID, str | None]], at: datetime
) -> list[LastStep]:
    return await store.list_last_steps(tx, tenant_id, places, at) if places else []


def _mail(row: MailAt) -> Mail:
    delivery = delivery_from(row.event_types)
    return Mail(row.message_id, row.node_id, row.visit, row.attempt, row.outcome, delivery)


def _view(
    person: Person,
    one: EnrollmentAt,
    at: datetime,
    way: Way,
    step: LastStep | None,
    pending: list[PendingAt],
    mails: list[Mail],
) -> View:
    because = None
    if step is not None:
        detail = {"campaign": one.campaign, **step.detail}
        known = {key: value for key, value in detail.items() if value is not None}
        because = entry(person, StoryRow(step.at, 0, "transition", step.code, known))
    return View(
        id=one.id,
        campaign=one.campaign,
        at=at,
        state=_state(one, way),
        node_id=way.node_id,
        visit=way.visits.get(way.node_id or "", 0),
        end_reason=None if way.end is None else way.end.end_reason or way.end.end_code,
        because=because,
        event_id=None if step is None else step.event_id,
        held_by=[] if way.end else one.held_by,
        pending=[] if way.end else pending,
        mails=mails,
    )


def _state(one: EnrollmentAt, way: Way) -> str:
    if way.end is not None:
        return way.end.end_code or EnrollmentState.STOPPED
    if not way.visits:
        return EnrollmentState.DRAFT
    return EnrollmentState.PAUSED if one.is_held else EnrollmentState.ACTIVE
