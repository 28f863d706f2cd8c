"""Campaigns, senders and many contacts for tests that need some to be there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection

from outreach.core.audience import parse_audience
from outreach.db import Database, Role
from outreach.services import campaigns
from outreach.services.enroll import Addresses, Audience, Enrolled, Matching, enroll
from tests.support.people import ACTOR

SENDER = "ana@acme.example"

INSERT_SENDER: LiteralString = """
insert into sender_identities (tenant_id, from_email, from_name, state, verified_at, verified_by)
values (%(tenant_id)s::uuid, %(email)s::text, 'Ana', %(state)s::sender_state,
  case when %(state)s = 'verified' then now() end, 'test')
returning id
"""
INSERT_CONTACTS: LiteralString = """
insert into contacts (tenant_id, email, first_name, timezone, country, attributes)
select %(tenant_id)s::uuid, %(prefix)s::text || n || '@example.com', 'Person ' || n,
  (%(timezones)s::text[])[1 + n %% cardinality(%(timezones)s::text[])],
  case when n %% 2 = 0 then 'US' end, jsonb_build_object('tier', n %% 3)
from generate_series(1, %(count)s::int) as n
"""


def plan_data(**changes: Any) -> dict[str, Any]:
    """One mail, then a wait of three days for an open, then another mail."""
    plan: dict[str, Any] = {
        "version": "1.0",
        "timezone": "UTC",
        "start_node_id": "intro",
        "nodes": [
            {
                "id": "intro",
                "channel": "email",
                "action": "send",
                "subject": "Hello",
                "body": "Hi {{ contact.first_name | default: 'there' }}",
                "transitions": [
                    {"on": "no_open", "to": "bump", "after": "PT72H"},
                    {"on": "replied", "to": "stop"},
                ],
            },
            {
                "id": "bump",
                "channel": "email",
                "action": "send",
                "subject": "Again",
                "body": "Hi once more",
            },
        ],
    }
    return plan | changes


async def new_sender(
    db: Database, tenant_id: UUID, email: str = SENDER, *, state: str = "verified"
) -> UUID:
    """A sender in that state."""
    async with db.transaction(Role.APP, tenant_id) as tx:
        parameters = {"tenant_id": tenant_id, "email": email, "state": state}
        row = await (await tx.execute(INSERT_SENDER, parameters)).fetchone()
    assert row is not None
    sender_id: UUID = row[0]
    return sender_id


async def new_contacts(
    db: Database,
    tenant_id: UUID,
    count: int,
    *,
    prefix: str = "c",
    timezones: Sequence[str | None] = (None,),
) -> None:
    """Contacts `c1@example.com` and on; every second in the US, a tier from 0 to 2."""
    async with db.transaction(Role.APP, tenant_id) as tx:
        parameters = {
            "tenant_id": tenant_id,
            "count": count,
            "prefix": prefix,
            "timezones": list(timezones),
        }
        await tx.execute(INSERT_CONTACTS, parameters)


async def new_campaign(db: Database, tenant_id: UUID, name: str = "Spring", **changes: Any) -> UUID:
    """A draft of the small plan, with `changes` to the plan."""
    created = await campaigns.create(
        db,
        tenant_id,
        name=name,
        plan=json.dumps(plan_data(**changes)).encode(),
        sender_email=SENDER,
        actor=ACTOR,
    )
    return created.id


async def enroll_all(db: Database, tenant_id: UUID, name: str = "Spring") -> Enrolled:
    """Everybody whom the tenant knows."""
    return await enroll(db, tenant_id, name, Matching(), actor=ACTOR)


async def enroll_where(db: Database, tenant_id: UUID, where: str) -> Enrolled:
    """Those for whom the expression holds."""
    return await enroll(db, tenant_id, "Spring", Matching(parse_audience(where)), actor=ACTOR)


async def enroll_lines(
    db: Database, tenant_id: UUID, *lines: str, name: str = "Spring"
) -> Enrolled:
    """The contacts with these addresses."""
    audience: Audience = Addresses(lines)
    return await enroll(db, tenant_id, name, audience, actor=ACTOR)


@contextmanager
def statements_counted(monkeypatch: Any) -> Iterator[list[str]]:
    """Everything that asynchronous connections execute inside the block."""
    seen: list[str] = []
    original = AsyncConnection.execute

    async def execute(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(str(query))
        return await original(self, query, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(AsyncConnection, "execute", execute)
        yield seen
