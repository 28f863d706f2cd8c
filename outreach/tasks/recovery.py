"""Each worker's look for what dead ones of its machine left (services/recover).

In every worker and not as a job: a job runs on whichever machine takes it, and the files are here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg

from outreach import log
from outreach.core.errors import Unavailable
from outreach.db import Database
from outreach.recorder import Recorder
from outreach.services.recover import recover

LOOK_SECONDS = 2.0

_log = log.get("recover")


@asynccontextmanager
async def recovering(db: Database, recorder: Recorder) -> AsyncIterator[None]:
    """Look once before the block, so before the rescuer, and every two seconds during it."""
    await _look(db, recorder)
    task = asyncio.create_task(_keep_looking(db, recorder))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _keep_looking(db: Database, recorder: Recorder) -> None:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        await _look(db, recorder)


async def _look(db: Database, recorder: Recorder) -> None:
    """What fails is tried again, and nobody else is kept from working by it."""
    try:
        await recover(db, recorder)
    except (psycopg.OperationalError, psycopg.InterfaceError, Unavailable):
        pass  # the database is away, as others say loudly enough
    except (psycopg.Error, OSError) as error:
        _log.warning("recorder_not_read", error=type(error).__name__)
