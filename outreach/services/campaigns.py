"""Campaigns: made as drafts from a plan that can run, found by name or id, and their figures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outreach.core.address import normalize_address
from outreach.core.errors import Conflict, Invalid, NotFound, Problem
from outreach.core.plan import Plan, parse_plan
from outreach.core.states import (
    CampaignState,
    Delivery,
    EnrollmentState,
    MessageState,
    UnknownPolicy,
)
from outreach.db import Database, Role
from outreach.ids import new_id
from outreach.services import audit
from outreach.sql import Tx
from outreach.store import campaigns as store

NAME_LENGTH_MAX = 200
FIRST_VERSION = 1

# What a status counts besides states; `none` and `deferred` say nothing final.
COUNTED_DELIVERIES = (
    Delivery.DELIVERED,
    Delivery.BOUNCED,
    Delivery.BLOCKED,
    Delivery.DROPPED,
    Delivery.COMPLAINED,
)


@dataclass(frozen=True, slots=True)
class Created:
    """A campaign that now exists."""

    id: UUID
    name: str
    state: CampaignState
    plan_version: int


@dataclass(frozen=True, slots=True)
class Status:
    """Where a campaign is: every state is a key, zeros too."""

    state: CampaignState
    plan_version: int
    enrollments: dict[str, int]
    messages: dict[str, int]
    due: int
    pending: int
    next_due_at: datetime | None


async def create(
    db: Database,
    tenant_id: UUID,
    *,
    name: str,
    plan: bytes,
    sender_email: str,
    actor: str,
    unknown_policy: UnknownPolicy = UnknownPolicy.AT_MOST_ONCE,
) -> Created:
    """A draft with version 1 of its plan.

    Raises Invalid with every problem of the plan, NotFound for the sender, Conflict when another
    campaign of the tenant has the name.
    """
    name = _checked_name(name)
    parsed = parse_plan(plan)
    async with db.transaction(Role.APP, tenant_id) as tx:
        email = normalize_address(sender_email)
        sender = None if email is None else await store.find_sender_by_email(tx, tenant_id, email)
        if sender is None:
            raise NotFound("sender", sender_email)
        await check_senders(tx, tenant_id, parsed)
        campaign_id = new_id()
        if not await store.insert_campaign(
            tx,
            tenant_id,
            campaign_id,
            name=name,
            sender_id=sender.id,
            plan=parsed.canonical(),
            plan_hash=parsed.hash(),
            unknown_policy=unknown_policy,
        ):
            raise Conflict("campaign", name, expected="new", actual="there already")
        await audit.record(
            tx,
            tenant_id,
            actor=actor,
            act="campaign_created",
            subject=name,
            campaign_id=str(campaign_id),
            unknown_policy=unknown_policy.value,
        )
    return Created(campaign_id, name, CampaignState.DRAFT, FIRST_VERSION)


async def get_campaign_id(tx: Tx, tenant_id: UUID, campaign: str) -> UUID:
    """The id of the campaign called so, else with that id; NotFound, another tenant's included."""
    found = await store.find_campaign_id(
        tx, tenant_id, name=campaign, campaign_id=as_uuid(campaign)
    )
    if found is None:
        raise NotFound("campaign", campaign)
    return found


async def status(db: Database, tenant_id: UUID, campaign: str) -> Status:
    """The campaign's figures, a statement for each kind."""
    async with db.transaction(Role.APP, tenant_id) as tx:
        campaign_id = await get_campaign_id(tx, tenant_id, campaign)
        head = await store.get_campaign_state(tx, tenant_id, campaign_id)
        enrollments = await store.count_enrollments(tx, tenant_id, campaign_id)
        messages = await store.count_messages(tx, tenant_id, campaign_id)
        actions = await store.count_actions(tx, tenant_id, campaign_id)
    by_state = {"total": 0, **{state.value: 0 for state in EnrollmentState}}
    for row in enrollments:
        by_state[row.state] += row.count
        by_state["total"] += row.count
    counted = {key.value: 0 for key in (*MessageState, *COUNTED_DELIVERIES)}
    for message in messages:
        counted[message.state] += message.count
        if message.delivery in COUNTED_DELIVERIES:
            counted[message.delivery] += message.count
    return Status(
        state=CampaignState(head.state),
        plan_version=head.plan_version,
        enrollments=by_state,
        messages=counted,
        due=actions.due,
        pending=actions.pending,
        next_due_at=actions.next_due_at,
    )


def as_uuid(text: str) -> UUID | None:
    """The id that the text spells, if it does."""
    try:
        return UUID(text)
    except ValueError:
        return None


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name or not name.isprintable() or len(name) > NAME_LENGTH_MAX:
        raise Invalid.at(
            "name", f"A name is 1 to {NAME_LENGTH_MAX} printable characters, not {name[:50]!r}."
        )
    return name


async def check_senders(tx: Tx, tenant_id: UUID, plan: Plan) -> None:
    """Raise Invalid unless every sender that a node names is this tenant's."""
    named = {
        number: node.sender_identity_id
        for number, node in enumerate(plan.nodes)
        if node.sender_identity_id is not None
    }
    if not named:
        return
    known = {sender.id for sender in await store.list_senders(tx, tenant_id, named.values())}
    problems = [
        Problem(f"$.nodes[{number}].sender_identity_id", f"There is no sender {sender_id}.")
        for number, sender_id in named.items()
        if sender_id not in known
    ]
    if problems:
        raise Invalid(problems)
