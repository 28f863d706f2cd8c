"""The sweep finds what is due in our own tables, and the house is kept."""

from __future__ import annotations

from datetime import timedelta
from typing import LiteralString
from uuid import UUID

import pytest

from outreach.db import Database, Role
from outreach.services import sweep
from outreach.services.claim_bounds import PACED_LOOK_SECONDS
from outreach.store.sweep import list_due_work
from tests.support.factories import enroll, make_campaign, make_message, make_tenant, run
from tests.support.sending import due_campaign
from tests.support.workers import leave_body

JOBS = "select task_name, args ->> 'tenant_id' from procrastinate_jobs order by 1, 2"


async def due(db: Database) -> set[tuple[str, UUID | None]]:
    async with db.transaction(Role.WORKER) as tx:
        return {(work.task, work.tenant_id) for work in await list_due_work(tx)}


async def make_timer_due(db: Database, tenant_id: UUID) -> None:
    await run(
        db,
        "update scheduled_actions set kind = 'timeout', trigger = 'no_open'"
        " where tenant_id = %(t)s and state = 'pending'",
        t=tenant_id,
    )


async def test_nothing_due_wakes_nobody(db: Database) -> None:
    await make_tenant(db)
    assert await sweep.is_idle(db)
    assert await sweep.sweep_once(db) == 0
    assert await run(db, JOBS) == []


async def test_each_kind_of_work_is_found_and_woken_once(db: Database) -> None:
    sends = await due_campaign(db, 3)
    timers = await due_campaign(db, 1)
    await make_timer_due(db, timers.tenant_id)
    await leave_body(db)
    work = {
        ("send_due", sends.tenant_id),
        ("fire_timers", timers.tenant_id),
        ("apply_events", None),
    }
    assert await due(db) == work
    assert not await sweep.is_idle(db)
    assert await sweep.sweep_once(db) == 3
    assert await sweep.sweep_once(db) == 0, "they wait already"
    found = await run(db, JOBS)
    assert set(found) == {(task, None if id is None else str(id)) for task, id in work}


@pytest.mark.parametrize(
    "change",
    [
        "update tenants set state = 'paused', paused_at = now()",
        "update scheduled_actions set due_at = now() + interval '1 minute'",
        "update scheduled_actions set held_by = 'campaign'",
        "update scheduled_actions set state = 'done'",
    ],
)
@pytest.mark.parametrize("is_timer", [False, True])
async def test_what_cannot_go_now_is_left_alone(
    db: Database, change: LiteralString, is_timer: bool
) -> None:
    campaign = await due_campaign(db, 1)
    if is_timer:
        await make_timer_due(db, campaign.tenant_id)
    assert not await sweep.is_idle(db)
    await run(db, change)
    assert await due(db) == set()
    assert await sweep.is_idle(db)


async def test_a_parked_tenant_is_left_alone_until_its_moment(db: Database) -> None:
    await due_campaign(db, 1)
    await run(db, "update tenants set parked_until = now() + interval '1 minute'")
    assert await due(db) == set()
    assert await sweep.is_idle(db)
    await run(db, "update tenants set parked_until = now() - interval '1 second'")
    assert len(await due(db)) == 1


async def test_a_tenant_that_waits_for_a_place_is_not_idle(db: Database) -> None:
    await due_campaign(db, 1)
    moment = "clock_timestamp() + make_interval(secs => %(seconds)s::float)"
    query: LiteralString = f"update tenants set parked_until = {moment}"
    await run(db, query, seconds=PACED_LOOK_SECONDS)
    assert await due(db) == set()
    assert not await sweep.is_idle(db)


@pytest.mark.parametrize(
    "change",
    [
        "update installation set state = 'paused', paused_at = now()",
        "update installation set provider_paused_at = now()",
        "update installation set provider_later_until = now() + interval '1 minute'",
    ],
)
async def test_what_holds_everybody_back_leaves_nothing_to_do(
    db: Database, change: LiteralString
) -> None:
    await due_campaign(db, 1)
    assert not await sweep.is_idle(db)
    await run(db, change)
    assert await sweep.is_idle(db)
    await leave_body(db)
    assert not await sweep.is_idle(db), "what came in is applied all the same"


