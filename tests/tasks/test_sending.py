"""The whole way: due mail, a worker, the sandbox; undisturbed, emptied, killed."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from outreach.db import Database
from outreach.dev.sandbox import SandboxServer, SandboxSettings
from tests.support.factories import enroll, event, make_campaign, make_sent, receive, run
from tests.support.sending import accepted_by_message, due_again, due_campaign, message_states
from tests.support.workers import (
    OUTREACH,
    as_owner,
    eventually,
    running_worker,
    settings_for,
    worker_process,
)

TRUNCATE = """
truncate procrastinate_jobs, procrastinate_events, procrastinate_periodic_defers,
  procrastinate_workers
"""


async def test_until_idle_everything_due_is_sent_once(db: Database, conninfo: str) -> None:
    campaigns = [await due_campaign(db, 150) for _ in range(3)]
    async with SandboxServer() as sandbox:
        settings = settings_for(conninfo, sendgrid_base_url=sandbox.url)
        async with running_worker(settings, until_idle=True) as worker:
            await asyncio.wait_for(asyncio.shield(worker), 30)
        accepted = accepted_by_message(sandbox)
    assert len(accepted) == 450 and set(accepted.values()) == {1}
    assert await message_states(db) == {"sent": 450}
    per_tenant = "select count(distinct tenant_id) from outbound_messages"
    assert await run(db, per_tenant) == [(len(campaigns),)]


async def test_a_worker_hears_what_came_in_before_it_sends(db: Database, conninfo: str) -> None:
    campaign = await make_campaign(db)
    leaves, stays = [await make_sent(db, await enroll(db, campaign)) for _ in range(2)]
    await due_again(db)
    for number in range(60):  # a queue of bodies before the one that matters
        await receive(db, *(event(stays, "open", id=f"{number}-{n}") for n in range(50)))
    await receive(db, event(leaves, "unsubscribe"))
    await run(db, "update webhook_deliveries set received_at = now() - interval '1 second'")
    async with SandboxServer() as sandbox:
        settings = settings_for(conninfo, sendgrid_base_url=sandbox.url)
        async with running_worker(settings, until_idle=True) as worker:
            await asyncio.wait_for(asyncio.shield(worker), 30)
        assert [one.to for one in sandbox.accepted] == [(stays.enrollment.email,)]


async def test_until_idle_does_not_wait_for_tokens(db: Database, conninfo: str) -> None:
    await due_campaign(db, 20)
    await run(db, "update send_rate_limits set is_off = false, per_minute_max = 7")
    async with SandboxServer() as sandbox:
        settings = settings_for(conninfo, sendgrid_base_url=sandbox.url)
        async with running_worker(settings, until_idle=True) as worker:
            await asyncio.wait_for(asyncio.shield(worker), 30)
        assert len(sandbox.accepted) == 7
    left = "select count(*) from scheduled_actions where state = 'pending' and kind = 'send'"
    assert await run(db, left) == [(13,)]


async def test_until_idle_waits_for_places_among_requests(db: Database, conninfo: str) -> None:
    await due_campaign(db, 20)
    await run(db, "update send_rate_limits set concurrent_max = 3")
    async with SandboxServer() as sandbox:
        settings = settings_for(conninfo, sendgrid_base_url=sandbox.url)
        async with running_worker(settings, until_idle=True) as worker:
            await asyncio.wait_for(asyncio.shield(worker), 30)
        assert len(sandbox.accepted) == 20


async def test_emptied_job_tables_lose_no_mail(db: Database, conninfo: str) -> None:
    await due_campaign(db, 600)
    async with SandboxServer(SandboxSettings(latency_ms=20)) as sandbox:
        settings = settings_for(conninfo, sendgrid_base_url=sandbox.url, send_batch_max=10)
        async with running_worker(settings):
            for sent in (1, 200, 400):
                await eventually(partial(_has, db, sent))
                await as_owner(conninfo, TRUNCATE)
            await eventually(partial(_has, db, 600))
        accepted = accepted_by_message(sandbox)
    assert len(accepted) == 600 and set(accepted.values()) == {1}


async def _has(db: Database, sent: int) -> bool:
    return (await message_states(db)).get("sent", 0) >= sent


@pytest.mark.slow
async def test_a_killed_worker_sends_nothing_twice(db: Database, conninfo: str) -> None:
    await due_campaign(db, 600)
    variables = {"OUTREACH_SEND_BATCH_MAX": "20", "OUTREACH_SEND_DEADLINE_SECONDS": "1"}
    async with SandboxServer(SandboxSettings(latency_ms=50)) as sandbox:
        variables["SENDGRID_BASE_URL"] = sandbox.url
        for sent in (1, 200):
            with worker_process(OUTREACH, conninfo, **variables) as worker:
                await eventually(partial(_has, db, sent))
                worker.process.kill()
                await asyncio.to_thread(worker.end)
        with worker_process([*OUTREACH, "--until-idle"], conninfo, **variables) as worker:
            assert await asyncio.to_thread(worker.end) == 0
        accepted = accepted_by_message(sandbox)
    assert set(accepted.values()) == {1}, "nothing was accepted twice"
    states = await message_states(db)
    assert set(states) <= {"sent", "unknown"} and sum(states.values()) == 600
    assert states.get("unknown", 0) <= 2 * 3 * 20, "no more than were in flight"
    assert len(accepted) >= states["sent"]
