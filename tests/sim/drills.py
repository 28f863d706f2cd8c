"""Drills with real clusters: what those of lost data and those of standbys share.

Each world sends a first half of its mail before the moment that will come back, and the second half
after it. Whatever the database then knows, the provider must have taken each mail once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

from outreach.db import Database
from outreach.dev.sandbox import FateRates, SandboxServer
from outreach.services import fence
from outreach.services.apply_events import apply_events
from outreach.services.regain import Gap, reconcile
from tests.sim.world import webhook
from tests.support.clusters import Cluster
from tests.support.factories import Campaign, run
from tests.support.sending import SECRET, accepted_by_message
from tests.support.waiting import eventually
from tests.support.workers import running_worker, settings_for

HALF = 12
LATER: LiteralString = """
update scheduled_actions set due_at = now() + interval '1 day'
where id in (select id from scheduled_actions where kind = 'send' order by id offset %(half)s)
"""
NOW: LiteralString = """
with unparked as (update tenants set parked_until = null)
update scheduled_actions set due_at = now() where kind = 'send' and state = 'pending'
"""
QUIET = FateRates(bounce=0, block=0, defer=0, open=0, machine_open=0, click=0, unsubscribe=0,
                  spam=0, repeat=0, disorder=0)  # fmt: skip
NOWHERE = "http://127.0.0.1:9/"


@dataclass(slots=True)
class Drill:
    """A cluster, a provider that keeps its events to itself for now, and a folder of marks."""

    primary: Cluster
    sandbox: SandboxServer
    state: Path
    campaign: Campaign
    batch_max: int = 100

    @asynccontextmanager
    async def working(self, conninfo: str) -> AsyncIterator[None]:
        """A worker on that database, of this machine."""
        given: dict[str, Any] = {"sendgrid_base_url": self.sandbox.url, "secret_keys": (SECRET,)}
        given |= {"send_batch_max": self.batch_max, "send_batches_in_flight": 1}
        settings = settings_for(conninfo, state_dir=str(self.state), **given)
        async with running_worker(settings):
            yield

    async def accepts(self, count: int) -> None:
        """Wait until the provider has taken so many mails and the answers are written down."""

        async def has() -> bool:
            return len(self.sandbox.accepted) >= count

        await eventually(has)

    async def half(self, conninfo: str) -> None:
        """Send the mail that is due, to the last record."""
        async with self.working(conninfo):
            await self.accepts(len(self.sandbox.accepted) + HALF)
            await all_recorded(conninfo)

    async def recover(self, conninfo: str, *, reason: str) -> Gap:
        """The way of the runbook, on a database that holds; then the rest is sent, each once."""
        async with Database.at(conninfo, application="outreach-drill") as db:
            assert (await fence.status(db)).fence.reason == reason
            async with webhook(conninfo, self.sandbox):
                assert await self.sandbox.flush()
                while await apply_events(db):
                    pass
                gap = await reconcile(db, actor="drill")
            await fence.approve(db, reason="drill", actor="drill")
            await run(db, NOW)
            async with self.working(conninfo):
                await all_recorded(conninfo)
            await self.judge(db)
            return gap

    async def judge(self, db: Database) -> None:
        """Each mail was taken once, and the ledger says so."""
        assert set(accepted_by_message(self.sandbox).values()) == {1}
        assert len(self.sandbox.accepted) == 2 * HALF
        rows = await run(db, "select id::text from outbound_messages where state = 'sent'")
        assert {id_ for (id_,) in rows} == set(accepted_by_message(self.sandbox))


async def all_recorded(conninfo: str) -> None:
    """Wait until nothing is due or under way."""
    question: LiteralString = """
    select exists (select from send_attempts where outcome = 'armed') or exists (
      select from scheduled_actions where kind = 'send' and state <> 'done' and due_at <= now())
    """
    async with Database.at(conninfo, application="outreach-drill") as db:

        async def is_done() -> bool:
            return await run(db, question) == [(False,)]

        await eventually(is_done)


async def state_of(conninfo: str) -> tuple[str, str | None]:
    async with Database.at(conninfo, application="outreach-drill") as db:
        status = await fence.status(db)
        return status.state, status.fence.reason


async def comes_to(conninfo: str, state: str) -> None:
    """Wait until the fence is so."""

    async def is_so() -> bool:
        return (await state_of(conninfo))[0] == state

    await eventually(is_so, seconds=60)
