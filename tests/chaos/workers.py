"""Trials of workers that are killed or frozen, alone and in pairs."""

from __future__ import annotations

import asyncio
import random
import signal

from tests.chaos.lane import Lane
from tests.chaos.moments import lasting
from tests.chaos.result import Result
from tests.chaos.served import FROZEN
from tests.chaos.stage import stage
from tests.sim.child import POINTS, Kill
from tests.sim.naive import send_again
from tests.sim.world import ARMED, World
from tests.support.factories import run

# What the first mails come by: their events and timers are not there yet.
AT_FIRST = [p for p in POINTS if not p.startswith(("timers", "rescue", "events"))]
FREEZING = [
    p for p in AT_FIRST if p.startswith(("claim", "request", "record")) and "recov" not in p
]
# Longer than a request may begin after its grant.
TOO_LONG_SECONDS = 2.3


async def killed_at_points(lane: Lane, chance: random.Random, result: Result) -> None:
    """kill -9 at one to three named points of the story."""
    async with stage(lane.databases, chance, result) as here:
        points = sorted(chance.sample(list(POINTS), chance.randint(1, 3)), key=list(POINTS).index)
        await here.play([Kill(point, chance.randint(1, 3)) for point in points])
        await here.judge(lane.expected)


async def killed_at_any_moment(lane: Lane, chance: random.Random, result: Result) -> None:
    """kill -9 after a while, whatever the worker is just doing."""
    async with stage(lane.databases, chance, result, latency_ms=chance.choice([1, 20])) as here:
        for _ in range(chance.randint(1, 3)):
            one = here.start()
            work = asyncio.create_task(one.work())
            await asyncio.wait({work}, timeout=chance.uniform(0.02, 0.4))
            if work.done():
                await work
                break
            one.signal(signal.SIGKILL)
            await work
            here.fall(one)
            await here.note_fall(one)
        await here.play()
        await here.judge(lane.expected)


async def one_of_two_killed(lane: Lane, chance: random.Random, result: Result) -> None:
    """Two workers on one tenant, of which one dies; webhooks come when they like."""
    async with stage(
        lane.databases, chance, result, latency_ms=10, is_holding_events=chance.random() < 0.5
    ) as here:
        doomed = here.start(Kill(chance.choice(AT_FIRST), chance.randint(1, 2)))
        other = here.start()
        goes_on = asyncio.create_task(other.work())
        if not await doomed.work():
            here.fall(doomed)
            await here.note_fall(doomed)
        assert await goes_on
        await here.play()
        await here.judge(lane.expected)


async def frozen(lane: Lane, chance: random.Random, result: Result) -> None:
    """SIGSTOP at a point or a moment; others take over past its lease; then it goes on."""
    async with stage(lane.databases, chance, result, latency_ms=10) as here:
        is_at_point = chance.random() < 0.5
        point = Kill(chance.choice(FREEZING), signal=signal.SIGSTOP)
        one = here.start(point if is_at_point else None, may_freeze=True)
        one.begin()
        reply = asyncio.create_task(one.reply())
        await asyncio.wait({reply}, timeout=None if is_at_point else chance.uniform(0.02, 0.3))
        if reply.done() and reply.result() == FROZEN:
            reply = asyncio.create_task(one.reply())
        elif not reply.done():
            one.signal(signal.SIGSTOP)
        if not reply.done():
            here.kills += 1
            here.lost |= set(await run(here.db, ARMED))
            await World.pass_time(here)  # no leap: what it has in hand would look late
            assert await here.start(may_freeze=True).work()
            if chance.random() < 0.25:
                await lasting(TOO_LONG_SECONDS)
            one.signal(signal.SIGCONT)
        assert await reply
        here.fall(one)  # its point may still lie ahead
        await here.play()
        # What it waited for came while it stood still: it takes its own silence for the provider's.
        await here.judge(lane.expected, incidents={"provider_outage"})


async def resending(lane: Lane, chance: random.Random, result: Result) -> None:
    """The control: a sender that is killed, and sends again whatever it has no answer for."""
    async with stage(lane.databases, chance, result, latency_ms=20) as here:
        one = here.start(Kill(chance.choice(FREEZING), chance.randint(1, 2)))
        if not await one.work():
            here.fall(one)
            await here.note_fall(one)
            await send_again(here.db, here.sandbox)
        await here.play()
        await here.judge(lane.expected)
