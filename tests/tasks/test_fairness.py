"""A tenant with very much due delays the others by batches, and never by its length."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import LiteralString
from uuid import UUID

from outreach.db import Database
from outreach.dev.sandbox import SandboxServer, SandboxSettings
from outreach.services.send import send_due
from outreach.services.turns import TENURE_BATCHES, Turns
from tests.support.factories import Campaign, run
from tests.support.sending import due_campaign, sending, smaller
from tests.support.waiting import eventually
from tests.support.workers import running_worker, settings_for

BATCH = 20
MANY, FEW, SMALL_TENANTS = 20_000, 20, 10

# How much of the large one was armed before the last message of the small ones.
OVERTAKEN: LiteralString = """
select count(*) from send_attempts where tenant_id = %(large)s and armed_at < (
  select max(armed_at) from send_attempts where tenant_id = any (%(small)s::uuid[]))
"""
SMALL_SENT: LiteralString = """
select count(*) from outbound_messages where tenant_id = any (%(small)s::uuid[]) and state = 'sent'
"""


async def sent_of(db: Database, tenants: list[UUID]) -> int:
    ((count,),) = await run(db, SMALL_SENT, small=tenants)
    return int(count)


async def batches_before(db: Database, large: Campaign, small: list[UUID]) -> float:
    ((overtaken,),) = await run(db, OVERTAKEN, large=large.tenant_id, small=small)
    return float(overtaken) / BATCH


async def test_small_tenants_wait_for_batches_and_not_for_a_backlog(db: Database) -> None:
    """In a process, turns: each small one has its batch after about one of the large one's."""
    large = await due_campaign(db, MANY)
    small = [(await due_campaign(db, FEW)).tenant_id for _ in range(SMALL_TENANTS)]
    stop = asyncio.Event()
    async with sending(db) as (context, _):
        turns = Turns(batch_max=BATCH, flying_max=2 * BATCH)
        context = replace(smaller(context, BATCH), turns=turns)

        async def work(tenant_id: UUID) -> None:
            await send_due(context, tenant_id, stop=stop, slice_seconds=60.0)

        backlog = asyncio.create_task(work(large.tenant_id))
        await asyncio.gather(*(work(tenant_id) for tenant_id in small))
        stop.set()
        await backlog
    assert await sent_of(db, small) == SMALL_TENANTS * FEW
    # What was on its way when they came, and a turn beside each of their two (the second is empty).
    assert await batches_before(db, large, small) <= 3 + 2 + 3


async def test_a_tenant_gets_batches_as_its_weight_says(db: Database) -> None:
    campaigns = [await due_campaign(db, 2_000) for _ in range(2)]
    await run(db, "update tenants set weight = 3 where id = %(t)s", t=campaigns[0].tenant_id)
    stop = asyncio.Event()
    async with sending(db) as (context, sandbox):
        turns = Turns(batch_max=BATCH, flying_max=1)
        context = replace(smaller(context, BATCH), turns=turns)
        works = [
            asyncio.create_task(send_due(context, c.tenant_id, stop=stop, slice_seconds=60.0))
            for c in campaigns
        ]
        await eventually(lambda: _has_sent(sandbox, 30 * BATCH))
        stop.set()
        await asyncio.gather(*works)
    query = "select tenant_id, count(*) from send_attempts group by 1"
    counts: Counter[UUID] = Counter(dict(await run(db, query)))
    heavy, light = (counts[campaign.tenant_id] for campaign in campaigns)
    assert 2.0 <= heavy / light <= 3.5


async def _has_sent(sandbox: SandboxServer, messages: int) -> bool:
    return len(sandbox.accepted) >= messages


async def test_places_are_changed_where_others_wait_for_them(db: Database, conninfo: str) -> None:
    """A worker with two places, three large tenants, and small ones behind them."""
    large = [await due_campaign(db, 3_000) for _ in range(3)]
    small = [(await due_campaign(db, FEW)).tenant_id for _ in range(SMALL_TENANTS)]
    async with SandboxServer(SandboxSettings()) as sandbox:
        settings = settings_for(conninfo, sendgrid_base_url=sandbox.url, send_batch_max=BATCH)
        async with running_worker(settings, concurrency=2):
            await eventually(lambda: _all_sent(db, small))
    for campaign in large:
        assert await batches_before(db, campaign, small) <= (SMALL_TENANTS + 3) * TENURE_BATCHES


async def _all_sent(db: Database, tenants: list[UUID]) -> bool:
    return await sent_of(db, tenants) == SMALL_TENANTS * FEW
