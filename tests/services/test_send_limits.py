"""No sliding window is ever exceeded, as the provider sees it, and few of its tokens are wasted.

Time is moved by moving the counters and everything that is due back by as much: to the code that
is the same as waiting. What the sandbox saw is then judged by an oracle on the moved clock.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest

from outreach.db import Database
from outreach.dev.sandbox import FaultOrder, SandboxServer
from outreach.services.send import SendContext
from tests.support.factories import Campaign, make_campaign, run
from tests.support.sending import drain, due_campaign, enroll_many, sending, smaller
from tests.support.windows import fullest_window, most_in_the_long_run

MINUTE, HOUR = 60, 3600


async def pass_time(db: Database, seconds: int) -> None:
    """Let `seconds` go by; a multiple of the length of the buckets in use."""
    await run(
        db,
        "update rate_limit_counters set bucket_at ="
        " (select coalesce(array_agg(b - %(s)s / (window_seconds / 60)), '{}')"
        "  from unnest(bucket_at) b),"
        " promised_until = promised_until - make_interval(secs => %(s)s)",
        s=seconds,
    )
    await run(
        db,
        "update installation_counters set bucket_at ="
        " (select coalesce(array_agg(b - %(s)s / (window_seconds / 60)), '{}')"
        "  from unnest(bucket_at) b)",
        s=seconds,
    )
    await run(
        db,
        "update scheduled_actions set due_at = due_at - make_interval(secs => %(s)s)"
        " where state = 'pending'",
        s=seconds,
    )


async def limit(db: Database, campaign: Campaign, scope: str, **caps: int) -> None:
    """Set a tenant's limit; windows that are not named are lifted."""
    await run(
        db,
        "insert into send_rate_limits (tenant_id, scope, per_minute_max, per_hour_max, is_off)"
        " values (%(t)s, %(scope)s, %(minute)s, %(hour)s, true)"
        " on conflict (tenant_id, scope, key) do update set per_minute_max = %(minute)s,"
        " per_hour_max = %(hour)s",
        t=campaign.tenant_id,
        scope=scope,
        minute=caps.get("minute"),
        hour=caps.get("hour"),
    )


async def run_for(
    db: Database,
    context: SendContext,
    sandbox: SandboxServer,
    campaign: Campaign,
    *,
    steps: int,
    step_seconds: int,
) -> dict[str, list[float]]:
    """Send through `steps` steps of time; when what was accepted, by domain, and '' for all."""
    moments: dict[str, list[float]] = defaultdict(list)
    seen = 0
    for step in range(steps):
        others = (smaller(context, 7), smaller(context, 50))
        await asyncio.gather(*(drain(c, campaign.tenant_id) for c in others))
        for record in sandbox.accepted[seen:]:
            at = record.arrived_unix + step * step_seconds
            moments[""].append(at)
            moments[record.to[0].partition("@")[2]].append(at)
        seen = len(sandbox.accepted)
        await pass_time(db, step_seconds)
    return moments


async def test_a_senders_minute_is_kept_and_used(db: Database) -> None:
    campaign = await due_campaign(db, 200)
    await limit(db, campaign, "sender", minute=20)

    async with sending(db) as (context, sandbox):
        moments = await run_for(db, context, sandbox, campaign, steps=250, step_seconds=1)

    spent = max(moments[""]) - min(moments[""])
    assert fullest_window(moments[""], MINUTE) == 20
    assert len(moments[""]) >= 0.9 * most_in_the_long_run(20, MINUTE, spent)


@pytest.mark.parametrize("scope", ["tenant", "domain", "installation"])
async def test_an_hour_is_kept_and_used_at_every_scope(db: Database, scope: str) -> None:
    campaign = await due_campaign(db, 200)
    if scope == "installation":
        await run(db, "update installation set per_hour_max = 30, is_limit_off = false")
    else:
        await limit(db, campaign, scope, hour=30)

    async with sending(db) as (context, sandbox):
        moments = await run_for(db, context, sandbox, campaign, steps=200, step_seconds=60)

    spent = max(moments[""]) - min(moments[""])
    assert fullest_window(moments[""], HOUR) == 30
    assert len(moments[""]) >= 0.9 * most_in_the_long_run(30, HOUR, spent)


