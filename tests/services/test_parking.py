"""Parking: who can send nothing is not looked at each second, and nothing is overlooked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import LiteralString

import pytest

from outreach.db import Database, Role
from outreach.services import control
from outreach.services.claim import claim_batch
from outreach.store.sweep import list_due_work
from outreach.store.wakeups import wake
from tests.support.factories import Campaign, make_campaign, run
from tests.support.outcomes import TERMS
from tests.support.sending import due_campaign, enroll_many

PARKED: LiteralString = "select parked_until > now() from tenants where id = %(t)s"
SOME_SECONDS_PASS: LiteralString = """
with tenant as (update tenants set parked_at = parked_at - interval '6 s' returning id)
update scheduled_actions set due_at = due_at - interval '6 s' from tenant
where tenant_id = tenant.id
"""


async def spent(db: Database) -> Campaign:
    """A tenant whose only sender has used up its tokens, and a claim has seen it."""
    campaign = await due_campaign(db, 5, is_limited=True)
    await run(
        db,
        "insert into send_rate_limits (tenant_id, scope, per_hour_max) values (%(t)s, 'sender', 2)",
        t=campaign.tenant_id,
    )
    assert await claim(db, campaign) == 2
    assert await claim(db, campaign) == 0
    assert await is_parked(db, campaign)
    return campaign


async def claim(db: Database, campaign: Campaign) -> int:
    found = await claim_batch(
        db, campaign.tenant_id, size_max=10, terms=TERMS, deadline_seconds=10.0
    )
    return len(found.mails)


async def is_parked(db: Database, campaign: Campaign) -> bool:
    ((is_later,),) = await run(db, PARKED, t=campaign.tenant_id)
    return bool(is_later)


async def is_due(db: Database) -> bool:
    async with db.transaction(Role.WORKER) as tx:
        return any(work.task == "send_due" for work in await list_due_work(tx))


async def test_a_tenant_without_tokens_does_not_look_due(db: Database) -> None:
    await spent(db)
    assert not await is_due(db)
    await run(db, SOME_SECONDS_PASS)
    assert not await is_due(db), "what was due then is not looked at again"


async def test_what_comes_due_while_it_is_parked_is_found(db: Database) -> None:
    """Another sender's mail does not wait for the tokens of the first."""
    campaign = await spent(db)
    other = await make_campaign(db, campaign.tenant_id)
    await enroll_many(db, other, 1)
    moment: LiteralString = "update scheduled_actions set due_at = now() where sender_id = %(s)s"
    await run(db, moment, s=other.sender_id)
    assert not await is_due(db), "not each second"
    await run(db, SOME_SECONDS_PASS)
    assert await is_due(db)
    assert await claim(db, campaign) == 1
    assert await claim(db, campaign) == 0
    assert not await is_due(db)


async def by_a_wake_up(db: Database, campaign: Campaign) -> None:
    async with db.transaction(Role.APP, campaign.tenant_id) as tx:
        await wake(tx, "send_due", tenant_id=campaign.tenant_id)


async def by_the_installation(db: Database, campaign: Campaign) -> None:
    await control.pause_installation(db, reason="r", actor="mei")
    await claim(db, campaign)
    await control.resume_installation(db, actor="mei")


async def by_the_tenant(db: Database, campaign: Campaign) -> None:
    ((slug,),) = await run(db, "select slug from tenants where id = %(t)s", t=campaign.tenant_id)
    await control.pause_tenant(db, slug, reason="r", actor="mei")
    await control.resume_tenant(db, slug, actor="mei")


@pytest.mark.parametrize("end", [by_a_wake_up, by_the_installation, by_the_tenant])
async def test_who_has_news_ends_the_parking(
    db: Database, end: Callable[[Database, Campaign], Awaitable[None]]
) -> None:
    campaign, bystander = await spent(db), await spent(db)
    await end(db, campaign)
    assert not await is_parked(db, campaign)
    if end is not by_the_installation:
        assert await is_parked(db, bystander)


async def test_a_wake_up_for_timers_leaves_it_parked(db: Database) -> None:
    campaign = await spent(db)
    async with db.transaction(Role.WORKER, campaign.tenant_id) as tx:
        await wake(tx, "fire_timers", tenant_id=campaign.tenant_id)
    async with db.transaction(Role.WORKER) as tx:  # as the runner does after a slice
        await wake(tx, "send_due", tenant_id=campaign.tenant_id)
    assert await is_parked(db, campaign)
