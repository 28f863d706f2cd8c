"""Workers in processes of their own: both commands, stopped, killed, and wrongly started."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from outreach.db import Database
from outreach.dev.postgres import FAST_SETTINGS, LocalPostgres
from outreach.migrate import migrate
from tests.support.database import chosen_programs
from tests.support.workers import (
    OUTREACH,
    PROCRASTINATE,
    WorkerProcess,
    all_applied,
    as_owner,
    count_bodies,
    eventually,
    held_task,
    is_held,
    leave_body,
    worker_process,
)

STOP_SECONDS_MAX = 20.0
COMMANDS = {"outreach": OUTREACH, "procrastinate": PROCRASTINATE}

pytestmark = pytest.mark.slow


async def stopped(worker: WorkerProcess, number: signal.Signals = signal.SIGTERM) -> int:
    """Its exit code after the signal, in the time that is allowed."""
    worker.process.send_signal(number)
    began_at = time.monotonic()
    code = await asyncio.to_thread(worker.end)
    assert time.monotonic() - began_at < STOP_SECONDS_MAX
    return code


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
async def test_both_commands_work_and_stop(db: Database, conninfo: str, command: list[str]) -> None:
    await leave_body(db)
    with worker_process(command, conninfo) as worker:
        worker.wait_for("worker_started")
        await eventually(lambda: all_applied(db))
        await leave_body(db, is_woken=True)
        await eventually(lambda: all_applied(db))
        assert await stopped(worker) == 0
    assert not [line for line in worker.lines if "Traceback" in line]
    assert await as_owner(conninfo, "select id from procrastinate_workers") == []


async def test_an_interrupt_stops_it_too(conninfo: str) -> None:
    with worker_process(OUTREACH, conninfo) as worker:
        worker.wait_for("worker_started")
        assert await stopped(worker, signal.SIGINT) == 0


async def test_a_task_that_does_not_end_is_not_waited_for(db: Database, conninfo: str) -> None:
    async with held_task(db, conninfo):
        with worker_process(OUTREACH, conninfo) as worker:
            await eventually(lambda: is_held(conninfo))
            assert await stopped(worker) == 0
        assert await count_bodies(db) == (1, 0)
    with worker_process([*OUTREACH, "--until-idle"], conninfo) as worker:
        assert await asyncio.to_thread(worker.end) == 0
    assert await count_bodies(db) == (0, 1)


async def test_until_idle_it_ends_by_itself(db: Database, conninfo: str) -> None:
    for _ in range(30):
        await leave_body(db)
    with worker_process([*OUTREACH, "--until-idle", "--concurrency", "2"], conninfo) as worker:
        assert await asyncio.to_thread(worker.end) == 0
    assert await count_bodies(db) == (0, 30)


async def test_a_killed_worker_leaves_nothing_undone(db: Database, conninfo: str) -> None:
    for _ in range(3):
        for _ in range(20):
            await leave_body(db, is_woken=True)
        with worker_process(OUTREACH, conninfo) as worker:
            worker.wait_for("worker_started")
            worker.process.kill()
            assert await asyncio.to_thread(worker.end) == -signal.SIGKILL
    with worker_process([*OUTREACH, "--until-idle"], conninfo) as worker:
        assert await asyncio.to_thread(worker.end) == 0
    assert await count_bodies(db) == (0, 60)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
async def test_without_a_database_it_says_so(command: list[str]) -> None:
    with worker_process(command, None) as worker:
        assert await asyncio.to_thread(worker.end) == (2 if command is OUTREACH else 1)
    assert "DATABASE_URL" in worker.lines[-1] and "is not set" in worker.lines[-1]


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
async def test_with_a_schema_behind_it_says_so(empty_conninfo: str, command: list[str]) -> None:
    with worker_process(command, empty_conninfo) as worker:
        assert await asyncio.to_thread(worker.end) == (4 if command is OUTREACH else 1)
    assert "outreach migrate" in worker.lines[-1]


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder for a server of the test's own, which may be stopped."""
    path = Path(tempfile.mkdtemp(prefix="outreach-test-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


async def test_a_server_that_goes_away_is_waited_for(home: Path) -> None:
    def server() -> LocalPostgres:
        return LocalPostgres(home, programs=chosen_programs(), settings=FAST_SETTINGS)

    with server() as first:
        conninfo = first.conninfo()
        migrate(conninfo)
        with worker_process(OUTREACH, conninfo) as worker:
            assert worker.wait_for("worker_started")["is_back"] is False
            await asyncio.to_thread(first.stop)
            worker.wait_for("database_lost")
            with server():
                assert worker.wait_for("worker_started")["is_back"] is True
                async with Database.at(conninfo) as db:
                    await leave_body(db, is_woken=True)
                    await eventually(lambda: all_applied(db))
                assert await stopped(worker) == 0
    said = [line for line in worker.lines if "database_lost" in line]
    assert len(said) == 1, "one line, however long it takes"
    assert not [line for line in worker.lines if "Traceback" in line]


async def test_without_an_account_it_says_so_unless_it_sends_nothing(
    db: Database, conninfo: str
) -> None:
    with worker_process(OUTREACH, conninfo, SENDGRID_API_KEY="") as worker:
        assert await asyncio.to_thread(worker.end) == 2
    assert "SENDGRID_API_KEY" in worker.lines[-1]
    await leave_body(db)
    only_webhooks = [*OUTREACH, "--queues", "webhooks", "--until-idle"]
    with worker_process(only_webhooks, conninfo, SENDGRID_API_KEY="") as worker:
        assert await asyncio.to_thread(worker.end) == 0
    assert await all_applied(db)


async def test_a_queue_that_is_not_there_is_refused(conninfo: str) -> None:
    with worker_process([*OUTREACH, "--queues", "sned"], conninfo) as worker:
        assert await asyncio.to_thread(worker.end) == 2
    assert "sned" in worker.lines[-1] and "sends" in worker.lines[-1]


async def test_a_server_that_is_away_is_said_at_the_start(conninfo: str) -> None:
    with worker_process(OUTREACH, "host=/nonexistent dbname=none") as worker:
        assert await asyncio.to_thread(worker.end) == 3
    assert len(worker.lines) == 1
