"""The task runner: how every task is run, whatever it does.

One at a time in a process, within a hard time limit, once more when the server ended our sessions,
and woken again while work is left. A job that a stop has canceled waits for the next worker; any
other failure ends its job, is logged and rested, and the sweep makes a new job while the work is
still there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from uuid import UUID

import psycopg
from procrastinate import BaseRetryStrategy, JobContext, RetryDecision
from procrastinate.exceptions import JobAborted
from procrastinate.jobs import Job

from outreach import log
from outreach.core.errors import Unavailable
from outreach.db import Role, is_connection_lost
from outreach.store.wakeups import QUEUES, wake
from outreach.tasks.context import WorkerContext, context_of

# A task goes on for so long, and then makes way for others of its kind.
SLICE_SECONDS = 5.0
# Nothing takes so long unless it hangs.
TIMEOUT_SECONDS = 60.0

Work = Callable[[WorkerContext], Awaitable[bool]]

_log = log.get("tasks")


class RetryWhenStopped(BaseRetryStrategy):
    """Jobs that a stop has canceled run again; others do not, since the sweep asks anew."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """Again at once, or never."""
        is_stopped = isinstance(exception, asyncio.CancelledError | JobAborted)
        return RetryDecision() if is_stopped else None


RETRY = RetryWhenStopped()


async def run(
    job: JobContext,
    task: str,
    work: Work,
    tenant_id: UUID | None = None,
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> None:
    """Do `work` once in this process at a time, and wake the task again while some is left."""
    worker = context_of(job)

    async def timed() -> bool:
        async with asyncio.timeout(timeout_seconds):
            try:
                return await work(worker)
            except Exception as error:
                if not is_away(error):
                    raise
                # The server ended our sessions, and may be there again: once more on new ones.
                _log.warning("connection_lost", task=task, error=type(error).__name__)
                await worker.db.pool.check()
                return await work(worker)

    try:
        is_work_left = await worker.flights.fly(_key(task, tenant_id), timed)
    except Exception as error:
        _log.error(
            "task_failed",
            task=task,
            tenant_id=None if tenant_id is None else str(tenant_id),
            error=type(error).__name__,
            exc_info=not is_away(error),
        )
        raise
    if is_work_left and task in QUEUES:
        async with worker.db.transaction(Role.WORKER) as tx:
            await wake(tx, task, tenant_id=tenant_id)


def _key(task: str, tenant_id: UUID | None) -> str:
    return task if tenant_id is None else f"{task}:{tenant_id}"


def is_away(error: BaseException) -> bool:
    """Whether it is the database that is gone, and not the task that is wrong."""
    if isinstance(error, psycopg.Error):
        return is_connection_lost(error)
    return isinstance(error, Unavailable)


async def in_slices(worker: WorkerContext, step: Callable[[], Awaitable[int]]) -> bool:
    """Repeat `step` until it finds nothing, the slice is over or the worker stops; whether
    something may be left."""
    until = monotonic() + SLICE_SECONDS
    while await step():
        if worker.stop.is_set() or monotonic() > until:
            return True
    return False
