"""Each worker's watch over the database, for as long as a shift lasts (services/fence)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import psycopg

from outreach import log
from outreach.core.errors import Unavailable
from outreach.services.fence_watch import Watch

LOOK_SECONDS = 1.0
LOOKS_PER_LISTEN = 5

_log = log.get("fence")


@asynccontextmanager
async def watching(watch: Watch) -> AsyncIterator[None]:
    """Look once before the block and each second during it."""
    await _look(watch)
    task = asyncio.create_task(_keep_looking(watch))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _keep_looking(watch: Watch) -> None:
    for count in itertools.count(1):
        await asyncio.sleep(LOOK_SECONDS)
        await _look(watch)
        if count % LOOKS_PER_LISTEN == 0:
            await _try(watch.listen)


async def _look(watch: Watch) -> None:
    await _try(watch.look)


async def _try(step: Callable[[], Awaitable[object]]) -> None:
    """What fails is tried again: until it has been looked at, a new run sends nothing."""
    try:
        await step()
    except (psycopg.OperationalError, psycopg.InterfaceError, Unavailable):
        pass  # it is away, as others say loudly enough
    except (psycopg.Error, OSError) as error:  # a standby that will be promoted, a full disk
        _log.warning("the database cannot be looked at", error=" ".join(str(error).split()))