async def test_a_request_under_way_is_no_idleness(db: Database) -> None:
    enrollment = await enroll(db, await make_campaign(db))
    await make_message(db, enrollment)
    assert not await sweep.is_idle(db)
    await run(
        db, "update send_attempts set outcome = 'unknown', settled_at = now(), settled_by = 'test'"
    )
    assert await sweep.is_idle(db)


JOB = """
insert into procrastinate_jobs (queue_name, task_name, status, worker_id)
values ('sends', 'send_due', %(status)s::procrastinate_job_status, %(worker)s::bigint) returning id
"""
STARTED = """
insert into procrastinate_events (job_id, type, at) values (%(job)s, 'started', now() - %(age)s)
"""
WORKER = """
insert into procrastinate_workers (last_heartbeat) values (now() - %(age)s) returning id
"""


async def make_job(
    db: Database,
    *,
    status: str = "doing",
    silence: timedelta | None = timedelta(0),
    age: timedelta = timedelta(0),
) -> None:
    """A job that started so long ago, at a worker last heard of before `silence` (None: gone)."""
    worker = None if silence is None else (await run(db, WORKER, age=silence))[0][0]
    ((job,),) = await run(db, JOB, status=status, worker=worker)
    await run(db, "delete from procrastinate_events where job_id = %(job)s", job=job)
    await run(db, STARTED, job=job, age=age)


@pytest.mark.parametrize("silence", [None, timedelta(seconds=sweep.SILENT_SECONDS + 5)])
async def test_jobs_of_dead_workers_are_deleted(db: Database, silence: timedelta | None) -> None:
    await make_job(db, silence=silence)
    assert await sweep.delete_stalled_jobs(db) == 1
    assert await run(db, JOBS) == []


async def test_a_job_whose_end_was_lost_is_deleted(db: Database) -> None:
    await make_job(db, age=timedelta(seconds=sweep.RUNNING_SECONDS + 5))
    assert await sweep.delete_stalled_jobs(db) == 1


@pytest.mark.parametrize("status", ["doing", "todo"])
async def test_jobs_that_live_are_kept(db: Database, status: str) -> None:
    # A draining worker sends no heartbeat any more.
    await make_job(db, status=status, silence=timedelta(seconds=30), age=timedelta(seconds=60))
    assert await sweep.delete_stalled_jobs(db) == 0
    await sweep.keep_house(db)
    assert len(await run(db, JOBS)) == 1


async def test_the_house_is_kept(db: Database) -> None:
    week = timedelta(days=sweep.KEPT_DAYS)
    await make_job(db, status="failed", age=week + timedelta(hours=1))
    await make_job(db, status="failed", age=week - timedelta(hours=1))
    await make_job(db, silence=None)
    old, new = await make_tenant(db), await make_tenant(db)
    await run(db, "update tenants set parked_until = now() + interval '1 day'")
    await run(
        db, "update tenants set updated_at = now() - interval '61 min' where id = %(t)s", t=old
    )
    partitions = "select count(*) from pg_class where relname ~ '^message_events_2'"
    ((months,),) = await run(db, partitions)
    await run(
        db,
        "do $$ declare t regclass; begin select max(oid::regclass::text)::regclass into t"
        " from pg_class where relname ~ '^message_events_2' and relkind = 'r';"
        " execute 'drop table ' || t; end $$",
    )
    for _ in range(2):
        await sweep.keep_house(db)
        assert await run(db, "select status::text from procrastinate_jobs") == [("failed",)]
        parked = await run(db, "select id from tenants where parked_until is not null")
        assert parked == [(new,)]
        assert await run(db, partitions) == [(months,)]
