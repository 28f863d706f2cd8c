"""The real worker while everything around it fails: its jobs, its sessions, its server.

`outreach worker` runs as people start it. What is done to it here, it must get over by itself.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from time import monotonic
from typing import LiteralString

import psycopg
import pytest

from outreach.db import Database
from outreach.dev.postgres import LocalPostgres
from tests.sim.judge import Ends, violations
from tests.sim.world import (
    PAST_DEADLINE,
    PROVIDER_LATER,
    RETRIES_DUE,
    TIMERS_DUE,
    UNPARK,
    World,
    seed_of_run,
    trials,
    world,
)
from tests.support.database import Databases
from tests.support.factories import run
from tests.support.sending import SECRET
from tests.support.waiting import eventually
from tests.support.workers import OUTREACH, WorkerProcess, worker_process

TRUNCATE: LiteralString = """
truncate procrastinate_jobs, procrastinate_events, procrastinate_periodic_defers,
  procrastinate_workers
"""
TERMINATE: LiteralString = """
select count(pg_terminate_backend(pid)) from pg_stat_activity
where datname = current_database() and application_name in ('outreach-worker', 'outreach-jobs')
  and random() < %(share)s
"""
MESSAGES: LiteralString = """
select count(*) filter (where state in ('sent', 'failed')) from outbound_messages
"""
OPEN: LiteralString = """
select count(*) from enrollments e where e.ended_at is null and not exists (
  select from outbound_messages m where m.tenant_id = e.tenant_id and m.enrollment_id = e.id
    and m.state = 'unknown')
"""
STARTED_AT: LiteralString = "select pg_postmaster_start_time()"
UNKNOWN: LiteralString = """
select message_id::text, attempt from send_attempts where outcome = 'unknown'
"""
BATCH_MAX = 4
BATCHES_IN_FLIGHT = 3

Harm = Callable[[World], Awaitable[object]]

pytestmark = pytest.mark.slow


def variables(here: World) -> dict[str, str]:
    """The environment of a worker on this world."""
    return {
        "SENDGRID_BASE_URL": here.sandbox.url,
        "SECRET_KEY": SECRET,
        "OUTREACH_SEND_DEADLINE_SECONDS": "1",
        "OUTREACH_SEND_BATCH_MAX": str(BATCH_MAX),
        "OUTREACH_SEND_BATCHES_IN_FLIGHT": str(BATCHES_IN_FLIGHT),
    }


@asynccontextmanager
async def working(here: World) -> AsyncIterator[WorkerProcess]:
    """`outreach worker` on this world, ended in good order at the end."""
    with worker_process(OUTREACH, here.conninfo, **variables(here)) as worker:
        yield worker
        assert worker.process.poll() is None, f"it ended: {worker.lines}"
        worker.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.end) == 0


async def _hasten(here: World) -> None:
    """Nobody waits for a moment that is only a time."""
    for statement in (UNPARK, PROVIDER_LATER, RETRIES_DUE):
        await run(here.db, statement)


async def _has_done(here: World, messages: int) -> bool:
    await _hasten(here)
    ((done,),) = await run(here.db, MESSAGES)
    return bool(done >= messages)


async def _has_ended(here: World) -> bool:
    """Whether all that can end has ended."""
    await _hasten(here)
    ((count,),) = await run(here.db, OPEN)
    return bool(count == 0)


async def _has_only_timers(here: World) -> bool:
    """Whether everybody waits for a timer, an answer that will not come, or nothing."""
    await _hasten(here)
    query: LiteralString = """
        select count(*) from scheduled_actions a
        left join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
        where a.state in ('pending', 'claimed') and a.kind = 'send'
          and m.state is distinct from 'unknown'"""
    ((count,),) = await run(here.db, query)
    return bool(count == 0)


async def story(here: World, harm: Harm, moments: list[int]) -> float:
    """The whole run, with harm done when so many messages were through; how long the rest took."""
    async with working(here):
        for messages in moments:
            await eventually(partial(_has_done, here, messages))
            await harm(here)
        began_at = monotonic()
        await eventually(partial(_has_only_timers, here), 60)
        assert await here.sandbox.flush()
        await eventually(lambda: _is_applied(here))
        await run(here.db, TIMERS_DUE)
        await eventually(partial(_has_ended, here), 60)
        seconds = monotonic() - began_at
        assert await here.sandbox.flush()
        await eventually(lambda: _is_applied(here))
    return seconds


async def _is_applied(here: World) -> bool:
    return not await run(here.db, "select 1 from webhook_deliveries where state = 'received'")


async def judge(here: World, undisturbed: Ends, *, unknown_max: int) -> None:
    """The judge; unknown may be what was in flight at the harm."""
    unknown = set(await run(here.db, UNKNOWN))
    print(f"unknown {len(unknown)} of at most {unknown_max}, mails {len(here.sandbox.accepted)}")
    assert len(unknown) <= unknown_max
    assert await violations(here.db, here.sandbox, lost=unknown, expected=undisturbed) == []


async def empty_jobs(here: World) -> None:
    """All that procrastinate knows is gone."""
    await run(here.db, TRUNCATE)


async def end_sessions(here: World, chance: random.Random) -> None:
    """The server ends some of the worker's sessions, several times."""
    for _ in range(3):
        ((ended,),) = await run(here.db, TERMINATE, share=chance.uniform(0.3, 1.0))
        here.kills += ended
        await eventually(lambda: _is_back(here))


