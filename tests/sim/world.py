"""A small world to kill workers in: a campaign, the sandbox, and our webhook on a real socket.

A world is played in stages, each until nothing more can be done: the first mails, their events, the
timers, the second mails, their events. Time is moved by moving what is due. Whoever is killed in a
stage is followed by a new process.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import LiteralString

import uvicorn

from outreach import config
from outreach.db import Database
from outreach.dev.sandbox import FateRates, FaultOrder, SandboxServer, SandboxSettings
from outreach.providers.sendgrid_webhook import WebhookVerifier
from outreach.web.app import create_app
from tests.sim.child import APPLICATION, Kill, Life, main
from tests.support.factories import Campaign, make_campaign, run
from tests.support.sending import ENROLL, SECRET
from tests.support.waiting import eventually

CONTACTS = 40
BATCH_MAX = 4
BATCHES_IN_FLIGHT = 2
LIVES_MAX = 60
RATES = FateRates(bounce=0.25, block=0, defer=0, open=0, machine_open=0, click=0, unsubscribe=0,
                  spam=0, repeat=0.2, disorder=0.2)  # fmt: skip
FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["tests.sim.child", "tests.chaos.served"])

LIMITS: LiteralString = """
insert into send_rate_limits (tenant_id, scope, per_minute_max, per_hour_max)
select %(t)s, scope, 100000, 100000 from unnest(array['sender', 'tenant', 'domain']) as scope
"""
SUPPRESS: LiteralString = """
with contact as (
  update contacts set suppressed_reason = 'complaint', suppressed_at = now()
  where email like 'p3-%%' or email like 'p11-%%'
  returning tenant_id, email
)
insert into suppressions (tenant_id, value, reason)
select tenant_id, email, 'complaint' from contact
"""
PAST_DEADLINE: LiteralString = """
update send_attempts set deadline_at = now() - interval '1 second'
where outcome = 'armed' and deadline_at > now()
"""
RETRIES_DUE: LiteralString = """
update scheduled_actions set due_at = now()
where state = 'pending' and kind = 'send' and held_by is null and due_at > now()
"""
SENDS_DUE: LiteralString = """
select a.id from scheduled_actions a
join sender_identities s on s.tenant_id = a.tenant_id and s.id = a.sender_id
cross join installation i
where a.state = 'pending' and a.kind = 'send' and a.held_by is null and a.due_at <= now()
  and s.paused_at is null and i.provider_paused_at is null and i.data_loss_held_at is null
"""
TIMERS_DUE: LiteralString = """
update scheduled_actions set due_at = now() where state = 'pending' and kind = 'timeout'
"""
UNPARK: LiteralString = "update tenants set parked_until = null where parked_until is not null"
PROVIDER_LATER: LiteralString = """
update installation set provider_later_until = null where provider_later_until is not null
"""
# Lives have no watch over the database, as workers have; that a restart lost nothing is said here.
LOOKED_AT: LiteralString = """
update installation set fence_started_at = pg_postmaster_start_time()
where data_loss_held_at is null and fence_started_at <> pg_postmaster_start_time()
"""
ARMED: LiteralString = """
select message_id::text, attempt from send_attempts where outcome = 'armed'
"""
SESSIONS: LiteralString = """
select 1 from pg_stat_activity
where datname = current_database() and application_name = %(application)s
"""


def seed_of_run() -> int:
    """The seed of this run: OUTREACH_SIM_SEED, or one by chance; shown when a test fails."""
    return int(os.environ.get("OUTREACH_SIM_SEED") or random.SystemRandom().randrange(1_000_000))


def trials(short: int) -> int:
    """How many trials: the short form, or as many times that as OUTREACH_SIM_TRIALS says.

    The longer form needs pytest's `--timeout=0`.
    """
    return short * int(os.environ.get("OUTREACH_SIM_TRIALS") or 1)


@dataclass(slots=True)
class World:
    """One database, one sandbox, one campaign, and what was in flight at the kills."""

    db: Database
    conninfo: str
    sandbox: SandboxServer
    campaign: Campaign
    state_dir: str | None = None  # of the workers' recorders
    kills: int = 0
    lost: set[tuple[str, int]] = field(default_factory=set)

    async def live(self, kill: Kill | None = None, *, seconds: float | None = None) -> bool:
        """One life of a worker; whether it was killed, at a point or after `seconds`."""
        process = FORK.Process(target=main, args=(self._life(kill),))
        process.start()
        try:
            await _ended(process.sentinel, seconds)
        finally:
            process.kill()
            process.join()
        code = process.exitcode
        process.close()
        assert code in (0, -signal.SIGKILL), f"a worker failed: {code}"
        return code != 0

    def _life(self, kill: Kill | None) -> Life:
        return Life(
            self.conninfo,
            self.sandbox.url,
            self.campaign.tenant_id,
            SECRET,
            kill,
            BATCH_MAX,
            BATCHES_IN_FLIGHT,
            self.state_dir,
        )

    @asynccontextmanager
    async def frozen(self, point: str) -> AsyncIterator[None]:
        """A life that stands still at a point, and goes on after the block, to whatever end."""
        ours, theirs = FORK.Pipe(duplex=False)
        kill = Kill(point, signal=signal.SIGSTOP)
        process = FORK.Process(target=main, args=(self._life(kill), theirs))
        process.start()
        assert process.pid is not None
        try:
            await _ended(ours.fileno(), None)
            assert ours.poll(), "the point was never reached"
            self.lost |= set(await run(self.db, ARMED))
            yield
            os.kill(process.pid, signal.SIGCONT)
            await _ended(process.sentinel, None)
        finally:
            process.kill()
            process.join()
            ours.close()
            theirs.close()
        assert process.exitcode in (0, 1), "it goes on, and may find its sessions ended"
        process.close()

    async def note_kill(self) -> None:
        """Remember what is in flight, when the server has noticed that the worker is gone."""
        self.kills += 1
        await eventually(self._is_alone)
        self.lost |= set(await run(self.db, ARMED))

    async def _is_alone(self) -> bool:
        return not await run(self.db, SESSIONS, application=APPLICATION)

    async def work(self, kills: list[Kill]) -> None:
        """Lives, one after the other, until one ends by itself; `kills` are used up in order."""
        for _ in range(LIVES_MAX):
            if not await self.live(kills[0] if kills else None):
                return
            kills.pop(0)
            await self.note_kill()
        raise AssertionError("the work does not end")

    async def pass_time(self) -> int:
        """Deadlines pass, retries become due, the provider's pause ends; how much that changed."""
        await run(self.db, UNPARK)
        await run(self.db, LOOKED_AT)
        changed = 0
        async with self.db.connection() as connection:
            for statement in (PAST_DEADLINE, RETRIES_DUE, PROVIDER_LATER):
                changed += (await connection.execute(statement)).rowcount
        return changed

    async def settle(self, kills: list[Kill]) -> None:
        """Work and let time pass until neither changes anything."""
        for _ in range(LIVES_MAX):
            await self.work(kills)
            # On a slow machine time passes by itself, and what a parked tenant has is due already.
            if not await self.pass_time() and not await run(self.db, SENDS_DUE):
                return
        raise AssertionError("time passes and something is always due")

    async def play(self, kills: Sequence[Kill] = ()) -> list[Kill]:
        """The whole story; the kills that it never came to."""
        left = list(kills)
        await self.settle(left)
        await self.hear(left)
        await run(self.db, TIMERS_DUE)
        await self.settle(left)
        await self.hear(left)
        return left

    async def hear(self, kills: list[Kill]) -> None:
        """Everything that the provider has to say arrives and is worked through."""
        assert await self.sandbox.flush(), "the webhook takes every event"
        await self.settle(kills)


