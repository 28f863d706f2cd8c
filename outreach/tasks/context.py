"""What every task of a worker shares: connections, and the word to stop.

A task finds it in procrastinate's `additional_context`, so there is no global to set and forget.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from procrastinate import JobContext

from outreach.config import Settings
from outreach.core.errors import Invalid
from outreach.db import Database
from outreach.tasks.flights import Flights

CONTEXT_KEY = "worker"


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """One shift's means; closed when it ends."""

    db: Database
    stop: asyncio.Event  # set: end what you do as soon as it can be left
    flights: Flights


@asynccontextmanager
async def open_context(settings: Settings, stop: asyncio.Event) -> AsyncIterator[WorkerContext]:
    """Connections for a worker; raises Invalid without a database."""
    if settings.dsn is None:
        raise Invalid.at("DATABASE_URL", "is not set, and a worker needs a database of yours.")
    database = Database.at(
        settings.dsn,
        size_max=settings.pool_size,
        is_pooled=settings.pooled,
        application="outreach-worker",
    )
    async with database as db:
        yield WorkerContext(db, stop, Flights())


def context_of(job: JobContext) -> WorkerContext:
    """The worker that runs this job."""
    worker: WorkerContext = job.additional_context[CONTEXT_KEY]
    return worker
