"""The tasks: each is a service's step, repeated while there is work.

All are safe to run twice and beside each other. Arguments are ids only, since procrastinate keeps
and logs them. How they are run stands in `tasks/runner.py`, where they run in `tasks/run.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from procrastinate import JobContext

from outreach.services.apply_events import adopt_events, apply_events
from outreach.services.apply_replies import apply_replies
from outreach.services.fire_timers import fire_timers
from outreach.services.reputation import judge_senders
from outreach.services.send import RECORD_PATIENCE_SECONDS, rescue, send_due
from outreach.services.settle_unknowns import settle_unknowns
from outreach.services.sweep import keep_house, sweep_once
from outreach.store.wakeups import MAINTENANCE, QUEUES
from outreach.tasks.context import WorkerContext, context_of
from outreach.tasks.procrastinate_app import app
from outreach.tasks.runner import RETRY, SLICE_SECONDS, Work, in_slices, run

UPKEEP_PRIORITY = 20  # short, and everything else depends on it
SLACK_SECONDS = 10.0


@app.task(name="send_due", queue=QUEUES["send_due"], retry=RETRY, pass_context=True)
async def send_due_task(job: JobContext, *, tenant_id: str) -> None:
    """Send the mail of a tenant that is due."""
    tenant = UUID(tenant_id)
    sends = context_of(job).sends

    async def send(worker: WorkerContext) -> bool:
        return await send_due(sends, tenant, stop=worker.stop, slice_seconds=SLICE_SECONDS)

    # A slice, the last request's deadline, and the patience with which its answer is written down.
    seconds = SLICE_SECONDS + sends.deadline_seconds + RECORD_PATIENCE_SECONDS + SLACK_SECONDS
    await run(job, "send_due", send, tenant, timeout_seconds=seconds)


@app.task(name="fire_timers", queue=QUEUES["fire_timers"], retry=RETRY, pass_context=True)
async def fire_timers_task(job: JobContext, *, tenant_id: str) -> None:
    """Fire the timers of a tenant that are due."""
    tenant = UUID(tenant_id)

    async def fire(worker: WorkerContext) -> bool:
        return await in_slices(worker, lambda: fire_timers(worker.db, tenant))

    await run(job, "fire_timers", fire, tenant)


@app.task(name="apply_events", queue=QUEUES["apply_events"], retry=RETRY, pass_context=True)
async def apply_events_task(job: JobContext) -> None:
    """Apply the webhook bodies that wait."""

    async def apply(worker: WorkerContext) -> bool:
        return await in_slices(worker, lambda: apply_events(worker.db))

    await run(job, "apply_events", apply)


@app.task(name="apply_replies", queue=QUEUES["apply_replies"], retry=RETRY, pass_context=True)
async def apply_replies_task(job: JobContext) -> None:
    """Apply the mails that wait."""

    async def apply(worker: WorkerContext) -> bool:
        return await in_slices(worker, lambda: apply_replies(worker.db))

    await run(job, "apply_replies", apply)


def upkeep(name: str, cron: str) -> Callable[[Work], Work]:
    """A periodic task of the maintenance queue; one at a time waits in it."""

    def register(step: Work) -> Work:
        @app.periodic(cron=cron)
        @app.task(
            name=name,
            queue=MAINTENANCE,
            queueing_lock=name,
            priority=UPKEEP_PRIORITY,
            retry=RETRY,
            pass_context=True,
        )
        async def task(job: JobContext, timestamp: int) -> None:
            await run(job, name, step)

        return step

    return register


@upkeep("sweep", "* * * * * *")
async def sweep(worker: WorkerContext) -> bool:
    """Each second: wake whatever has something to do."""
    await sweep_once(worker.db)
    return False


@upkeep("rescue", "* * * * * */2")
async def rescue_attempts(worker: WorkerContext) -> bool:
    """Each two seconds: settle attempts that nobody answered for."""
    return await in_slices(worker, lambda: rescue(worker.db))


@upkeep("settle_unknowns", "* * * * * 20")
async def settle(worker: WorkerContext) -> bool:
    """Each minute: ask the provider's logs, and apply the campaigns' policies."""
    return await in_slices(worker, lambda: settle_unknowns(worker.db, worker.logs))


@upkeep("maintain", "* * * * *")
async def maintain(worker: WorkerContext) -> bool:
    """Each minute: partitions ahead, litter gone, senders judged, events adopted."""
    await keep_house(worker.db, worker.kept)
    await judge_senders(worker.db)
    return await in_slices(worker, lambda: adopt_events(worker.db))