@asynccontextmanager
async def world(
    db: Database,
    conninfo: str,
    *,
    count: int = CONTACTS,
    latency_ms: int = 20,
    is_recorded: bool = True,
) -> AsyncIterator[World]:
    """A campaign with `count` mails due; two addresses are suppressed, six meet refusals."""
    settings = SandboxSettings(
        seed=7, latency_ms=latency_ms, time_scale=0.01, rates=RATES, batch_seconds=0.02
    )
    async with SandboxServer(settings) as sandbox:
        refused = (f"p{number}-@cust.example" for number in (5, 17, 23, 29, 35))
        sandbox.order(
            *(FaultOrder(status=400, address=address, times=None) for address in refused),
            FaultOrder(status=429, reset_seconds=30, address="p8-@cust.example"),
        )
        async with webhook(conninfo, sandbox):
            with tempfile.TemporaryDirectory(prefix="outreach-state-") as folder:
                campaign = await due_campaign(db, count)
                yield World(db, conninfo, sandbox, campaign, folder if is_recorded else None)


async def due_campaign(db: Database, count: int) -> Campaign:
    """A campaign whose addresses are the same in every world."""
    campaign = await make_campaign(db)
    await run(db, LIMITS, t=campaign.tenant_id)
    await run(
        db,
        ENROLL,
        t=campaign.tenant_id,
        c=campaign.id,
        s=campaign.sender_id,
        count=count,
        prefix="p",
        domains=["cust.example"],
    )
    await run(db, "update contacts set email = replace(email, '@', '-@')")
    await run(db, SUPPRESS)
    return campaign


@asynccontextmanager
async def webhook(conninfo: str, sandbox: SandboxServer) -> AsyncIterator[None]:
    """Our web application on a socket, and the sandbox posting to it."""
    settings = config.load(
        sendgrid_webhook_public_keys=(sandbox.public_key,), secret_keys=(SECRET,)
    )
    verifier = WebhookVerifier(settings.sendgrid_webhook_public_keys)
    async with Database.at(conninfo, size_max=4, application="outreach-web") as db:
        app = create_app(settings, db, verifier)
        server = uvicorn.Server(
            uvicorn.Config(app, port=0, log_config=None, access_log=False, lifespan="off")
        )
        task = asyncio.create_task(server.serve())
        try:
            await eventually(lambda: _has_started(server))
            port = server.servers[0].sockets[0].getsockname()[1]
            sandbox.set_webhook_url(f"http://127.0.0.1:{port}/webhooks/sendgrid")
            yield
        finally:
            sandbox.pause()
            server.should_exit = True
            await task


async def _has_started(server: uvicorn.Server) -> bool:
    return server.started


async def _ended(sentinel: int, seconds: float | None) -> None:
    """Wait for the end of a process, or for so long."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sentinel, ended.set)
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), 60 if seconds is None else seconds)
    finally:
        loop.remove_reader(sentinel)
