"""A world to do harm in, one for each trial, and what the judge says of it at the end.

It is the world of `tests.sim` with worker processes that live on between the stages, windows that
fill (so that the story needs several minutes, which are leapt over by making the database older),
and webhooks that wait until it is known what is unknown without them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from time import monotonic, time
from typing import LiteralString

import psycopg

from outreach.db import Database
from outreach.dev.sandbox import FaultOrder, SandboxServer, SandboxSettings
from tests.chaos.result import Result
from tests.chaos.served import Hand, Service
from tests.sim.child import Kill, Life
from tests.sim.judge import Ends, late_starts, violations, windows_exceeded
from tests.sim.world import (
    ARMED,
    BATCH_MAX,
    BATCHES_IN_FLIGHT,
    LIVES_MAX,
    RATES,
    SESSIONS,
    World,
    due_campaign,
    webhook,
)
from tests.support.database import Databases
from tests.support.factories import run
from tests.support.sending import SECRET
from tests.support.waiting import eventually

CONTACTS = 24
IN_FLIGHT = BATCH_MAX * BATCHES_IN_FLIGHT
AT = "@cust.example"
ALWAYS = [FaultOrder(status=400, address=f"p{n}-{AT}", times=None) for n in (5, 17, 23)]
LATER = 8  # asked to come later, for which everybody waits; left out where time is not leapt over
PER_MINUTE = (6, 9, 14, 30)  # of a sender: the first fill several times in a story, the last never

SET_LIMIT: LiteralString = """
update send_rate_limits set per_minute_max = %(cap)s where scope = 'sender'
"""
LEAP: LiteralString = """
with older as (
  update rate_limit_counters c
  set bucket_at = array(select b - %(s)s / (c.window_seconds / 60) from unnest(bucket_at) as b),
    promised_until = promised_until - make_interval(secs => %(s)s)
),
installation as (
  update installation_counters c
  set bucket_at = array(select b - %(s)s / (c.window_seconds / 60) from unnest(bucket_at) as b)
)
update send_attempts set armed_at = armed_at - make_interval(secs => %(s)s),
  deadline_at = deadline_at - make_interval(secs => %(s)s)
