"""Trials with PgBouncer in transaction mode between: what outlives a transaction would show."""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from psycopg.conninfo import make_conninfo

from outreach.dev.postgres import LocalPostgres
from tests.chaos.database import END_SOME, beside
from tests.chaos.lane import Lane
from tests.chaos.moments import lasting
from tests.chaos.result import Result
from tests.chaos.stage import IN_FLIGHT, Stage, stage
from tests.sim.child import POINTS, Kill
from tests.support.database import OWNER
from tests.support.factories import run
from tests.support.waiting import eventually

NO_POOLER = "Trials through PgBouncer did not run: it is not installed (Debian: pgbouncer)."
SETTINGS = """[databases]
* = host={run} user={owner}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 5
max_client_conn = 100
ignore_startup_parameters = extra_float_digits
logfile = {log}
"""


async def killed_behind_it(lane: Lane, chance: random.Random, result: Result) -> None:
    """kill -9 of workers that share sessions."""
    async with _pooled(lane, chance, result) as here:
        if here is None:
            return
        points = sorted(chance.sample(list(POINTS), chance.randint(1, 2)), key=list(POINTS).index)
        await here.play([Kill(point, chance.randint(1, 2)) for point in points])
        await here.judge(lane.expected)


async def sessions_ended(lane: Lane, chance: random.Random, result: Result) -> None:
    """The server ends sessions that several clients share."""
    async with _pooled(lane, chance, result) as here:
        if here is None:
            return

        async def storm() -> None:
            for _ in range(chance.randint(2, 8)):
                await lasting(chance.uniform(0.01, 0.06))
                await run(here.db, END_SOME, share=chance.uniform(0.2, 1.0))

        await beside(here, storm)
        await here.play()
        await here.judge(lane.expected, unknown_max=IN_FLIGHT)


@asynccontextmanager
async def _pooled(lane: Lane, chance: random.Random, result: Result) -> AsyncIterator[Stage | None]:
    """A stage whose workers come through the pooler; None where there is none."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        result.did_not_run = NO_POOLER
        yield None
        return
    async with running_pooler(program, lane.databases.server) as port:
        async with stage(lane.databases, chance, result) as here:
            conninfo = make_conninfo(here.conninfo, host="127.0.0.1", port=port)
            here.options |= {"conninfo": conninfo, "is_pooled": True, "direct": here.conninfo}
            yield here


@asynccontextmanager
async def running_pooler(program: str, server: LocalPostgres) -> AsyncIterator[int]:
    """PgBouncer before this server; its port."""
    with tempfile.TemporaryDirectory(prefix="outreach-pooler-") as name:
        process, port = _start(program, server, Path(name))
        try:
            await eventually(lambda: _listens(port))
            yield port
        finally:
            process.kill()
            process.wait()


def _start(
    program: str, server: LocalPostgres, folder: Path
) -> tuple[subprocess.Popen[bytes], int]:
    """As the account that may enter the server's folder: the pooler refuses to be root."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        SETTINGS.format(run=server.place.run, owner=OWNER, port=port, log=folder / "log")
    )
    account = server.place.account
    if account is not None:
        shutil.chown(folder, account.uid, account.gid)
    process = subprocess.Popen(
        [program, "-q", str(settings)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
    )
    return process, port


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
