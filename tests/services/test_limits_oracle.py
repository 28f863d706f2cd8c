"""Random limits, four workers, and a clock that jumps: an oracle finds no window over its limit.

`tests/support/limit_world.py` says what is drawn and how it is judged, by grants and as the
provider saw it. Beside it the worst case alone, and with a live bucket less, which is over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import LiteralString

import pytest

from outreach.core import limits
from outreach.core.limits import START_SECONDS_MAX, WINDOWS
from outreach.db import Database
from tests.support.clock import MovedClock, moved_clock
from tests.support.factories import run
from tests.support.limit_world import MAILS, LimitWorld, limit_world
from tests.support.sending import drain, due_campaign, sending
from tests.support.windows import fullest_window, most_in_the_long_run

STEPS = 30
WORKERS = 4


@asynccontextmanager
async def world(conninfo: str, seed: int) -> AsyncIterator[LimitWorld]:
    """A world of a seed, each worker with connections of its own."""
    async with AsyncExitStack() as stack:
        db, clock = await stack.enter_async_context(moved_clock(conninfo))
        workers = [
            await stack.enter_async_context(
                Database.at(conninfo, size_max=3, application=f"outreach-{number}")
            )
            for number in range(WORKERS)
        ]
        context, sandbox = await stack.enter_async_context(sending(db))
        yield await limit_world(db, clock, sandbox, context, workers, seed)


async def play(found: LimitWorld, steps: int = STEPS) -> int:
    """Hammer and wait in turns; how many steps sent something."""
    busy = 0
    for _ in range(steps):
        busy += await found.hammer() > 0
        await found.wait()
        if found.rng.random() < 0.1:
            await found.change_regard()
    return busy


@pytest.mark.parametrize("seed", range(3))
async def test_no_window_is_over_its_limit_whatever_is_drawn(conninfo: str, seed: int) -> None:
    async with world(conninfo, seed) as found:
        busy = await play(found)
        sent = await found.sent()

        assert found.over(sent) == []
        assert busy > STEPS / 5, "limits bind and let go"
        assert len(sent) < 3 * MAILS, "there was always more to send"


SABOTAGE: dict[str, LiteralString] = {
    "no warm-up": "create or replace function public.ramp_cap(first_day int, warm_seconds float8)"
    " returns int language sql immutable parallel safe as $$ select 2147483647 $$",
    "a warm-up by the calendar": "update sender_identities"
    " set first_sent_at = now() - interval '9 days'",
    "nobody slowed": "create or replace function public.slowed_cap(cap int,"
    " reputation reputation_state) returns int language sql immutable parallel safe"
    " as $$ select cap $$",
    "tokens that live for half of a window": "create or replace function public.expired_bucket("
    "at timestamptz, window_seconds int) returns int language sql immutable parallel safe"
    " as $$ select floor(extract(epoch from at))::int / (window_seconds / 60) - 30 $$",
}


@pytest.mark.parametrize("what", SABOTAGE)
async def test_the_oracle_sees_what_is_not_kept(conninfo: str, what: str) -> None:
    """The controls: the same worlds, where a part of it is not done."""
    async with world(conninfo, 3) as found:
        await run(found.db, SABOTAGE[what])
        for _ in range(STEPS):
            await found.hammer()
            await found.change_regard()
            if found.over(await found.sent()):
                return
            await found.wait()
    raise AssertionError("it was not seen")


async def worst_case(db: Database, clock: MovedClock, window: int) -> list[float]:
    """When mails arrive of which the first leave as late as they may, the others at once.

    The first are granted at the last moment of a sub-bucket, the others at the first moment at
    which the limit of five lets them.
    """
    campaign = await due_campaign(db, 10)
    await run(
        db,
        "update send_rate_limits set per_minute_max = %(m)s, per_hour_max = %(h)s,"
        " per_day_max = %(d)s where scope = 'sender'",
        **{
            name: 5 if window == length else None
            for name, length in zip("mhd", WINDOWS, strict=True)
        },
    )
    length = window // 60
    await clock.move(length - await clock.unix() % length - 0.001)
    moments: list[float] = []
    async with sending(db) as (context, sandbox):
        for late in (START_SECONDS_MAX, 0.0):
            await drain(context, campaign.tenant_id)
            new = len(sandbox.accepted) - len(moments)
            moments += [await clock.unix() + late] * new
            ((until,),) = await run(
                db, "select extract(epoch from max(until) - now())::float8 from send_holds"
            )
            await clock.move(until)
    assert len(moments) == 10
    return moments


@pytest.mark.parametrize("window", WINDOWS)
async def test_the_worst_case_keeps_to_the_limit(conninfo: str, window: int) -> None:
    async with moved_clock(conninfo) as (db, clock):
        assert fullest_window(await worst_case(db, clock, window), window) == 5


@pytest.mark.parametrize("window", WINDOWS)
async def test_with_a_live_bucket_less_it_would_not(
    conninfo: str, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the same, where each token is free one sub-bucket too early."""
    live = limits.live_buckets
    monkeypatch.setattr(limits, "live_buckets", lambda window: live(window) - 1)
    async with moved_clock(conninfo) as (db, clock):
        await run(
            db,
            "create or replace function public.expired_bucket(at timestamptz, window_seconds int)"
            " returns integer language sql immutable parallel safe as $$"
            " select floor(extract(epoch from at))::integer / (window_seconds / 60)"
            "  - case window_seconds when 60 then 62 else 61 end $$",
        )
        assert fullest_window(await worst_case(db, clock, window), window) == 10


@pytest.mark.parametrize(("window", "cap"), [("minute", 20), ("hour", 40), ("day", 40)])
async def test_a_limit_that_binds_is_used_to_95_per_cent(
    conninfo: str, window: str, cap: int
) -> None:
    """Whoever comes back at the promised moments wastes no more than the price of exactness."""
    seconds, cycles = {"minute": 60, "hour": 3_600, "day": 86_400}[window], 12
    async with moved_clock(conninfo) as (db, clock), sending(db) as (context, sandbox):
        campaign = await due_campaign(db, cap * cycles + 1)
        await run(
            db,
            "update send_rate_limits set per_minute_max = %(m)s, per_hour_max = %(h)s,"
            " per_day_max = %(d)s where scope = 'sender'",
            m=cap if window == "minute" else None,
            h=cap if window == "hour" else None,
            d=cap if window == "day" else None,
        )
        moments: list[float] = []
        for _ in range(cycles):
            await drain(context, campaign.tenant_id)
            new = sandbox.accepted[len(moments) :]
            moments += [await clock.unix()] * len(new)
            ((until,),) = await run(
                db,
                "select extract(epoch from until - clock_timestamp())::float8 from send_holds"
                " where ended_at is null",
            )
            await clock.move(until)
        span = await clock.unix() - moments[0]
    assert fullest_window(moments, seconds) <= cap
    assert len(moments) >= 0.95 * most_in_the_long_run(cap, seconds, span)