"""
DUE: LiteralString = """
select 1 from scheduled_actions
where state = 'pending' and kind = 'send' and held_by is null and due_at <= now() limit 1
"""
BUSY: LiteralString = """
select 1 from pg_stat_activity
where datname = current_database() and application_name = %(application)s and state <> 'idle'
"""
UNKNOWN: LiteralString = """
select message_id::text, attempt from send_attempts where outcome = 'unknown'
"""


@dataclass(slots=True)
class Stage(World):
    """One trial's world."""

    chance: random.Random = field(default_factory=random.Random)
    result: Result = field(default_factory=Result)
    is_waiting_for_events: bool = True
    options: dict[str, object] = field(default_factory=dict)
    hands: list[Hand] = field(default_factory=list)
    leaps: list[tuple[float, float]] = field(default_factory=list)
    made: int = 0
    accepted_before: int = 0

    def service(self, kill: Kill | None = None, **options: object) -> Service:
        """How the next worker is set up."""
        self.made += 1
        given = {"conninfo": self.conninfo, "sandbox_url": self.sandbox.url}
        options = {**self.options, **options}
        addresses = {name: str(options.pop(name, usual)) for name, usual in given.items()}
        life = Life(
            **addresses,
            tenant_id=self.campaign.tenant_id,
            secret=SECRET,
            kill=kill,
            batch_max=BATCH_MAX,
            batches_in_flight=BATCHES_IN_FLIGHT,
            state_dir=self.state_dir,
        )
        return Service(life, f"outreach-life-{self.made}", **options)  # type: ignore[arg-type] # by name

    def start(self, kill: Kill | None = None, **options: object) -> Hand:
        """A worker that lives until it is killed, or to the end of the trial."""
        one = Hand(self.service(kill, **options))
        self.hands.append(one)
        return one

    def start_worker(self, kill: Kill | None = None, **options: object) -> Hand:
        """`outreach worker`, which finds its work by itself, until a signal."""
        one = Hand(self.service(kill, **options), is_worker=True)
        self.hands.append(one)
        return one

    async def has_accepted(self, count: int, seconds: float = 60.0) -> None:
        """Wait until the provider has taken so many mails."""

        async def is_there() -> bool:
            return len(self.sandbox.accepted) >= count

        await eventually(is_there, seconds)

    def forgive(self) -> int:
        """Let the provider do as in every trial from here on; how often it had not."""
        faults = self.sandbox.sandbox.faults
        self.sandbox.clear_faults()
        self.sandbox.order(*ALWAYS)
        return faults.served

    def fall(self, one: Hand) -> None:
        """Do away with a worker, living or not."""
        self.hands.remove(one)
        one.end()

    async def work(self, kills: list[Kill]) -> None:
        """Let workers work, one after the other dying, until one finds nothing to do."""
        for _ in range(LIVES_MAX):
            one = self.hands[0] if self.hands else self.start(kills[0] if kills else None)
            if await one.work():
                return
            if kills:
                kills.pop(0)
            self.fall(one)
            await self.note_fall(one)
        raise AssertionError("the work does not end")

    async def note_fall(self, one: Hand) -> None:
        """Remember what was in flight, as soon as the server has noticed that a worker is gone."""
        died_at = monotonic()
        self.kills += 1

        async def is_alone() -> bool:
            # A pooler keeps the session, and ends what was open in it.
            query = BUSY if self.options.get("is_pooled") else SESSIONS
            return not await run(self.db, query, application=one.application)

        await eventually(is_alone)
        self.lost |= set(await run(self.db, ARMED))
        self.result.watch(died_at, self.sandbox)

    async def pass_time(self) -> int:
        """As in `tests.sim`; and where windows keep all from moving, it passes for them too."""
        while True:
            try:
                changed = await World.pass_time(self)
                break
            except psycopg.errors.DeadlockDetected:
                continue  # whoever does harm may meet us too
        accepted = len(self.sandbox.accepted)
        if accepted == self.accepted_before and await run(self.db, DUE):
            seconds = self.chance.randint(30, 66)
            await run(self.db, LEAP, s=seconds)
            self.leaps.append((time(), float(seconds)))
            changed += 1
        self.accepted_before = accepted
        return changed

    async def settle(self, kills: list[Kill]) -> None:
        await World.settle(self, kills)
        if self.is_waiting_for_events:
            self.is_waiting_for_events = False
            self.result.unknown_before = len(await run(self.db, UNKNOWN))
            self.sandbox.resume()

    async def judge(
        self, expected: Ends | None, *, unknown_max: int = 0, incidents: Collection[str] = ()
    ) -> None:
        """Write down what the judge finds.

        Unknown may be what was in flight at a kill, or, with `unknown_max`, so many.
        """
        unknown = set(await run(self.db, UNKNOWN))
        may_be = self.lost | (unknown if unknown_max else set())
        found = await violations(
            self.db, self.sandbox, lost=may_be, expected=expected, incidents=incidents
        )
        bound = max(self.kills * IN_FLIGHT, unknown_max)
        if len(unknown) > bound:
            found.append(f"{len(unknown)} unknown, of at most {bound}")
        async with self.db.connection() as tx:
            found += await windows_exceeded(tx, self.sandbox, leaps=self.leaps)
            self.result.late = await late_starts(tx, self.sandbox, leaps=self.leaps)
        self.result.kills = self.kills
        self.result.measure(self.sandbox)
        self.result.unknown_after = len(unknown)
        self.result.mails = len(self.sandbox.accepted)
        self.result.note(found)


@asynccontextmanager
async def stage(
    databases: Databases,
    chance: random.Random,
    result: Result,
    *,
    latency_ms: int = 5,
    is_holding_events: bool = True,
    per_minute: int | None = None,
) -> AsyncIterator[Stage]:
    """A new world on a database of its own, ended whatever happened in it.

    With `per_minute` nothing in it needs time to pass: it is for a worker that is left alone.
    """
    name = databases.create()
    conninfo = databases.conninfo(name)
    settings = SandboxSettings(
        seed=7, latency_ms=latency_ms, time_scale=0.001, rates=RATES, batch_seconds=0.01
    )
    async with (
        Database.at(conninfo, size_max=3, application="outreach-test") as db,
        SandboxServer(settings) as sandbox,
    ):
        with TemporaryDirectory(prefix="outreach-chaos-") as state_dir:
            sandbox.order(*ALWAYS)
            if per_minute is None:
                sandbox.order(FaultOrder(status=429, reset_seconds=30, address=f"p{LATER}-{AT}"))
            async with webhook(conninfo, sandbox):
                campaign = await due_campaign(db, CONTACTS)
                await run(db, SET_LIMIT, cap=per_minute or chance.choice(PER_MINUTE))
                here = Stage(
                    db,
                    conninfo,
                    sandbox,
                    campaign,
                    state_dir,
                    chance=chance,
                    result=result,
                    is_waiting_for_events=is_holding_events,
                )
                if is_holding_events:
                    sandbox.pause()
                try:
                    yield here
                finally:
                    for one in here.hands:
                        one.end()
    await asyncio.to_thread(databases.drop, name)
