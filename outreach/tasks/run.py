"""A worker's life: shifts of procrastinate's own worker, one after the other, until told to stop.

procrastinate's worker (3.10) ends when its connection does, when its row is gone, or when a side
task dies. Here that ends a shift and not the process: what it used is closed, the next one begins
anew, deletes what died, sweeps, and carries on. Each shift has its own connections, so nothing
waits for a pool that backs off from a server that has long returned.

Told to stop, running tasks are asked to end (`WorkerContext.stop`) and given 15 s; then they are
canceled, and their jobs wait for the next worker. Within 20 s the process is gone, whatever hangs.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
from procrastinate.exceptions import ConnectorException

from outreach import log
from outreach.config import Settings
from outreach.core.errors import Refused, Unavailable
from outreach.recorder import Recorder, open_recorder
from outreach.services.fence_marks import Marks
from outreach.services.sweep import delete_stalled_jobs, is_idle, sweep_once
from outreach.store.wakeups import MAINTENANCE, SHARED_QUEUES
from outreach.tasks.connector import can_listen, connector
from outreach.tasks.context import CONTEXT_KEY, WorkerContext, open_context
from outreach.tasks.fence import watching
from outreach.tasks.recovery import recovering
from outreach.tasks.runner import is_away
from outreach.tasks.startup import check_clock

if TYPE_CHECKING:
    from outreach.tasks.procrastinate_app import OutreachApp

CONCURRENCY = 8
GRACEFUL_SECONDS = 15.0  # well below the silence after which a worker's jobs count as stalled
RESTART_SECONDS = 0.1
RESTART_SECONDS_MAX = 10.0
STEADY_SECONDS = 30.0  # a shift that lasted so long was a good one: the next wait starts small
IDLE_POLL_SECONDS = 0.05
COLLECT_AFTER_OBJECTS = 20_000  # Python's own is 700
FAILURES_MAX = 5

# What ends a shift and not the worker.
Lost = (ConnectorException, psycopg.OperationalError, psycopg.InterfaceError, Unavailable)

_log = log.get("worker")


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker was told: procrastinate's options, and whether it ends when all is done."""

    options: Mapping[str, Any] = field(default_factory=dict)
    until_idle: bool = False

    @property
    def queues(self) -> list[str]:
        """The queues served; maintenance always, so that every worker sweeps."""
        return sorted({*(self.options.get("queues") or SHARED_QUEUES), MAINTENANCE})

    @property
    def concurrency(self) -> int:
        """How many tasks run at a time."""
        return int(self.options.get("concurrency", CONCURRENCY))

    @property
    def is_one_shot(self) -> bool:
        """Whether it ends with the jobs that wait now (procrastinate's own option)."""
        return not self.options.get("wait", True)

    def worker_options(self, settings: Settings, context: WorkerContext) -> dict[str, Any]:
        """The options of one shift; those given go before ours."""
        options: dict[str, Any] = {
            "concurrency": self.concurrency,
            "fetch_job_polling_interval": settings.poll_seconds,
            "listen_notify": can_listen(settings),
            "delete_jobs": "successful",
            "shutdown_graceful_timeout": GRACEFUL_SECONDS,
        }
        options |= self.options
        # Signals are ours: procrastinate's handlers could not tell a stop from a lost connection.
        return options | {
            "queues": self.queues,
            "install_signal_handlers": False,
            "additional_context": {CONTEXT_KEY: context},
        }


async def work(app: OutreachApp, settings: Settings, orders: Orders, stop: asyncio.Event) -> None:
    """Work until `stop`, or until idle if so ordered; a lost database is waited for.

    Raises Refused when the clocks differ, or when idleness cannot come since a task keeps failing.
    """
    _spare_the_collector()
    with open_recorder(settings.state_dir, settings.dsn or "") as recorder:
        await _work(app, settings, orders, stop, recorder)


async def _work(
    app: OutreachApp, settings: Settings, orders: Orders, stop: asyncio.Event, recorder: Recorder
) -> None:
    delay = RESTART_SECONDS
    is_lost = False
    marks = Marks(Path(settings.state_dir))
    while not stop.is_set():
        began_at = monotonic()
        try:
            async with open_context(settings, stop, orders.queues, marks, recorder) as context:
                await check_clock(context.db)
                if context.sender is not None:
                    context.sender.turns.places = orders.concurrency
                async with watching(context.watch), recovering(context.db, recorder):
                    _log.info("worker_started", queues=orders.queues, is_back=is_lost)
                    is_lost = False
                    has_ended = await _shift(app, settings, orders, context)
                if has_ended:
                    await context.watch.end()
                    return
            _log.warning("worker_restarts", error=None)
        except Lost as error:
            root = _root(error)
            if not is_away(root):
                _log.warning("worker_restarts", error=type(root).__name__)
            elif not is_lost:
                _log.warning("database_lost", error=" ".join(str(root).split()))
            is_lost = is_lost or is_away(root)
        delay = RESTART_SECONDS if monotonic() - began_at > STEADY_SECONDS else delay
        await _either(stop.wait(), asyncio.sleep(delay))
        delay = min(delay * 2, RESTART_SECONDS_MAX)
    _log.info("worker_stopped")


def _spare_the_collector() -> None:
    """Look for cycles less often, and never again among what was imported.

    A batch makes thousands of objects that reference counts free: a tenth of a message's CPU went
    into looking through them (docs/performance.md).
    """
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, 20, 20)


async def _shift(
    app: OutreachApp, settings: Settings, orders: Orders, context: WorkerContext
) -> bool:
    """One life of procrastinate's worker; whether it ended because its work did."""
    await delete_stalled_jobs(context.db)
    await sweep_once(context.db)
    jobs = connector(settings)
    with app.replace_connector(jobs):
        try:
            await jobs.open_async()
            options = orders.worker_options(settings, context)
            worker = asyncio.create_task(app.run_plain_worker_async(**options))
            watch = asyncio.create_task(_until_done(context, orders))
            return await _first_of(worker, watch) or orders.is_one_shot
        finally:
            await jobs.close_async()


async def _first_of(worker: asyncio.Task[None], watch: asyncio.Task[None]) -> bool:
    """Wait for either and end both; whether the watch was first. Their errors are raised."""
    try:
        await asyncio.wait({worker, watch}, return_when=asyncio.FIRST_COMPLETED)
        is_watch_first = watch.done()
    finally:
        # Canceling is procrastinate's way of a graceful stop.
        worker.cancel()
        watch.cancel()
        await asyncio.wait({worker, watch})
    for task in (watch, worker):
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
    return is_watch_first


async def _until_done(context: WorkerContext, orders: Orders) -> None:
    """Return when the worker is to stop: told so, or nothing is left to do."""
    if not orders.until_idle:
        await context.stop.wait()
        return
    while not context.stop.is_set() and not await is_idle(context.db, orders.queues):
        if failing := context.flights.failing(FAILURES_MAX):
            raise Refused("worker_fails", f"These tasks keep failing: {', '.join(failing)}.")
        await _either(context.stop.wait(), asyncio.sleep(IDLE_POLL_SECONDS))


async def _either(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait for the first of these, and drop the others."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _root(error: BaseException) -> BaseException:
    """What began it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