async def test_all_scopes_hold_at_once_and_the_binding_one_is_named(db: Database) -> None:
    domains = ("big.example", "big.example", "small.example")
    campaign = await due_campaign(db, 90, domains=domains)
    await limit(db, campaign, "sender", hour=50)
    await limit(db, campaign, "tenant", hour=40)
    await limit(db, campaign, "domain", hour=20)

    async with sending(db) as (context, sandbox):
        moments = await run_for(db, context, sandbox, campaign, steps=150, step_seconds=60)

    assert fullest_window(moments[""], HOUR) <= 40
    assert fullest_window(moments["big.example"], HOUR) == 20
    assert fullest_window(moments["small.example"], HOUR) <= 20
    rows = await run(
        db,
        "select reason, count(*), count(distinct until) from send_decisions"
        " where verdict = 'hold' group by 1",
    )
    reasons = {reason: (count, untils) for reason, count, untils in rows}
    held, untils = reasons["limit_domain"]
    assert held >= 20, "each refused message has its own decision"
    assert untils >= held - 2, "and a moment of its own"


async def test_what_a_full_domain_refused_is_not_read_before_its_moment(db: Database) -> None:
    campaign = await due_campaign(db, 100)
    await limit(db, campaign, "domain", hour=10)
    async with sending(db) as (context, sandbox):
        await drain(context, campaign.tenant_id)
        before = await run(
            db,
            "select count(*), min(due_at) > now() from scheduled_actions"
            " where state = 'pending' and kind = 'send'",
        )
        await drain(context, campaign.tenant_id)
        refusals = await run(db, "select count(*) from send_refusals")

        assert before == [(90, True)]
        assert refusals == [(90,)]
        assert len(sandbox.accepted) == 10


async def test_tokens_of_what_was_not_sent_come_back(db: Database) -> None:
    campaign = await due_campaign(db, 12)
    await limit(db, campaign, "sender", minute=10)
    async with sending(db) as (context, sandbox):
        sandbox.order(FaultOrder(status=400, times=4))
        await drain(context, campaign.tenant_id)
        await drain(context, campaign.tenant_id)

        assert len(sandbox.accepted) == 8, "all twelve were tried: four tokens came back"
    (row,) = await run(
        db,
        "select bucket_used from rate_limit_counters"
        " where scope = 'sender' and window_seconds = 60",
    )
    assert sum(row[0]) == 8


async def test_an_unknown_outcome_keeps_its_token(db: Database) -> None:
    campaign = await due_campaign(db, 12)
    await limit(db, campaign, "sender", minute=10)
    async with sending(db) as (context, sandbox):
        sandbox.order(FaultOrder(status=500, times=4))
        await drain(context, campaign.tenant_id)

        assert len(sandbox.accepted) == 6


async def test_no_more_run_at_once_than_the_maximum(db: Database) -> None:
    campaign = await due_campaign(db, 40)
    await run(
        db,
        "update send_rate_limits set concurrent_max = 3 where scope = 'tenant'",
    )
    async with sending(db) as (context, sandbox):
        sandbox.set_latency(20)
        peak = 0
        while len(sandbox.accepted) < 40:
            work = asyncio.gather(*(drain(context, campaign.tenant_id) for _ in range(2)))
            while not work.done():
                ((armed,),) = await run(
                    db, "select count(*) from send_attempts where outcome = 'armed'"
                )
                peak = max(peak, armed)
            await work
            await run(db, "update tenants set parked_until = null")
    assert 1 <= peak <= 3
    rows = await run(db, "select count(*) from send_decisions where verdict <> 'send'")
    assert rows == [(0,)], "pacing is no decision"


async def test_one_tenants_limits_are_not_anothers(db: Database) -> None:
    small = await due_campaign(db, 10)
    large = await make_campaign(db)
    await limit(db, small, "tenant", hour=2)
    await enroll_many(db, large, 10)
    async with sending(db) as (context, sandbox):
        await drain(context, small.tenant_id)
        await drain(context, large.tenant_id)

        by_tenant = defaultdict(int)
        for record in sandbox.accepted:
            by_tenant[record.outreach_tenant] += 1
    assert by_tenant == {str(small.tenant_id): 2, str(large.tenant_id): 10}
