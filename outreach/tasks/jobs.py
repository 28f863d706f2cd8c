"""The tasks: each is a service's step, repeated while there is work.

All are safe to run twice and beside each other. Arguments are ids only, since procrastinate keeps
and logs them. How they are run stands in `tasks/runner.py`, where they run in `tasks/run.py`.
"""

from __future__ import annotations

from uuid import UUID

from procrastinate import JobContext

from outreach.services.apply_events import adopt_events, apply_events
from outreach.services.fire_timers import fire_timers
from outreach.services.reputation import judge_senders
from outreach.services.send import RECORD_PATIENCE_SECONDS, rescue, send_due
from outreach.services.settle_unknowns import settle_unknowns
from outreach.services.sweep import keep_house, sweep_once
from outreach.store.wakeups import MAINTENANCE, QUEUES
from outreach.tasks.context import WorkerContext, context_of
from outreach.tasks.procrastinate_app import app
from outreach.tasks.runner import RETRY, SLICE_SECONDS, in_slices, run

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


@app.periodic(cron="* * * * * *")
@app.task(
    name="sweep",
    queue=MAINTENANCE,
    queueing_lock="sweep",
    priority=UPKEEP_PRIORITY,
    retry=RETRY,
    pass_context=True,
)
async def sweep_task(job: JobContext, timestamp: int) -> None:
    """Each second: wake whatever has something to do."""

    async def sweep(worker: WorkerContext) -> bool:
        await sweep_once(worker.db)
        return False

    await run(job, "sweep", sweep)


@app.periodic(cron="* * * * * */2")
@app.task(
    name="rescue",
    queue=MAINTENANCE,
    queueing_lock="rescue",
    priority=UPKEEP_PRIORITY,
    retry=RETRY,
    pass_context=True,
)
async def rescue_task(job: JobContext, timestamp: int) -> None:
    """Each two seconds: settle attempts that nobody answered for."""

    async def settle(worker: WorkerContext) -> bool:
        return await in_slices(worker, lambda: rescue(worker.db))

    await run(job, "rescue", settle)


@app.periodic(cron="* * * * * 20")
@app.task(
    name="settle_unknowns",
    queue=MAINTENANCE,
    queueing_lock="settle_unknowns",
    priority=UPKEEP_PRIORITY,
    retry=RETRY,
    pass_context=True,
)
async def settle_unknowns_task(job: JobContext, timestamp: int) -> None:
    """Each minute: ask the provider's logs, and apply the campaigns' policies."""

    async def settle(worker: WorkerContext) -> bool:
        return await in_slices(worker, lambda: settle_unknowns(worker.db, worker.logs))

    await run(job, "settle_unknowns", settle)


@app.periodic(cron="* * * * *")
@app.task(
    name="maintain",
    queue=MAINTENANCE,
    queueing_lock="maintain",
    priority=UPKEEP_PRIORITY,
    retry=RETRY,
    pass_context=True,
)
async def maintain_task(job: JobContext, timestamp: int) -> None:
    """Each minute: partitions ahead, litter gone, senders judged, events adopted."""

    async def maintain(worker: WorkerContext) -> bool:
        await keep_house(worker.db)
        await judge_senders(worker.db)
        return await in_slices(worker, lambda: adopt_events(worker.db))

    await run(job, "maintain", maintain)
