"""A new sender's first days, and those of a pool that senders share."""

from __future__ import annotations

from typing import Any

import pytest

from outreach.core.errors import Invalid, NotFound
from outreach.core.limits import DAY, Override, Scope
from outreach.db import Database
from outreach.dev.sandbox import FaultOrder, SandboxServer
from outreach.services import limits, pools
from outreach.services.limits import Usage
from outreach.services.outcomes import Freed
from outreach.services.send import SendContext, give_back
from tests.support.factories import Campaign, make_campaign, run
from tests.support.people import ACTOR
from tests.support.sending import drain, due_campaign, enroll_many, sending

STEEP = Override(is_off=True, per_day=40, warm_up=5)


async def steep_campaign(db: Database, count: int, **given: Any) -> Campaign:
    """A campaign whose sender may send 5, 10, 20, then 40 a day."""
    campaign = await due_campaign(db, count, **given)
    await limits.set_for_tenant(db, campaign.tenant_id, Scope.SENDER, STEEP, actor=ACTOR)
    return campaign


async def pass_days(db: Database, days: int) -> None:
    """Let whole days go by: no token of before counts, and warm-ups are so much older."""
    await run(db, "delete from rate_limit_counters")
    for statement in (
        "update sender_identities set first_sent_at = first_sent_at - make_interval(days => %(d)s)",
        "update ip_pools set first_sent_at = first_sent_at - make_interval(days => %(d)s)",
    ):
        await run(db, statement, d=days)
    await run(db, "update tenants set parked_until = null")
    await run(db, "update scheduled_actions set due_at = now() where state = 'pending'")


async def sent_now(context: SendContext, sandbox: SandboxServer, campaign: Campaign) -> int:
    before = len(sandbox.accepted)
    await drain(context, campaign.tenant_id)
    return len(sandbox.accepted) - before


async def reasons(db: Database) -> list[Any]:
    return await run(
        db,
        "select reason, (detail->>'n')::int, (detail->>'day')::int from send_holds"
        " where ended_at is null",
    )


async def address_of(db: Database, campaign: Campaign) -> str:
    ((email,),) = await run(
        db,
        "select from_email from sender_identities where id = %(s)s",
        s=campaign.sender_id,
    )
    return str(email)


async def shown_day(db: Database, campaign: Campaign, scope: Scope) -> Usage:
    """The day of the only key of a scope."""
    shown = await limits.show(db, campaign.tenant_id)
    (day,) = [u for u in shown if (u.scope, u.window_seconds) == (scope, DAY)]
    return day


def pools_of(sandbox: SandboxServer) -> set[object]:
    """The pools by which mail went; None: by none."""
    bodies = [sandbox.body(one.message_id) or {} for one in sandbox.accepted]
    return {body.get("ip_pool_name") for body in bodies}


async def test_a_sender_doubles_every_three_days_from_its_first_mail(db: Database) -> None:
    campaign = await steep_campaign(db, 200)
    async with sending(db) as (context, sandbox):
        assert await sent_now(context, sandbox, campaign) == 5
        assert await reasons(db) == [("limit_warmup", 5, 1)]
        day = await shown_day(db, campaign, Scope.SENDER)
        assert (day.limit, day.used, day.warm_up_day) == (5, 5, 1)
        assert day.frees_at is not None
        sent = []
        for _ in range(11):
            await pass_days(db, 1)
            sent.append(await sent_now(context, sandbox, campaign))
    assert sent == [5, 5, 10, 10, 10, 20, 20, 20, 40, 40, 15]
    assert await reasons(db) == []


async def test_a_month_of_waiting_warms_nothing(db: Database) -> None:
    campaign = await steep_campaign(db, 50)
    await run(db, "update sender_identities set created_at = now() - interval '30 days'")
    await pass_days(db, 30)
    async with sending(db) as (context, sandbox):
        assert await sent_now(context, sandbox, campaign) == 5


async def test_what_was_refused_is_no_first_mail(db: Database) -> None:
    campaign = await steep_campaign(db, 50)
    async with sending(db) as (context, sandbox):
        sandbox.order(FaultOrder(status=400, times=50))
        await drain(context, campaign.tenant_id)
        rows = await run(db, "select first_sent_at from sender_identities")
        assert rows == [(None,)]
        sandbox.order(FaultOrder(status=400, times=1))
    campaign = await steep_campaign(db, 5)
    async with sending(db) as (context, sandbox):
        await drain(context, campaign.tenant_id)
        rows = await run(
            db,
            "select first_sent_at > now() - interval '1 minute' from sender_identities"
            " where id = %(s)s",
            s=campaign.sender_id,
        )
        assert rows == [(True,)]


async def test_the_first_mail_stays_the_first(db: Database) -> None:
    campaign = await steep_campaign(db, 9)
    await run(db, "update sender_identities set first_sent_at = now() - interval '7 days'")
    before = await run(db, "select first_sent_at from sender_identities")
    async with sending(db) as (context, sandbox):
        assert await sent_now(context, sandbox, campaign) == 9
    assert await run(db, "select first_sent_at from sender_identities") == before


async def test_off_lifts_the_warm_up_and_a_first_day_at_the_cap_ends_it(db: Database) -> None:
    campaign = await steep_campaign(db, 300)
    email = await address_of(db, campaign)
    scope, tenant_id = Scope.SENDER, campaign.tenant_id
    async with sending(db) as (context, sandbox):
        assert await sent_now(context, sandbox, campaign) == 5
        at_cap = Override(warm_up=40)
        await limits.set_for_tenant(db, tenant_id, scope, at_cap, name=email, actor=ACTOR)
        assert await sent_now(context, sandbox, campaign) == 35
        assert await reasons(db) == [("limit_day", 40, None)]
        off = Override(is_off=True)
        await limits.set_for_tenant(db, tenant_id, scope, off, name=email, actor=ACTOR)
        assert await sent_now(context, sandbox, campaign) == 260


