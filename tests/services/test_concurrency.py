"""`--max-concurrent`: no more requests on their way than that, whoever sends them.

Judged by the provider, which knows when each request came and when it was answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from outreach.core.limits import Override, Scope
from outreach.db import Database
from outreach.dev.sandbox import SandboxServer
from outreach.services import limits
from outreach.services.send import SendContext
from tests.support.factories import Campaign, make_campaign, run
from tests.support.people import ACTOR
from tests.support.sending import drain, due_campaign, enroll_many, sending, smaller

MAILS = 40
LATENCY_MS = 20


@asynccontextmanager
async def four_workers(db: Database) -> AsyncIterator[tuple[list[SendContext], SandboxServer]]:
    """Four senders, each with a provider of its own, at one sandbox that takes its time."""
    async with AsyncExitStack() as stack:
        context, sandbox = await stack.enter_async_context(sending(db))
        sandbox.set_latency(LATENCY_MS)
        yield [smaller(context, size) for size in (2, 5, 20, 50)], sandbox


async def hammer(
    db: Database, workers: Sequence[SendContext], campaigns: Sequence[Campaign]
) -> None:
    """Everybody at every tenant, until all of it is sent."""
    tenants = sorted({campaign.tenant_id for campaign in campaigns})
    waiting = "select count(*) from scheduled_actions where kind = 'send' and state = 'pending'"
    async with asyncio.timeout(60):
        while (await run(db, waiting))[0][0]:
            await asyncio.gather(*(drain(w, tenant) for w in workers for tenant in tenants))


def peak(sandbox: SandboxServer, senders: set[str] | None = None) -> int:
    """The most requests that were with the provider at one moment."""
    edges = []
    for one in sandbox.accepted:
        if senders is None or one.sender in senders:
            answered = one.accepted_monotonic + LATENCY_MS / 1000
            edges += [(one.arrived_monotonic, 1), (answered, -1)]
    running = most = 0
    for _, step in sorted(edges):
        running += step
        most = max(most, running)
    return most


async def set_pace(db: Database, campaign: Campaign, scope: Scope, most: int) -> None:
    given = Override(concurrent=most)
    if scope is Scope.INSTALLATION:
        await limits.set_for_installation(db, given, actor=ACTOR)
    else:
        await limits.set_for_tenant(db, campaign.tenant_id, scope, given, actor=ACTOR)


@pytest.mark.parametrize("scope", [Scope.TENANT, Scope.INSTALLATION])
async def test_a_maximum_holds_over_all_workers(db: Database, scope: Scope) -> None:
    first = await due_campaign(db, MAILS)
    second = await make_campaign(db, first.tenant_id)
    await enroll_many(db, second, MAILS)
    await set_pace(db, first, scope, 4)
    async with four_workers(db) as (workers, sandbox):
        await hammer(db, workers, [first, second])

        assert len(sandbox.accepted) == 2 * MAILS
        assert 2 <= peak(sandbox) <= 4
    rows = await run(db, "select count(*) from send_decisions where verdict <> 'send'")
    assert rows == [(0,)], "pacing is no decision"


async def test_each_sender_has_a_maximum_of_its_own(db: Database) -> None:
    first = await due_campaign(db, MAILS)
    second = await make_campaign(db, first.tenant_id)
    await enroll_many(db, second, MAILS)
    await set_pace(db, first, Scope.SENDER, 3)
    async with four_workers(db) as (workers, sandbox):
        await hammer(db, workers, [first, second])

        senders = {one.sender for one in sandbox.accepted}
        assert len(senders) == 2
        assert max(peak(sandbox, {sender}) for sender in senders) <= 3


async def test_the_installations_maximum_holds_over_tenants(db: Database) -> None:
    campaigns = [await due_campaign(db, MAILS) for _ in range(4)]
    await set_pace(db, campaigns[0], Scope.INSTALLATION, 5)
    async with four_workers(db) as (workers, sandbox):
        await hammer(db, workers, campaigns)

        assert len(sandbox.accepted) == 4 * MAILS
        assert 2 <= peak(sandbox) <= 5


async def test_without_a_maximum_more_are_on_their_way(db: Database) -> None:
    """The control: the judge can see more."""
    campaigns = [await due_campaign(db, MAILS) for _ in range(2)]
    async with four_workers(db) as (workers, sandbox):
        await hammer(db, workers, campaigns)
        assert peak(sandbox) > 10