async def _is_back(here: World) -> bool:
    query: LiteralString = (
        "select 1 from pg_stat_activity where datname = current_database()"
        " and application_name = 'outreach-worker'"
    )
    return bool(await run(here.db, query))


async def _is_gone(here: World) -> bool:
    return not await _is_back(here)


async def kill_server(here: World, server: LocalPostgres) -> None:
    """kill -9 of the postmaster; another one is there when this returns."""
    pid = int((server.place.data / "postmaster.pid").read_text().split()[0])
    ((started_at,),) = await run(here.db, STARTED_AT)
    os.kill(pid, signal.SIGKILL)
    await eventually(partial(_is_another, here, started_at))
    await asyncio.to_thread(server.ensure_alive)
    here.kills += 1


async def _is_another(here: World, started_at: datetime) -> bool:
    try:
        await here.db.pool.check()
        return await run(here.db, STARTED_AT) != [(started_at,)]
    except psycopg.OperationalError:
        return False


async def test_jobs_that_vanish_lose_nothing(
    db: Database, conninfo: str, undisturbed: Ends
) -> None:
    async with world(db, conninfo) as here:
        await story(here, empty_jobs, [1, 10, 25])
        await judge(here, undisturbed, unknown_max=0)


async def test_a_killed_worker_and_the_next_lose_nothing(
    db: Database, conninfo: str, undisturbed: Ends
) -> None:
    async with world(db, conninfo, latency_ms=60) as here:
        for messages in (1, *range(5, 5 + 5 * trials(1), 5)):
            with worker_process(OUTREACH, conninfo, **variables(here)) as worker:
                await eventually(partial(_has_done, here, messages))
                worker.process.kill()
                assert await asyncio.to_thread(worker.end) == -signal.SIGKILL
            await eventually(partial(_is_gone, here))
            here.kills += 1
            await run(db, PAST_DEADLINE)
        await story(here, empty_jobs, [])
        in_flight = BATCH_MAX * BATCHES_IN_FLIGHT
        await judge(here, undisturbed, unknown_max=here.kills * in_flight)


async def test_sessions_that_the_server_ends_lose_nothing(
    db: Database, conninfo: str, undisturbed: Ends
) -> None:
    seed = seed_of_run()
    print(f"OUTREACH_SIM_SEED={seed}")
    chance = random.Random(seed)
    async with world(db, conninfo, latency_ms=60) as here:
        await story(
            here, partial(end_sessions, chance=chance), [1, *range(5, 5 + 5 * trials(2), 5)]
        )
        print(f"sessions ended {here.kills}")
        assert here.kills > 0
        await judge(here, undisturbed, unknown_max=0)


async def test_a_killed_server_loses_nothing(
    private_databases: Databases, private_conninfo: str, undisturbed: Ends
) -> None:
    harm = partial(kill_server, server=private_databases.server)
    async with Database.at(private_conninfo, application="outreach-test") as db:
        async with world(db, private_conninfo, latency_ms=60) as here:
            seconds = await story(here, harm, [1, 15])
            print(f"after the last of {here.kills} kills the rest took {seconds:.1f} s")
            in_flight = BATCH_MAX * BATCHES_IN_FLIGHT
            await judge(here, undisturbed, unknown_max=here.kills * in_flight)
