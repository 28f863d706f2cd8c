"""Two transactions that meet, made to meet: nobody sleeps and nothing is left to chance.

A gate is a lock on a table that a transaction will write to, so that it stops there with all the
locks that it has taken by then. Whether a second one waits for the first is asked of the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, LiteralString

from psycopg.sql import SQL, Identifier

from outreach.db import Database
from outreach.services.claim import Claim, claim_batch
from outreach.services.compose import Terms
from outreach.sql import Tx
from tests.support.factories import Campaign, run
from tests.support.sending import SECRET, due_campaign

TERMS = Terms("http://127.0.0.1:8000", (SECRET,), None)
PATIENCE_SECONDS = 20.0
LOOK_SECONDS = 0.004

WAITING: LiteralString = """
select count(*) from pg_stat_activity
where datname = current_database() and wait_event_type = 'Lock'
"""
ARMED: LiteralString = "select count(*) from send_attempts where tenant_id = %(t)s"

Probe = Callable[[Database], Awaitable[bool]]
"""Plays a meeting out; whether the invariant held."""
Act = Callable[[Database, Campaign], Coroutine[Any, Any, object]]


async def waits(db: Database, task: asyncio.Task[Any], *, others: int = 0) -> bool:
    """Whether the task comes to wait for a lock, beside others that do already; else it ended."""
    deadline = monotonic() + PATIENCE_SECONDS
    seen = 0
    while not task.done():
        ((count,),) = await run(db, WAITING)
        seen = seen + 1 if count > others else 0
        if seen > 1:  # twice in a row: it is not just passing
            return True
        assert monotonic() < deadline, "it neither waits nor ends"
        await asyncio.sleep(LOOK_SECONDS)
    task.result()
    return False


@asynccontextmanager
async def gate(db: Database, table: str) -> AsyncIterator[None]:
    """Whoever writes to the table meanwhile waits until the end of the block."""
    statement: LiteralString = "lock table {} in share mode"
    async with opened(db) as tx:
        await tx.execute(SQL(statement).format(Identifier(table)))
        yield


@asynccontextmanager
async def opened(db: Database) -> AsyncIterator[Tx]:
    """A transaction of the owner's, committed at the end of the block."""
    async with db.connection() as connection, connection.transaction():
        yield connection


async def claim(db: Database, campaign: Campaign) -> Claim:
    """All that its tenant has due."""
    return await claim_batch(db, campaign.tenant_id, size_max=5, terms=TERMS, deadline_seconds=10.0)


async def armed(db: Database, campaign: Campaign) -> int:
    ((count,),) = await run(db, ARMED, t=campaign.tenant_id)
    return int(count)


def stop_waits_for_the_claim(act: Act) -> Probe:
    """An act that stops a send meets a claim that has decided: it must wait for the claim's commit.

    Ended before, it would have committed while the message was not armed yet, and then it was.
    """

    async def probe(db: Database) -> bool:
        await run(db, "update installation set state = 'active', paused_at = null")
        campaign = await due_campaign(db, 1)
        async with gate(db, "send_attempts"):
            claiming = asyncio.create_task(claim(db, campaign))
            assert await waits(db, claiming), "the claim has nothing to arm"
            stopping = asyncio.create_task(act(db, campaign))
            is_held = await waits(db, stopping, others=1)
        await asyncio.gather(claiming, stopping)
        assert await armed(db, campaign) == 1
        return is_held

    return probe


def claim_passes_over(statement: LiteralString) -> Probe:
    """A row that somebody holds is left for later; the claim itself waits for nobody."""

    async def probe(db: Database) -> bool:
        campaign = await due_campaign(db, 1)
        async with opened(db) as tx:
            await tx.execute(statement, {"t": campaign.tenant_id})
            claiming = asyncio.create_task(claim(db, campaign))
            is_free = not await waits(db, claiming)
        await claiming
        return is_free

    return probe
