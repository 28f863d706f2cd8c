"""What tests of sending share: a context against a sandbox, due mail by the set, and the judge."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, LiteralString
from uuid import UUID

from outreach.config import Settings, load
from outreach.db import Database
from outreach.dev.sandbox import SandboxServer, SandboxSettings
from outreach.providers.sendgrid import SendGrid
from outreach.services.send import SendContext, send_context, send_due
from tests.support.factories import Campaign, make_campaign, run

SECRET = "a secret that is long enough"

ENROLL: LiteralString = """
with contact as (
  insert into contacts (tenant_id, first_name, email)
  select %(t)s, 'Person ' || n, %(prefix)s::text || n || '@'
    || (%(domains)s::text[])[1 + n %% cardinality(%(domains)s::text[])]
  from generate_series(1, %(count)s::int) as n
  returning tenant_id, id
),
enrollment as (
  insert into enrollments (tenant_id, campaign_id, contact_id, sender_id, plan_version, state,
    current_node_id, visits, entered_at)
  select tenant_id, %(c)s, id, %(s)s, 1, 'active', 'intro', '{"intro": 1}', now() from contact
  returning tenant_id, id, campaign_id, sender_id
),
step as (
  insert into campaign_transitions (tenant_id, enrollment_id, to_node_id, visit, code, occurred_at)
  select tenant_id, id, 'intro', 1, 'entered', now() from enrollment
)
insert into scheduled_actions
  (tenant_id, enrollment_id, campaign_id, sender_id, node_id, visit, kind, due_at)
select tenant_id, id, campaign_id, sender_id, 'intro', 1, 'send', now() - interval '1 second'
from enrollment
"""


def settings_for(sandbox: SandboxServer, **given: object) -> Settings:
    """Settings whose provider is this sandbox."""
    return load(
        sendgrid_base_url=sandbox.url,
        sendgrid_api_key="SG.test",
        secret_keys=SECRET,
        public_url="http://127.0.0.1:8000",
        **given,
    )


@asynccontextmanager
async def sending(
    db: Database, *, settings: SandboxSettings | None = None, **given: object
) -> AsyncIterator[tuple[SendContext, SandboxServer]]:
    """A sender and the sandbox that it sends to."""
    async with SandboxServer(settings or SandboxSettings()) as sandbox:
        ours = settings_for(sandbox, **given)
        async with SendGrid(ours) as provider:
            yield send_context(db, provider, ours), sandbox


async def due_campaign(
    db: Database,
    count: int,
    *,
    tenant_id: UUID | None = None,
    domains: tuple[str, ...] = ("cust.example",),
    is_limited: bool = False,
    **given: Any,
) -> Campaign:
    """An active campaign with `count` first mails due now; limits are off unless asked for."""
    campaign = await make_campaign(db, tenant_id, **given)
    await enroll_many(db, campaign, count, domains)
    if not is_limited:
        await lift_limits(db, campaign.tenant_id)
    return campaign


async def enroll_many(
    db: Database, campaign: Campaign, count: int, domains: tuple[str, ...] = ("cust.example",)
) -> None:
    """Contacts enrolled and due, in one statement."""
    await run(
        db,
        ENROLL,
        t=campaign.tenant_id,
        c=campaign.id,
        s=campaign.sender_id,
        count=count,
        prefix=f"p{campaign.id.hex[-6:]}-",
        domains=list(domains),
    )


async def lift_limits(db: Database, tenant_id: UUID) -> None:
    """Every window off, the installation's too."""
    await run(
        db,
        "insert into send_rate_limits (tenant_id, scope, is_off)"
        " select %(t)s, s, true from unnest(array['sender', 'tenant', 'domain']) as s"
        " on conflict (tenant_id, scope, key) do update set is_off = true",
        t=tenant_id,
    )
    await run(db, "update installation set is_limit_off = true")


async def due_again(db: Database) -> None:
    """Whoever waits for a timer stands at the plan's next mail instead, and it is due."""
    await run(
        db,
        "with next as (update scheduled_actions set kind = 'send', trigger = null, due_at = now(),"
        "  node_id = 'bump' where kind = 'timeout' and state = 'pending'"
        "  returning tenant_id, enrollment_id)"
        " update enrollments e set current_node_id = 'bump', visits = e.visits || '{\"bump\": 1}',"
        "  accepted_at = null"
        " from next where e.tenant_id = next.tenant_id and e.id = next.enrollment_id",
    )


async def drain(context: SendContext, tenant_id: UUID, *, seconds: float = 30.0) -> None:
    """Send until nothing more can go now."""
    stop = asyncio.Event()
    while await send_due(context, tenant_id, stop=stop, slice_seconds=seconds):
        pass


def smaller(context: SendContext, batch_max: int, batches_in_flight: int = 3) -> SendContext:
    """The same with other batches."""
    return replace(context, batch_max=batch_max, batches_in_flight=batches_in_flight)


async def message_states(db: Database) -> dict[str, int]:
    """How many messages are in each state."""
    rows = await run(db, "select state::text, count(*) from outbound_messages group by 1")
    return dict(rows)


def accepted_by_message(sandbox: SandboxServer) -> Counter[str]:
    """How often the sandbox accepted each message."""
    return Counter(str(one.outreach_message_id) for one in sandbox.accepted)
