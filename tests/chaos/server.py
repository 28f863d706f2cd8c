"""Trials of a server that is killed, restarted, or has no room on its disk.

The worker is `outreach worker`, which finds its way back by itself. How long that takes is counted
from the moment at which the server accepts connections again to the next mail that is accepted.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import LiteralString

import psycopg
from psycopg import AsyncConnection

from outreach.core.errors import Unavailable
from outreach.dev.postgres import LocalPostgres
from tests.chaos.lane import Lane
from tests.chaos.moments import lasting
from tests.chaos.processes import FIRST_MAILS, UNBOUND, stopped
from tests.chaos.result import Result
from tests.chaos.stage import IN_FLIGHT, Stage, stage
from tests.support.database import running_databases
from tests.support.factories import run
from tests.support.waiting import eventually

BACK_SECONDS = 60.0
SMALL_DISK_MB = 320
NO_SMALL_DISK = "Trials of a full disk did not run: only root can mount a small tmpfs (on Linux)."
# Room for the log is bounded, so that a full disk soon has no segment of it left either.
SMALL_LOG = {"min_wal_size": "32MB", "max_wal_size": "48MB"}


RUN: LiteralString = """
select backend_start from pg_stat_activity where backend_type = 'checkpointer'
"""
SESSION: LiteralString = """
select pid from pg_stat_activity
where datname = current_database() and application_name in ('outreach-worker', 'outreach-jobs')
limit 1
"""
SENDS_DUE: LiteralString = """
select 1 from scheduled_actions
where kind = 'send' and state = 'pending' and held_by is null and due_at < now() limit 1
"""

Harm = Callable[[Stage], Awaitable[None]]


async def killed(lane: Lane, chance: random.Random, result: Result) -> None:
    """kill -9 of the postmaster."""
    await _restarted(lane, chance, result, signal.SIGKILL)


async def immediate(lane: Lane, chance: random.Random, result: Result) -> None:
    """An immediate shutdown, and a start with recovery."""
    await _restarted(lane, chance, result, signal.SIGQUIT)


async def fast(lane: Lane, chance: random.Random, result: Result) -> None:
    """A fast shutdown, as for an update, and a start."""
    await _restarted(lane, chance, result, signal.SIGINT)


async def session_killed(lane: Lane, chance: random.Random, result: Result) -> None:
    """kill -9 of one session's process: the server ends all of them, and recovers."""

    async def harm(here: Stage) -> None:
        async def is_there() -> bool:
            return bool(await run(here.db, SESSION))

        await eventually(is_there)
        ((pid,),) = await run(here.db, SESSION)
        os.kill(pid, signal.SIGKILL)

    await _harmed(lane, chance, result, harm)


async def _restarted(
    lane: Lane, chance: random.Random, result: Result, number: signal.Signals
) -> None:
    async def harm(_: Stage) -> None:
        lines = (lane.databases.server.place.data / "postmaster.pid").read_text().split()
        os.kill(int(lines[0]), number)

    await _harmed(lane, chance, result, harm)


async def _harmed(lane: Lane, chance: random.Random, result: Result, harm: Harm) -> None:
    """A worker left alone with a server that ends once or twice, and then the rest of its story."""
    server = lane.databases.server
    moments = sorted(chance.sample(range(1, FIRST_MAILS // 2), chance.choice([1, 1, 2])))
    async with stage(lane.databases, chance, result, latency_ms=20, per_minute=UNBOUND) as here:
        one = here.start_worker()
        for count in moments:
            await here.has_accepted(count, BACK_SECONDS)
            before = await _run_of(server)
            await harm(here)
            here.kills += 1
            await _is_back(server, before)
            result.watched_servers.append((monotonic(), len(here.sandbox.accepted)))
            await here.db.pool.check()
        await eventually(lambda: _has_sent_all(here), BACK_SECONDS)
        await stopped(here, one)
        await here.play()
        await here.judge(lane.expected, unknown_max=here.kills * IN_FLIGHT)


async def full_disk(lane: Lane, chance: random.Random, result: Result) -> None:
    """No block can be added to a table for a while: nothing is sent that was not written down."""
    await _on_small_disk(lane, chance, result, uses_up_log=False)


async def full_log(lane: Lane, chance: random.Random, result: Result) -> None:
    """No segment can be added to the log: the server ends, and starts when there is room."""
    await _on_small_disk(lane, chance, result, uses_up_log=True)


async def _on_small_disk(
    lane: Lane, chance: random.Random, result: Result, *, uses_up_log: bool
) -> None:
    with small_disk() as folder:
        if folder is None:
            result.did_not_run = NO_SMALL_DISK
            return
        with running_databases(folder, **SMALL_LOG) as databases:
            await _fill_and_free(
                replace(lane, databases=databases), chance, result, folder / "filler", uses_up_log
            )


async def _fill_and_free(
    lane: Lane, chance: random.Random, result: Result, filler: Path, uses_up_log: bool
) -> None:
    server = lane.databases.server
    async with stage(lane.databases, chance, result, latency_ms=20, per_minute=UNBOUND) as here:
        one = here.start_worker()
        await here.has_accepted(chance.choice([0, 0, 3]), BACK_SECONDS)
        before = await _run_of(server)
        await asyncio.to_thread(_fill, filler)
        if uses_up_log:
            await _use_up_log(server)
            here.kills += 1
        else:
            await lasting(chance.uniform(0.3, 1.0))
        await asyncio.to_thread(filler.unlink)
        if uses_up_log:
            await _is_back(server, before)
        result.watched_servers.append((monotonic(), len(here.sandbox.accepted)))
        await here.db.pool.check()
        await eventually(lambda: _has_sent_all(here), BACK_SECONDS)
        await stopped(here, one)
        await here.play()
        await here.judge(lane.expected, unknown_max=IN_FLIGHT)


@contextmanager
def small_disk() -> Iterator[Path | None]:
    """A folder of its own small file system; None where we may not mount one."""
    folder = Path(tempfile.mkdtemp(prefix="outreach-small-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_MB}m,mode=0711", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        done = None
    try:
        yield folder if done is not None and done.returncode == 0 else None
    finally:
        if done is not None and done.returncode == 0:
            subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def _fill(filler: Path) -> None:
    """Leave no block free."""
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        for size in (1 << 20, 4096):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


async def _use_up_log(server: LocalPostgres) -> None:
    """Begin segments of the log until the server has no room for another and ends."""
    with suppress(psycopg.OperationalError):
        async with await AsyncConnection.connect(server.conninfo(), autocommit=True) as connection:
            while True:
                await connection.execute("select pg_switch_wal()")
                await connection.execute("select txid_current()")


async def _run_of(server: LocalPostgres) -> object:
    """Which run of the server answers; another after each crash and each start."""
    async with await AsyncConnection.connect(server.conninfo(), autocommit=True) as connection:
        row = await (await connection.execute(RUN)).fetchone()
    return None if row is None else row[0]


async def _is_back(server: LocalPostgres, before: object) -> None:
    """Wait for another run, and start one where none comes by itself."""

    async def is_another() -> bool:
        with suppress(psycopg.OperationalError, Unavailable):
            await asyncio.to_thread(server.ensure_alive)
            return await _run_of(server) not in (before, None)
        return False

    await eventually(is_another, BACK_SECONDS)


async def _has_sent_all(here: Stage) -> bool:
    with suppress(psycopg.OperationalError):
        return not await run(here.db, SENDS_DUE)
    return False
