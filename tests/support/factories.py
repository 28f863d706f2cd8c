"""Rows for tests that begin in the middle: an enrollment at a node, a message that was sent.

Everything is inserted as the owner, in the form in which the code itself would have left it; what
the code then does with it is up to the test. Moments are given as ages, because the only clock is
the database's.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from outreach.clock import transaction_now
from outreach.core.plan import Plan, parse_plan
from outreach.core.transitions import on_accepted, start
from outreach.db import Database, Role
from outreach.ids import dedupe_key, derived_id, message_id, new_id
from outreach.services.standing import lock_standings, write_advances

_counter = itertools.count(1)

PLAN: dict[str, Any] = {
    "version": "1.0",
    "timezone": "UTC",
    "start_node_id": "intro",
    "nodes": [
        {
            "id": "intro",
            "action": "send",
            "subject": "A question",
            "body": "Hello.",
            "transitions": [
                {"on": "opened", "to": "wait_click", "within": "PT72H"},
                {"on": "no_open", "to": "bump", "after": "PT72H"},
                {"on": "bounced", "to": "stop"},
            ],
        },
        {
            "id": "wait_click",
            "action": "wait",
            "transitions": [
                {"on": "clicked", "to": "stop", "within": "PT24H"},
                {"on": "no_click", "to": "bump", "after": "PT24H"},
            ],
        },
        {"id": "bump", "action": "send", "subject": "Once more", "body": "Hello again."},
    ],
}


@dataclass(frozen=True, slots=True)
class Campaign:
    """A tenant's campaign that runs, with its plan and its sender."""

    tenant_id: UUID
    id: UUID
    sender_id: UUID
    plan: Plan


@dataclass(frozen=True, slots=True)
class Enrollment:
    """A contact on its way through a campaign, at the start node."""

    campaign: Campaign
    id: UUID
    contact_id: UUID
    email: str

    @property
    def tenant_id(self) -> UUID:
        return self.campaign.tenant_id


@dataclass(frozen=True, slots=True)
class Message:
    """A message of an enrollment, and its latest attempt."""

    enrollment: Enrollment
    id: UUID
    attempt: int
    provider_message_id: str | None

    @property
    def tenant_id(self) -> UUID:
        return self.enrollment.tenant_id


async def run(db: Database, query: LiteralString, **params: object) -> list[tuple[Any, ...]]:
    """One statement as the owner, committed; its rows."""
    async with db.connection() as connection:
        cursor = await connection.execute(query, params)
        return await cursor.fetchall() if cursor.description else []


async def make_tenant(db: Database, slug: str | None = None) -> UUID:
    """An active tenant that may launch."""
    tenant_id = new_id()
    await run(
        db,
        "insert into tenants (id, slug, name, postal_address)"
        " values (%(id)s, %(slug)s, %(slug)s, '1 Main St')",
        id=tenant_id,
        slug=slug or f"tenant-{next(_counter)}",
    )
    return tenant_id


async def make_campaign(
    db: Database, tenant_id: UUID | None = None, plan: dict[str, Any] | None = None
) -> Campaign:
    """An active campaign with a verified sender; of a new tenant unless one is given."""
    tenant_id = tenant_id or await make_tenant(db)
    parsed = parse_plan(plan or PLAN)
    campaign = Campaign(tenant_id, new_id(), new_id(), parsed)
    number = next(_counter)
    await run(
        db,
        "with sender as ("
        " insert into sender_identities"
        "  (tenant_id, id, from_email, from_name, state, verified_at, verified_by)"
        " values (%(t)s, %(sender)s, %(email)s, 'Ana', 'verified', now(), 'provider')),"
        " campaign as (insert into campaigns (tenant_id, id, name, state, sender_id, launched_at)"
        " values (%(t)s, %(c)s, %(name)s, 'active', %(sender)s, now()))"
        " insert into campaign_plans (tenant_id, campaign_id, version, plan, hash)"
        " values (%(t)s, %(c)s, 1, %(plan)s::jsonb, %(hash)s)",
        t=tenant_id,
        c=campaign.id,
        sender=campaign.sender_id,
        email=f"ana{number}@acme.example",
        name=f"Campaign {number}",
        plan=parsed.canonical(),
        hash=parsed.hash(),
    )
    return campaign


