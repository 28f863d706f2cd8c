"""What every task of a worker shares: connections, the provider, and the word to stop.

A task finds it in procrastinate's `additional_context`, so there is no global to set and forget.
This is the one module of its floor that chooses a provider: procrastinate's own command starts a
worker knowing nothing but the app's name, so nobody above could hand one in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from procrastinate import JobContext

from outreach.config import Settings
from outreach.core.errors import Invalid
from outreach.db import Database
from outreach.providers.protocol import MailLog
from outreach.providers.sendgrid import SendGrid
from outreach.providers.sendgrid_activity import SendGridActivity
from outreach.recorder import NO_RECORDER, Recorder
from outreach.services.fence_marks import Marks
from outreach.services.fence_watch import Watch
from outreach.services.retention import Policy
from outreach.services.send import SendContext, send_context
from outreach.services.sweep import KEPT
from outreach.store.wakeups import QUEUES
from outreach.tasks.flights import Flights

CONTEXT_KEY = "worker"


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """One shift's means; closed when it ends."""

    db: Database
    stop: asyncio.Event  # set: end what you do as soon as it can be left
    flights: Flights
    sender: SendContext | None  # None where no mail is sent
    watch: Watch  # over the database: has it forgotten anything?
    logs: MailLog | None = None  # the provider's, where the account has them
    kept: Policy = KEPT  # how long what we were told stays

    @property
    def sends(self) -> SendContext:
        """What sending needs, in a worker that serves a queue of sends."""
        assert self.sender is not None, "a job of a queue that this worker does not serve"
        return self.sender


@asynccontextmanager
async def open_context(
    settings: Settings,
    stop: asyncio.Event,
    queues: Collection[str] | None = None,
    marks: Marks | None = None,
    recorder: Recorder = NO_RECORDER,
) -> AsyncIterator[WorkerContext]:
    """Connections for a worker of these queues (None: all), which remembers by these.

    Raises Invalid when a setting is missing; one that sends nothing needs no account.
    """
    if settings.dsn is None:
        raise Invalid.at("DATABASE_URL", "is not set, and a worker needs a database of yours.")
    database = Database.at(
        settings.dsn,
        size_max=settings.pool_size,
        is_pooled=settings.pooled,
        application="outreach-worker",
    )
    async with AsyncExitStack() as stack:
        db = await stack.enter_async_context(database)
        watch, sender = Watch(db, marks or Marks(None)), None
        if is_sending(queues):
            provider = await stack.enter_async_context(SendGrid(settings))
            sender = replace(send_context(db, provider, settings, recorder), armed=watch.note)
        logs = None
        if settings.email_activity:
            logs = await stack.enter_async_context(SendGridActivity(settings))
        yield WorkerContext(db, stop, Flights(), sender, watch, logs, Policy.of(settings))


def is_sending(queues: Collection[str] | None) -> bool:
    """Whether a worker of these queues hands mail over; a tenant's own queue is `sends.` and it."""
    sends = QUEUES["send_due"]
    return not queues or any(name.partition(".")[0] == sends for name in queues)


def context_of(job: JobContext) -> WorkerContext:
    """The worker that runs this job."""
    worker: WorkerContext = job.additional_context[CONTEXT_KEY]
    return worker
