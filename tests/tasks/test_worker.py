"""A worker in this process: it hears of work, finds what nobody told it, outlives what it uses."""

from __future__ import annotations

import asyncio
import statistics
from contextlib import AsyncExitStack

import pytest

from outreach.core.errors import Refused
from outreach.db import Database
from outreach.services.apply_events import apply_events
from outreach.tasks import jobs
from outreach.tasks.runner import run
from tests.support.workers import (
    all_applied,
    as_owner,
    count_bodies,
    eventually,
    held_task,
    is_held,
    leave_body,
    running_worker,
    settings_for,
)

JOBS = "select task_name, status::text from procrastinate_jobs order by id"
WORKERS = "select id from procrastinate_workers"
TRUNCATE = """
truncate procrastinate_jobs, procrastinate_events, procrastinate_periodic_defers,
  procrastinate_workers restart identity
"""
# Everybody but the test itself.
TERMINATE = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and application_name in ('outreach-worker', 'outreach-jobs')
"""
SESSIONS = """
select application_name from pg_stat_activity
where datname = current_database() and application_name in ('outreach-worker', 'outreach-jobs')
"""


async def started(conninfo: str) -> None:
    async def has_worker() -> bool:
        return bool(await as_owner(conninfo, WORKERS))

    await eventually(has_worker)


async def test_a_wake_up_is_heard_at_once(db: Database, conninfo: str) -> None:
    waits = []
    async with running_worker(settings_for(conninfo, poll_seconds=30)):
        await started(conninfo)
        for _ in range(9):
            await leave_body(db, is_woken=True)
            waits.append(await eventually(lambda: all_applied(db)))
    assert statistics.median(waits) < 0.2, waits


async def test_without_notifications_it_polls(db: Database, conninfo: str) -> None:
    settings = settings_for(conninfo, pooled=True, poll_seconds=0.1)
    settings = settings.model_copy(update={"database_direct_url": None})
    async with running_worker(settings):
        await started(conninfo)
        await leave_body(db, is_woken=True)
        await eventually(lambda: all_applied(db), seconds=10)
        listening = "select 1 from pg_stat_activity where query ilike 'listen%'"
        assert await as_owner(conninfo, listening) == []


async def test_work_that_nobody_woke_is_found(db: Database, conninfo: str) -> None:
    await leave_body(db)
    async with running_worker(settings_for(conninfo)):
        await eventually(lambda: all_applied(db))
        await leave_body(db)
        await eventually(lambda: all_applied(db), seconds=10)


async def test_emptied_job_tables_heal_within_seconds(db: Database, conninfo: str) -> None:
    async with running_worker(settings_for(conninfo)) as worker:
        await started(conninfo)
        for _ in range(3):
            await leave_body(db, is_woken=True)
            await as_owner(conninfo, TRUNCATE)
            await leave_body(db)
            await eventually(lambda: all_applied(db), seconds=10)
        await started(conninfo)
        assert not worker.done()
    assert await count_bodies(db) == (0, 6)


async def test_it_outlives_its_connections(db: Database, conninfo: str) -> None:
    async with running_worker(settings_for(conninfo)) as worker:
        await started(conninfo)
        for _ in range(3):
            await leave_body(db, is_woken=True)
            await eventually(lambda: all_applied(db))
            assert await as_owner(conninfo, TERMINATE)
            await leave_body(db)
            await eventually(lambda: all_applied(db))
        assert not worker.done()


async def test_it_leaves_nothing_behind(db: Database, conninfo: str) -> None:
    async with running_worker(settings_for(conninfo)):
        await leave_body(db, is_woken=True)
        await eventually(lambda: all_applied(db))
    assert await as_owner(conninfo, WORKERS) == []
    assert await as_owner(conninfo, SESSIONS) == []
    assert {status for _, status in await as_owner(conninfo, JOBS)} <= {"todo"}


async def test_until_idle_it_ends_when_nothing_is_left(db: Database, conninfo: str) -> None:
    for _ in range(25):
        await leave_body(db)
    async with running_worker(settings_for(conninfo), until_idle=True) as worker:
        await eventually(lambda: _done(worker))
    assert await count_bodies(db) == (0, 25)


async def test_until_idle_it_ends_at_once_with_nothing_to_do(conninfo: str) -> None:
    async with running_worker(settings_for(conninfo), until_idle=True) as worker:
        await eventually(lambda: _done(worker))


async def test_until_idle_a_task_that_keeps_failing_ends_it(
    db: Database, conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(jobs, "apply_events", fails)
    monkeypatch.setattr("outreach.tasks.flights.REST_SECONDS", 0.01)
    await leave_body(db)
    with pytest.raises(Refused, match="apply_events"):
        async with running_worker(settings_for(conninfo), until_idle=True) as worker:
            await eventually(lambda: _done(worker))
    assert await count_bodies(db) == (1, 0)


async def test_a_task_that_failed_runs_again_when_it_can(
    db: Database, conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = apply_events
    failures = 0

    async def fails_twice(database: Database) -> int:
        nonlocal failures
        failures += 1
        if failures <= 2:
            raise ZeroDivisionError
        return await works(database)

    monkeypatch.setattr(jobs, "apply_events", fails_twice)
    monkeypatch.setattr("outreach.tasks.flights.REST_SECONDS", 0.01)
    async with running_worker(settings_for(conninfo)):
        await leave_body(db, is_woken=True)
        await eventually(lambda: all_applied(db))
    assert ("apply_events", "failed") in await as_owner(conninfo, JOBS)


async def test_a_task_that_overruns_the_stop_waits_for_the_next_worker(
    db: Database, conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outreach.tasks.run.GRACEFUL_SECONDS", 0.2)
    async with held_task(db, conninfo):
        async with running_worker(settings_for(conninfo)):
            await eventually(lambda: is_held(conninfo))
        assert ("apply_events", "todo") in await as_owner(conninfo, JOBS)
        assert await count_bodies(db) == (1, 0)
    async with running_worker(settings_for(conninfo), until_idle=True) as worker:
        await eventually(lambda: _done(worker))
    assert await count_bodies(db) == (0, 1)


async def test_a_task_may_end_what_it_began(db: Database, conninfo: str) -> None:
    async with AsyncExitStack() as stack:
        async with running_worker(settings_for(conninfo)):
            await stack.enter_async_context(held_task(db, conninfo))
            await eventually(lambda: is_held(conninfo))
            asyncio.get_running_loop().call_later(0.3, asyncio.create_task, stack.aclose())
    assert await count_bodies(db) == (0, 1)


async def test_a_task_that_hangs_is_ended(
    db: Database, conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run.__kwdefaults__ is not None
    monkeypatch.setitem(run.__kwdefaults__, "timeout_seconds", 0.2)
    async with running_worker(settings_for(conninfo)):
        async with held_task(db, conninfo):

            async def has_failed() -> bool:
                return ("apply_events", "failed") in await as_owner(conninfo, JOBS)

            await eventually(has_failed)
        await eventually(lambda: all_applied(db))


async def test_only_its_queues_are_served(db: Database, conninfo: str) -> None:
    await leave_body(db, is_woken=True)
    async with running_worker(settings_for(conninfo), queues=["sends"]):
        await started(conninfo)

        async def has_swept() -> bool:
            ran = "select 1 from procrastinate_periodic_defers where task_name = 'sweep'"
            return bool(await as_owner(conninfo, ran))

        await eventually(has_swept)
        assert await count_bodies(db) == (1, 0)
    async with running_worker(settings_for(conninfo), queues=["webhooks"]):
        await eventually(lambda: all_applied(db))


async def _done(worker: asyncio.Task[None]) -> bool:
    return worker.done()
