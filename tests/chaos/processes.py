"""Trials of `outreach worker` itself: killed beside another, told to stop, its queue emptied."""

from __future__ import annotations

import random
import signal
from time import monotonic
from typing import LiteralString

from outreach.dev.sandbox import Act, FaultOrder, When
from tests.chaos.lane import Lane
from tests.chaos.moments import lasting
from tests.chaos.result import Result
from tests.chaos.served import Hand
from tests.chaos.stage import CONTACTS, IN_FLIGHT, Stage, stage
from tests.sim.world import ARMED
from tests.support.factories import run
from tests.support.waiting import eventually

# What it may take to stop, whatever hangs.
STOP_SECONDS_MAX = 20.0
UNBOUND = 100_000  # so many a minute: nothing has to be waited for
# Accepted in the first stage, less those that are refused, suppressed or asked to come later.
FIRST_MAILS = CONTACTS - 6

TRUNCATE: LiteralString = """
truncate procrastinate_jobs, procrastinate_events, procrastinate_periodic_defers,
  procrastinate_workers
"""
TWICE: LiteralString = """
insert into procrastinate_jobs (queue_name, task_name, priority, args, scheduled_at)
select queue_name, task_name, priority, args, scheduled_at from procrastinate_jobs
where status in ('todo', 'doing') and queueing_lock is null
"""


async def killed_beside_another(lane: Lane, chance: random.Random, result: Result) -> None:
    """Two workers as people start them; one dies, and the other takes over by itself."""
    async with stage(lane.databases, chance, result, latency_ms=20, per_minute=UNBOUND) as here:
        workers = [here.start_worker(), here.start_worker()]
        await here.has_accepted(chance.randint(1, FIRST_MAILS // 2))
        doomed = chance.choice(workers)
        doomed.signal(signal.SIGKILL)
        died_at, before = monotonic(), len(here.sandbox.accepted)
        await doomed.ended()
        here.kills += 1
        here.lost |= set(await run(here.db, ARMED))
        result.watched.append((died_at, before))
        here.fall(doomed)
        await here.has_accepted(min(before + IN_FLIGHT + 1, FIRST_MAILS - IN_FLIGHT))
        await stopped(here, next(one for one in workers if one is not doomed))
        here.lost |= set(await run(here.db, ARMED))
        await here.play()
        await here.judge(lane.expected)


async def told_to_stop(lane: Lane, chance: random.Random, result: Result) -> None:
    """SIGTERM while mail is on its way: it ends in good order and leaves nothing unknown."""
    async with stage(lane.databases, chance, result, latency_ms=20, per_minute=UNBOUND) as here:
        one = here.start_worker()
        await here.has_accepted(chance.randint(1, FIRST_MAILS - 2))
        await stopped(here, one)
        if left := await run(here.db, ARMED):
            result.note([f"stopped in good order, and {len(left)} attempts are armed"])
        await here.play()
        await here.judge(lane.expected)


async def told_twice(lane: Lane, chance: random.Random, result: Result) -> None:
    """A second SIGTERM ends it at once, as kill -9 would."""
    async with stage(lane.databases, chance, result, latency_ms=50, per_minute=UNBOUND) as here:
        one = here.start_worker()
        await here.has_accepted(chance.randint(1, FIRST_MAILS // 2))
        one.signal(signal.SIGTERM)
        await lasting(chance.uniform(0.0, 0.1))
        one.signal(signal.SIGTERM)
        died_at, before = monotonic(), len(here.sandbox.accepted)
        code = await one.ended(STOP_SECONDS_MAX)
        if code not in (0, -signal.SIGTERM):
            result.note([f"told twice to stop, it ended with {code}"])
        here.kills += int(code != 0)
        here.lost |= set(await run(here.db, ARMED))
        result.watched.append((died_at, before))
        here.fall(one)
        await here.play()
        await here.judge(lane.expected)


async def told_to_stop_while_provider_hangs(
    lane: Lane, chance: random.Random, result: Result
) -> None:
    """SIGTERM with requests that nobody answers: it ends within its time."""
    async with stage(lane.databases, chance, result, latency_ms=5, per_minute=UNBOUND) as here:
        when = chance.choice([When.BEFORE_ACCEPT, When.AFTER_ACCEPT])
        here.sandbox.order(FaultOrder(act=Act.HANG, when=when, times=chance.randint(1, 20)))
        here.options["deadline_seconds"] = 1.0
        one = here.start_worker()
        faults = here.sandbox.sandbox.faults

        async def hangs() -> bool:
            return faults.served > 0

        await eventually(hangs)
        await stopped(here, one)
        served = here.forgive()
        await here.play()
        await here.judge(lane.expected, unknown_max=served, incidents={"provider_outage"})


async def queue_forgets(lane: Lane, chance: random.Random, result: Result) -> None:
    """Every table of the queue is emptied, or every job is there twice: nothing is lost."""
    async with stage(
        lane.databases, chance, result, latency_ms=20, per_minute=UNBOUND, is_holding_events=False
    ) as here:
        one = here.start_worker()
        for share in sorted(chance.uniform(0.0, 0.6) for _ in range(chance.randint(1, 3))):
            await here.has_accepted(int(share * FIRST_MAILS))
            await run(here.db, chance.choice([TRUNCATE, TRUNCATE, TWICE]))
        await here.has_accepted(FIRST_MAILS - 2)
        await stopped(here, one)
        await here.play()
        await here.judge(lane.expected)


async def stopped(here: Stage, one: Hand) -> None:
    """SIGTERM, and its end in time and in good order."""
    one.signal(signal.SIGTERM)
    began_at = monotonic()
    code = await one.ended(STOP_SECONDS_MAX + 5)
    if code != 0 or monotonic() - began_at > STOP_SECONDS_MAX:
        here.result.note([f"told to stop, it ended with {code} after {monotonic() - began_at:.1f}"])
    here.fall(one)