# --- pools -------------------------------------------------------------------------------------


async def pooled(db: Database, count: int) -> tuple[Campaign, Campaign]:
    """Two senders of a tenant, without limits of their own, in a pool of 8 a day."""
    first = await due_campaign(db, count)
    second = await make_campaign(db, first.tenant_id)
    await enroll_many(db, second, count)
    for campaign in (first, second):
        email = await address_of(db, campaign)
        await pools.assign(db, first.tenant_id, email, "cold", actor=ACTOR)
    small = Override(warm_up=8)
    await limits.set_for_tenant(db, first.tenant_id, Scope.POOL, small, name="cold", actor=ACTOR)
    return first, second


async def test_senders_of_a_pool_share_its_days(db: Database) -> None:
    first, _ = await pooled(db, 100)
    async with sending(db) as (context, sandbox):
        assert await sent_now(context, sandbox, first) == 8
        assert await reasons(db) == [("limit_warmup", 8, 1)] * 2
        assert len({one.sender for one in sandbox.accepted}) == 2, "in turns"
        assert pools_of(sandbox) == {"cold"}
        sent = []
        for _ in range(4):
            await pass_days(db, 1)
            sent.append(await sent_now(context, sandbox, first))
    assert sent == [8, 8, 16, 16]
    day = await shown_day(db, first, Scope.POOL)
    assert (day.key, day.limit, day.used, day.warm_up_day) == ("cold", 16, 16, 5)


async def test_a_new_sender_of_a_warm_pool_begins_at_its_own_start(db: Database) -> None:
    first, second = await pooled(db, 60)
    await run(db, "update ip_pools set first_sent_at = now() - interval '9 days'")
    own = await address_of(db, second)
    one = Override(per_day=3)
    await limits.set_for_tenant(db, first.tenant_id, Scope.SENDER, one, name=own, actor=ACTOR)
    async with sending(db) as (context, sandbox):
        assert await sent_now(context, sandbox, first) == 63, "64 of the pool, 60 and 3 of its own"


async def test_tokens_of_a_pool_come_back(db: Database) -> None:
    first, _ = await pooled(db, 6)
    async with sending(db) as (context, sandbox):
        sandbox.order(FaultOrder(status=400, times=4))
        await drain(context, first.tenant_id)
        await drain(context, first.tenant_id)
        assert len(sandbox.accepted) == 8, "all twelve were tried: four tokens came back"


async def test_tokens_do_not_come_back_to_a_pool_that_they_were_not_taken_from(
    db: Database,
) -> None:
    first, _ = await pooled(db, 6)
    async with sending(db) as (context, sandbox):
        assert await sent_now(context, sandbox, first) == 8
    email = await address_of(db, first)
    await pools.assign(db, first.tenant_id, email, "other", actor=ACTOR)
    await pools.assign(db, first.tenant_id, email, "cold", actor=ACTOR)
    ((at,),) = await run(db, "select max(armed_at) from send_attempts")
    await give_back(db, first.tenant_id, [Freed(first.sender_id, "cust.example", at)])
    (used,) = await run(
        db,
        "select bucket_used from rate_limit_counters where scope = 'pool' and window_seconds ="
        " 86400",
    )
    assert sum(used[0]) == 8


async def test_a_sender_leaves_its_pool(db: Database) -> None:
    first, second = await pooled(db, 20)
    for campaign in (first, second):
        email = await address_of(db, campaign)
        await pools.assign(db, first.tenant_id, email, None, actor=ACTOR)
    async with sending(db) as (context, sandbox):
        assert await sent_now(context, sandbox, first) == 40
        assert pools_of(sandbox) == {None}


async def test_a_sender_that_leaves_a_full_pool_goes_on_at_once(db: Database) -> None:
    first, _ = await pooled(db, 10)
    async with sending(db) as (context, sandbox):
        assert await sent_now(context, sandbox, first) == 8, "the pool is full"
        await pools.assign(db, first.tenant_id, await address_of(db, first), None, actor=ACTOR)
        ((parked,),) = await run(db, "select parked_until from tenants")
        assert parked is None
        holds = await run(db, "select reason from send_holds where ended_at is null")
        assert holds == []
        assert await sent_now(context, sandbox, first) == 6, "all that it had"


@pytest.mark.parametrize("name", ["", "x", "a" * 65, "a\nb"])
async def test_what_is_no_name_is_refused(db: Database, name: str) -> None:
    campaign = await make_campaign(db)
    email = await address_of(db, campaign)
    with pytest.raises(Invalid):
        await pools.assign(db, campaign.tenant_id, email, name, actor=ACTOR)
    assert await run(db, "select count(*) from ip_pools") == [(0,)]


async def test_nothing_unknown_has_a_pool_or_a_limit(db: Database) -> None:
    campaign = await make_campaign(db)
    with pytest.raises(NotFound):
        await pools.assign(db, campaign.tenant_id, "no@acme.example", "cold", actor=ACTOR)
    with pytest.raises(NotFound):
        await limits.set_for_tenant(
            db, campaign.tenant_id, Scope.POOL, Override(per_day=1), name="cold", actor=ACTOR
        )
