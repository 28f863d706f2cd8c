"""Workers in processes of their own that live from one order to the next.

A life of `tests.sim.child` ends when there is nothing to do. This one waits for the next word, so
that a trial needs one process for each kill and not one for each stage. `serve` runs the services
as a worker does, all beside each other; `serve_worker` runs the worker itself, with its jobs.
What is wrapped for a kill is wrapped after the fork. A process whose owner is gone ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from time import monotonic

import psycopg
import uvloop

from outreach import config, log
from outreach.config import Settings
from outreach.core.errors import Unavailable
from outreach.db import Database, is_connection_lost
from outreach.providers.sendgrid import SendGrid
from outreach.recorder import NO_RECORDER, Recorder, open_recorder
from outreach.services import send
from outreach.services.apply_events import apply_events
from outreach.services.fire_timers import fire_timers
from outreach.services.recover import recover
from outreach.tasks import app
from outreach.tasks.run import Orders, work
from outreach.tasks.signals import stop_on_signals
from outreach.tasks.startup import hush_libraries
from tests.sim.child import Life, arm, shorten_patience
from tests.sim.world import FORK

WORK, IDLE, FROZEN = b"work", b"idle", b"1"
# How long a worker tries on while the database refuses or is away; then it has failed.
TRIES_SECONDS = 30.0
PAUSE_SECONDS = 0.02
WAIT_SECONDS = 60.0
# What a database says in passing: come back, try again, no room, going down.
PASSING = ("08", "40", "53", "55", "57", "58", "25P03")


@dataclass(frozen=True, slots=True)
class Service:
    """How a worker is set up, beside what it works on."""

    life: Life
    application: str
    pool_max: int = 4
    pool_seconds: float = 10.0
    deadline_seconds: float = 2.0
    is_pooled: bool = False
    direct: str | None = None
    may_freeze: bool = False

    def settings(self) -> Settings:
        return config.load(
            database_url=self.life.conninfo,
            database_direct_url=self.direct or (None if self.is_pooled else self.life.conninfo),
            pooled=self.is_pooled,
            sendgrid_base_url=self.life.sandbox_url,
            sendgrid_api_key="SG.test",
            secret_keys=(self.life.secret,),
            send_batch_max=self.life.batch_max,
            send_batches_in_flight=self.life.batches_in_flight,
            send_deadline_seconds=self.deadline_seconds,
            state_dir=self.life.state_dir or "",
            poll_seconds=0.2,
        )


def serve(service: Service, words: Connection) -> None:
    """Work at each word until nothing is left; called in a process that was forked for it."""
    log.configure(level="ERROR", is_json=True)
    if service.may_freeze:
        shorten_patience()
    if service.life.kill is not None:
        arm(service.life.kill, words if service.may_freeze else None)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(service, words))


def serve_worker(service: Service, words: Connection) -> None:
    """Be `outreach worker`, until a signal says otherwise."""
    log.configure(level="ERROR", is_json=True)
    hush_libraries()
    if service.life.kill is not None:
        arm(service.life.kill)

    async def main() -> None:
        asyncio.get_running_loop().add_reader(words.fileno(), os._exit, 1)
        with stop_on_signals() as stop:
            await work(app, service.settings(), Orders(), stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def _serve(service: Service, words: Connection) -> None:
    pool = Database.at(
        service.life.conninfo,
        size_max=service.pool_max,
        timeout_seconds=service.pool_seconds,
        application=service.application,
        is_pooled=service.is_pooled,
    )
    settings = service.settings()
    with ExitStack() as stack:
        recorder = NO_RECORDER
        if service.life.state_dir is not None:
            recorder = stack.enter_context(
                open_recorder(service.life.state_dir, service.life.conninfo)
            )
        async with pool as db, SendGrid(settings) as provider:
            context = send.send_context(db, provider, settings, recorder)
            while await _next_word(words) == WORK:
                await _work_off(context, service.life, recorder)
                words.send_bytes(IDLE)


async def _next_word(words: Connection) -> bytes:
    loop, is_there = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(words.fileno(), is_there.set)
    try:
        await is_there.wait()
    finally:
        loop.remove_reader(words.fileno())
    with suppress(EOFError, ConnectionError):
        return words.recv_bytes()
    return b""


async def _work_off(context: send.SendContext, life: Life, recorder: Recorder) -> None:
    """Do everything that is due, until a round finds nothing; failures in passing are tried on."""
    db, tenant_id = context.db, life.tenant_id
    failed_since: float | None = None
    while True:
        # First, as a worker does: what the dead knew goes before what the rescuer must assume.
        first = await asyncio.gather(recover(db, recorder), return_exceptions=True)
        found = await asyncio.gather(
            send.send_due(context, tenant_id, stop=asyncio.Event(), slice_seconds=5.0),
            apply_events(db, deliveries_max=2),
            fire_timers(db, tenant_id, batch=3),
            send.rescue(db),
            return_exceptions=True,
        )
        errors = [one for one in (*first, *found) if isinstance(one, BaseException)]
        for error in errors:
            if not is_passing(error):
                raise error
        if errors:
            failed_since = failed_since or monotonic()
            if monotonic() - failed_since > TRIES_SECONDS:
                raise errors[0]
            await asyncio.sleep(PAUSE_SECONDS)
            await db.pool.check()
        elif any((*first, *found)):
            failed_since = None
        else:
            return


def is_passing(error: BaseException) -> bool:
    """Whether a worker goes on after this: the sweep asks again, and nothing is wrong with us."""
    if isinstance(error, psycopg.Error):
        return is_connection_lost(error) or (error.sqlstate or "").startswith(PASSING)
    return isinstance(error, Unavailable)


class Hand:
    """A worker process, as its owner holds it."""

    def __init__(self, service: Service, *, is_worker: bool = False) -> None:
        self._words, theirs = FORK.Pipe()
        self.application = service.application
        target = serve_worker if is_worker else serve
        self._process: BaseProcess = FORK.Process(target=target, args=(service, theirs))
        self._process.start()
        theirs.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    async def work(self) -> bool:
        """Let it work until nothing is left; whether it lives to say so."""
        self.begin()
        return await self.reply() is not None

    def begin(self) -> None:
        """Tell it to work, without waiting."""
        with suppress(OSError):  # it may have died since
            self._words.send_bytes(WORK)

    async def reply(self) -> bytes | None:
        """What it says next, IDLE or FROZEN; None when it was killed."""
        await readable(self._words.fileno())
        with suppress(EOFError, ConnectionError):
            return self._words.recv_bytes()
        code = await self.ended()
        assert code == -signal.SIGKILL, f"a worker failed: {code}"
        return None

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def ended(self, seconds: float = WAIT_SECONDS) -> int:
        """Its exit code, when it has ended."""
        await readable(self._process.sentinel, seconds)
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode

    def end(self) -> None:
        """Kill it, if it still runs."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._words.close()


@asynccontextmanager
async def hand(service: Service, *, is_worker: bool = False) -> AsyncIterator[Hand]:
    """A worker for the time of a block."""
    one = Hand(service, is_worker=is_worker)
    try:
        yield one
    finally:
        one.end()


async def readable(descriptor: int, seconds: float = WAIT_SECONDS) -> None:
    """Wait until something can be read there, or its other end is gone."""
    loop, is_there = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, is_there.set)
    try:
        await asyncio.wait_for(is_there.wait(), seconds)
    finally:
        loop.remove_reader(descriptor)