async def enroll(
    db: Database, campaign: Campaign, *, email: str | None = None, timezone: str | None = None
) -> Enrollment:
    """A new contact, launched: it stands at the start node and its action is scheduled."""
    address = email or f"sam{next(_counter)}@cust.example"
    enrollment = Enrollment(campaign, new_id(), new_id(), address)
    await run(
        db,
        "with contact as (insert into contacts (tenant_id, id, email, timezone)"
        " values (%(t)s, %(contact)s, %(email)s, %(zone)s))"
        " insert into enrollments (tenant_id, id, campaign_id, contact_id, sender_id, plan_version)"
        " values (%(t)s, %(e)s, %(c)s, %(contact)s, %(s)s, 1)",
        t=campaign.tenant_id,
        e=enrollment.id,
        c=campaign.id,
        contact=enrollment.contact_id,
        s=campaign.sender_id,
        email=address,
        zone=timezone,
    )
    async with db.transaction(Role.WORKER, campaign.tenant_id) as tx:
        standing = (await lock_standings(tx, campaign.tenant_id, [enrollment.id]))[enrollment.id]
        advance = start(standing.plan, standing.zone, await transaction_now(tx))
        await write_advances(tx, campaign.tenant_id, [(standing, advance)])
    return enrollment


async def make_message(
    db: Database,
    enrollment: Enrollment,
    *,
    outcome: str = "armed",
    age: timedelta = timedelta(0),
    provider_message_id: str | None = None,
) -> Message:
    """The message of the step at which the enrollment stands, with one attempt of this outcome.

    Its action is claimed. `armed` and `unknown` are as the send pipeline leaves them, `rejected`
    is refused for good.
    """
    state = {"armed": "sending", "unknown": "unknown", "rejected": "failed"}[outcome]
    rows = await run(
        db,
        "update scheduled_actions set state = 'claimed', updated_at = now()"
        " where tenant_id = %(t)s and enrollment_id = %(e)s and kind = 'send' and state = 'pending'"
        " returning id, node_id, visit",
        t=enrollment.tenant_id,
        e=enrollment.id,
    )
    ((action_id, node_id, visit),) = rows
    key = dedupe_key(enrollment.id, node_id, visit)
    message = Message(enrollment, message_id(enrollment.tenant_id, key), 1, provider_message_id)
    await run(
        db,
        "with message as (insert into outbound_messages"
        " (tenant_id, id, enrollment_id, campaign_id, contact_id, sender_id, action_id, node_id,"
        "  visit, dedupe_key, to_address, to_domain, from_address, from_name, subject, body_text,"
        "  body_html, state, provider_message_id, wake_at, created_at)"
        " values (%(t)s, %(m)s, %(e)s, %(c)s, %(contact)s, %(s)s, %(action)s, %(node)s,"
        "  %(visit)s, %(key)s, %(email)s, split_part(%(email)s, '@', 2), 'ana@acme.example', 'Ana',"
        "  'Subject', 'Body', '<p>Body</p>', 'sending', %(provider_id)s, now(), now() - %(age)s)),"
        " action as (update scheduled_actions set message_id = %(m)s"
        "  where tenant_id = %(t)s and id = %(action)s)"
        " insert into send_attempts"
        "  (tenant_id, message_id, attempt, outcome, armed_at, deadline_at, settled_at,"
        "   provider_message_id)"
        " values (%(t)s, %(m)s, 1, %(outcome)s::attempt_outcome, now() - %(age)s,"
        "  now() - %(age)s + interval '10 seconds',"
        "  case when %(outcome)s <> 'armed' then now() end, %(provider_id)s)",
        t=enrollment.tenant_id,
        m=message.id,
        e=enrollment.id,
        c=enrollment.campaign.id,
        contact=enrollment.contact_id,
        s=enrollment.campaign.sender_id,
        action=action_id,
        node=node_id,
        visit=visit,
        key=key,
        email=enrollment.email,
        provider_id=provider_message_id,
        age=age,
        outcome=outcome,
    )
    if state != "sending":
        await run(
            db,
            "update outbound_messages set state = %(state)s::message_state,"
            " wake_at = case when %(state)s = 'unknown' then now() end"
            " where tenant_id = %(t)s and id = %(m)s",
            t=enrollment.tenant_id,
            m=message.id,
            state=state,
        )
    return message


