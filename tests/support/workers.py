"""Workers in this process and in processes of their own, and work that shows when it is done.

The work is a webhook body that says nothing: whoever applies it sets it aside, which is seen.
"""

from __future__ import annotations

import asyncio
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, LiteralString
from uuid import uuid4

import orjson
import psycopg

from outreach import config
from outreach.config import Settings
from outreach.db import Database, Role
from outreach.store.wakeups import wake
from outreach.tasks import app
from outreach.tasks.run import Orders, work

PATIENCE_SECONDS = 30.0
API_KEY = "SG.test"
SECRET_KEY = "a key that is long enough"
NOBODY = "http://127.0.0.1:9"  # the discard port: nobody answers

INSERT_BODY: LiteralString = """
insert into webhook_deliveries (provider, payload_hash, payload)
values ('sendgrid', sha256(%(payload)s::bytea), %(payload)s::bytea)
"""
COUNT_BODIES: LiteralString = """
select count(*) filter (where state = 'received'), count(*) filter (where state <> 'received')
from webhook_deliveries
"""


def settings_for(conninfo: str, **given: object) -> Settings:
    """Settings of a worker on this database, whatever the environment says."""
    account: dict[str, object] = {
        "sendgrid_api_key": API_KEY,
        "sendgrid_base_url": NOBODY,
        "secret_keys": (SECRET_KEY,),
    }
    urls = {"database_url": conninfo, "database_direct_url": conninfo}
    return config.load(**urls | account | given)


async def eventually(
    holds: Callable[[], Awaitable[object]], *, seconds: float = PATIENCE_SECONDS
) -> float:
    """Wait until it holds; how long that took."""
    began_at = time.monotonic()
    while not await holds():
        assert time.monotonic() - began_at < seconds, "it did not come to hold in time"
        await asyncio.sleep(0.01)
    return time.monotonic() - began_at


@asynccontextmanager
async def running_worker(
    settings: Settings, *, until_idle: bool = False, **options: Any
) -> AsyncIterator[asyncio.Task[None]]:
    """A worker in this process, told to stop at the end, and ended."""
    stop = asyncio.Event()
    task = asyncio.create_task(work(app, settings, Orders(options, until_idle), stop))
    try:
        yield task
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await task


async def leave_body(db: Database, *, is_woken: bool = False) -> None:
    """Leave something to apply, with or without the wake-up that belongs to it."""
    async with db.transaction(Role.WORKER) as tx:
        await tx.execute(INSERT_BODY, {"payload": f"not JSON {uuid4()}".encode()})
        if is_woken:
            await wake(tx, "apply_events")


async def count_bodies(db: Database) -> tuple[int, int]:
    """How many bodies wait, and how many are done with."""
    async with db.transaction(Role.WORKER) as tx:
        row = await (await tx.execute(COUNT_BODIES)).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


async def all_applied(db: Database) -> bool:
    """Whether no body waits."""
    return (await count_bodies(db))[0] == 0


async def as_owner(conninfo: str, statement: LiteralString) -> list[Any]:
    """Run a statement with the rights of the migrations; its rows, if it has any."""
    connection = await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
    async with connection:
        cursor = await connection.execute(statement)
        return await cursor.fetchall() if cursor.description else []


@asynccontextmanager
async def held_task(db: Database, conninfo: str) -> AsyncIterator[None]:
    """A body whose applier waits, in the middle of its task, until the block is left."""
    await leave_body(db, is_woken=True)
    connection = await psycopg.AsyncConnection.connect(conninfo)
    async with connection:
        await connection.execute("lock table unmatched_events in access exclusive mode")
        yield


async def is_held(conninfo: str) -> bool:
    """Whether somebody waits for what `held_task` holds."""
    waiting = "select 1 from pg_stat_activity where wait_event_type = 'Lock'"
    return bool(await as_owner(conninfo, waiting))


class WorkerProcess:
    """A command with a worker in it, and what it says on standard error."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *command],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._said: queue.Queue[str | None] = queue.Queue()
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._said.put(line.rstrip("\n"))
        self._said.put(None)

    def wait_for(self, event: str) -> dict[str, Any]:
        """The next log line with this event."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            line = self._said.get(timeout=left)
            assert line is not None, f"it ended without {event}: {self.lines}"
            self.lines.append(line)
            said = orjson.loads(line) if line.startswith("{") else {}
            if said.get("event") == event:
                return dict(said)
        raise AssertionError(f"it never said {event}: {self.lines}")

    def end(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Its exit code, when it has ended; what it said last is in `lines`."""
        code = self.process.wait(timeout=seconds)
        self._reader.join(timeout=seconds)
        while not self._said.empty():
            if (line := self._said.get()) is not None:
                self.lines.append(line)
        return code


OUTREACH = ["-m", "outreach", "worker"]
PROCRASTINATE = ["-m", "procrastinate", "--app=outreach.tasks.app", "worker"]


@contextmanager
def worker_process(
    command: list[str], conninfo: str | None, **variables: str
) -> Iterator[WorkerProcess]:
    """A worker in a process of its own, killed at the end if it still runs."""
    given = {"DATABASE_URL", "DATABASE_DIRECT_URL"}
    account = {"SENDGRID_API_KEY": API_KEY, "SENDGRID_BASE_URL": NOBODY, "SECRET_KEY": SECRET_KEY}
    environment = {k: v for k, v in os.environ.items() if k not in given} | account | variables
    if conninfo is not None:
        environment["DATABASE_URL"] = conninfo
    worker = WorkerProcess(command, environment)
    try:
        yield worker
    finally:
        worker.process.kill()
        worker.end()
        assert worker.process.stderr is not None
        worker.process.stderr.close()
