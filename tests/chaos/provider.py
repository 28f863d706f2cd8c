"""Trials of a provider that fails in every way there is, and of a network that does."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import urlsplit

from outreach.dev.sandbox import Act, FaultOrder, When
from tests.chaos import proxy
from tests.chaos.lane import Lane
from tests.chaos.proxy import Order, Proxy, Way
from tests.chaos.result import Result
from tests.chaos.stage import Stage, stage

OUTAGES = frozenset({"provider_outage"})
BOTH = (When.BEFORE_ACCEPT, When.AFTER_ACCEPT)


async def _suffers(
    lane: Lane, chance: random.Random, result: Result, orders: list[FaultOrder]
) -> None:
    """A first stage under these orders, then the rest of the story."""
    async with stage(lane.databases, chance, result) as here:
        here.sandbox.order(*orders)
        here.options["deadline_seconds"] = 1.0
        await here.settle([])
        served = here.forgive()
        await here.play()
        await here.judge(lane.expected, unknown_max=served, incidents=OUTAGES)


def _orders(chance: random.Random, acts: list[FaultOrder]) -> list[FaultOrder]:
    """Some of these, each a few times."""
    some = chance.sample(acts, min(len(acts), chance.randint(1, 3)))
    return [one.model_copy(update={"times": chance.randint(1, 6)}) for one in some]


async def silent(lane: Lane, chance: random.Random, result: Result) -> None:
    """No answer, before and after it accepted."""
    acts = [FaultOrder(act=Act.HANG, when=when) for when in When]
    await _suffers(lane, chance, result, _orders(chance, acts))


async def breaking_off(lane: Lane, chance: random.Random, result: Result) -> None:
    """Reset or closed, before it read, before and after it accepted."""
    acts = [FaultOrder(act=act, when=when) for act in (Act.RESET, Act.CLOSE) for when in When]
    await _suffers(lane, chance, result, _orders(chance, acts))


async def failing(lane: Lane, chance: random.Random, result: Result) -> None:
    """5xx and 408, accepted and not."""
    acts = [FaultOrder(status=s, when=w) for s in (408, 500, 502, 503, 504) for w in BOTH]
    await _suffers(lane, chance, result, _orders(chance, acts))


async def unreadable(lane: Lane, chance: random.Random, result: Result) -> None:
    """No HTTP, an answer that ends in its midst, one that drips, a redirect; accepted and not."""
    elsewhere = {"Location": "http://127.0.0.1:9/v3/mail/send"}
    acts = [FaultOrder(act=Act.GARBLE, when=when) for when in BOTH]
    for size in (1, 20, 150):
        acts.append(FaultOrder(act=Act.CUT, when=When.AFTER_ACCEPT, bytes_max=size))
        acts.append(FaultOrder(act=Act.CUT, status=500, body="x" * 300, bytes_max=size))
    acts.append(FaultOrder(act=Act.DRIP, when=When.AFTER_ACCEPT, delay_ms=100))
    acts.append(FaultOrder(act=Act.DRIP, status=503, delay_ms=1))
    acts.extend(FaultOrder(status=s, headers=elsewhere, when=w) for s in (301, 307) for w in BOTH)
    await _suffers(lane, chance, result, _orders(chance, acts))


async def later(lane: Lane, chance: random.Random, result: Result) -> None:
    """429 with every form of Retry-After and of the rate headers: nothing is unknown."""
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    forms = ["5", at, "-3", "1000000000", "soon", "", "1.5"]
    acts = [FaultOrder(status=429, headers={"Retry-After": form}) for form in forms]
    acts += [FaultOrder(status=429, reset_seconds=s) for s in (-10, 0, 5, 1_000_000)]
    acts += [FaultOrder(status=429), FaultOrder(status=429, headers={"X-RateLimit-Reset": "x"})]
    async with stage(lane.databases, chance, result) as here:
        here.sandbox.order(*_orders(chance, acts))
        await here.play()
        await here.judge(lane.expected)


async def far_away(lane: Lane, chance: random.Random, result: Result) -> None:
    """A network to the provider that delays, drops, resets and half closes."""
    async with stage(lane.databases, chance, result) as here:
        address = urlsplit(here.sandbox.url)
        assert address.hostname is not None and address.port is not None
        async with Proxy((address.hostname, address.port)) as between:
            between.order(*(_harm(chance, bytes_max=3_000) for _ in range(chance.randint(1, 8))))
            here.options["sandbox_url"] = f"http://127.0.0.1:{between.port}"
            here.options["deadline_seconds"] = 1.0
            await here.settle([])
            between.clear()
            struck = between.struck
            await here.play()
            await here.judge(lane.expected, unknown_max=struck, incidents=OUTAGES)
            await _leave(here)


async def _leave(here: Stage) -> None:
    for one in list(here.hands):
        here.fall(one)
    await asyncio.sleep(0)


def _harm(chance: random.Random, *, bytes_max: int) -> Order:
    return Order(
        chance.choice(list(proxy.Act)),
        chance.choice(list(Way)),
        after_bytes=chance.choice([0, 1, chance.randint(2, bytes_max)]),
        seconds=chance.uniform(0.01, 0.3),
        skip=chance.randint(0, 3),
    )