async def make_sent(
    db: Database, enrollment: Enrollment, *, age: timedelta = timedelta(hours=1)
) -> Message:
    """The step's message, accepted by the provider `age` ago; its timers run since then."""
    provider_id = f"Xj5Lm{next(_counter)}"
    message = await make_message(db, enrollment, age=age, provider_message_id=provider_id)
    tenant_id = enrollment.tenant_id
    await run(
        db,
        "update send_attempts set outcome = 'accepted', settled_at = now(), settled_by = 'answer'"
        " where tenant_id = %(t)s and message_id = %(m)s",
        t=tenant_id,
        m=message.id,
    )
    await run(
        db,
        "with message as (update outbound_messages set state = 'sent', accepted_attempt = 1,"
        "  sent_at = now() - %(age)s, wake_at = null where tenant_id = %(t)s and id = %(m)s)"
        " update scheduled_actions set state = 'done', updated_at = now()"
        " where tenant_id = %(t)s and message_id = %(m)s",
        t=tenant_id,
        m=message.id,
        age=age,
    )
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        now = await transaction_now(tx)
        standing = (await lock_standings(tx, tenant_id, [enrollment.id]))[enrollment.id]
        advance = on_accepted(standing.plan, standing.position, now - age, [], standing.zone, now)
        assert advance is not None, "the enrollment waits for this message"
        standing = replace(standing, latest_message_id=message.id)
        await write_advances(tx, tenant_id, [(standing, advance)])
    return message


def event(
    message: Message | None,
    name: str,
    *,
    at: datetime | None = None,
    id: str | None = None,
    **fields: object,
) -> dict[str, Any]:
    """One event as SendGrid sends it, with our custom args; its id follows from its content."""
    moment = at or datetime.now(UTC)
    data: dict[str, Any] = {"event": name, "timestamp": int(moment.timestamp())}
    if message is not None:
        data |= {
            "email": message.enrollment.email,
            "outreach_tenant": str(message.tenant_id),
            "outreach_message_id": str(message.id),
            "outreach_attempt": str(message.attempt),
        }
    data |= fields
    content = json.dumps(data, sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()[:22]
    return {**data, "sg_event_id": id or digest}


async def receive(db: Database, *events: object, raw: bytes | None = None) -> UUID:
    """Store a body as the webhook route does; the id of the delivery."""
    payload = json.dumps(events).encode() if raw is None else raw
    delivery_id = new_id()
    salt = derived_id(delivery_id).bytes
    await run(
        db,
        "insert into webhook_deliveries (id, provider, payload_hash, payload)"
        " values (%(id)s, 'sendgrid', %(hash)s, %(payload)s)",
        id=delivery_id,
        hash=hashlib.sha256(salt + payload).digest(),
        payload=payload,
    )
    return delivery_id


async def position_of(db: Database, enrollment: Enrollment) -> tuple[str, str | None, str | None]:
    """State, node and end reason of an enrollment."""
    rows = await run(
        db,
        "select state::text, current_node_id, end_reason from enrollments"
        " where tenant_id = %(t)s and id = %(e)s",
        t=enrollment.tenant_id,
        e=enrollment.id,
    )
    ((state, node_id, end_reason),) = rows
    return state, node_id, end_reason
