"""Trials of a database that refuses, ends sessions, has no room, and is reached through a proxy."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import LiteralString

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.chaos import proxy
from tests.chaos.lane import Lane
from tests.chaos.moments import lasting
from tests.chaos.proxy import COMMIT, Act, Order, Proxy, Side, Way
from tests.chaos.result import Result
from tests.chaos.stage import IN_FLIGHT, Stage, stage
from tests.support.factories import run

# A refusal in passing, by chance, for whatever writes to these tables.
FAIL_BY_CHANCE: LiteralString = """
create function fail_by_chance() returns trigger language plpgsql as $$
begin
  if current_user = 'outreach_worker' and random() < 0.05 then
    raise exception 'injected'
      using errcode = (array['40001', '40P01', '55P03'])[1 + (random() * 2)::int];
  end if;
  return null;
end
$$;
create trigger fail_by_chance after insert or update on outbound_messages
  for each statement execute function fail_by_chance();
create trigger fail_by_chance after insert or update on send_attempts
  for each statement execute function fail_by_chance();
create trigger fail_by_chance after insert or update on enrollments
  for each statement execute function fail_by_chance();
create trigger fail_by_chance after insert or update on message_events
  for each statement execute function fail_by_chance();
"""
FAIL_NO_MORE: LiteralString = "drop function fail_by_chance() cascade"
END_SOME: LiteralString = """
select count(pg_terminate_backend(pid)) from pg_stat_activity
where datname = current_database() and application_name like 'outreach-life-%%'
  and random() < %(share)s
"""
CANCEL_SOME: LiteralString = """
select count(pg_cancel_backend(pid)) from pg_stat_activity
where datname = current_database() and application_name like 'outreach-life-%%'
  and state = 'active' and random() < %(share)s
"""
IN_REVERSE: tuple[LiteralString, ...] = (
    "select from scheduled_actions where state in ('claimed', 'pending') for update",
    "select from outbound_messages where state in ('sending', 'waiting_retry') for update",
    "select from enrollments where state = 'active' for update",
)


async def injected_errors(lane: Lane, chance: random.Random, result: Result) -> None:
    """40001, 40P01 and 55P03 out of a trigger, at one statement in twenty."""
    async with stage(lane.databases, chance, result) as here:
        await run(here.db, FAIL_BY_CHANCE)
        await here.settle([])
        await run(here.db, FAIL_NO_MORE)
        await here.play()
        await here.judge(lane.expected, unknown_max=IN_FLIGHT)


async def sessions_ended(lane: Lane, chance: random.Random, result: Result) -> None:
    """pg_terminate_backend, a share of the sessions at a time, while mail is being sent."""
    await _meanwhile(lane, chance, result, END_SOME)


async def statements_canceled(lane: Lane, chance: random.Random, result: Result) -> None:
    """pg_cancel_backend on what is just running."""
    await _meanwhile(lane, chance, result, CANCEL_SOME)


async def _meanwhile(
    lane: Lane, chance: random.Random, result: Result, harm: LiteralString
) -> None:
    async with stage(lane.databases, chance, result, latency_ms=10) as here:

        async def storm() -> None:
            for _ in range(chance.randint(3, 12)):
                await lasting(chance.uniform(0.01, 0.06))
                await run(here.db, harm, share=chance.uniform(0.2, 1.0))

        await beside(here, storm)
        await here.play()
        await here.judge(lane.expected, unknown_max=IN_FLIGHT)


async def deadlocks(lane: Lane, chance: random.Random, result: Result) -> None:
    """Somebody locks in the opposite order, and the worker is the one who is refused."""
    async with stage(lane.databases, chance, result, latency_ms=10) as here:
        name = str(conninfo_to_dict(here.conninfo)["dbname"])
        superuser = lane.databases.server.conninfo(name)
        async with await AsyncConnection.connect(superuser, autocommit=True) as other:
            await other.execute(_alter("set deadlock_timeout = '20ms'", name))
            await other.execute("set deadlock_timeout = '200ms'")
            await beside(here, lambda: _lock_in_reverse(other, chance))
            await here.play()
            await here.judge(lane.expected, unknown_max=IN_FLIGHT)


async def _lock_in_reverse(other: AsyncConnection, chance: random.Random) -> None:
    for _ in range(chance.randint(3, 8)):
        with suppress(psycopg.errors.DeadlockDetected):
            async with other.transaction():
                for statement in IN_REVERSE:
                    await other.execute(statement)
                    await lasting(chance.uniform(0.0, 0.02))
        await lasting(chance.uniform(0.0, 0.05))


async def no_room(lane: Lane, chance: random.Random, result: Result) -> None:
    """A pool of two with little patience, and a server with no connection to spare for a while."""
    async with stage(lane.databases, chance, result, latency_ms=10) as here:
        name = str(conninfo_to_dict(here.conninfo)["dbname"])
        superuser = lane.databases.server.conninfo(name)
        here.options |= {"pool_max": 2, "pool_seconds": 0.2}

        async def hold() -> None:
            async with await AsyncConnection.connect(superuser, autocommit=True) as other:
                await other.execute(_alter("connection limit 1", name))
                for _ in range(chance.randint(1, 3)):
                    await run(here.db, END_SOME, share=1.0)
                    await lasting(chance.uniform(0.05, 0.4))
                await other.execute(_alter("connection limit -1", name))

        await beside(here, hold)
        await here.play()
        await here.judge(lane.expected, unknown_max=2 * IN_FLIGHT)


async def lost_at_commit(lane: Lane, chance: random.Random, result: Result) -> None:
    """A connection that ends before a COMMIT, just after it, or with its reply on the way."""
    orders = [
        Order(Act.RESET, word=COMMIT, side=side, skip=chance.randint(0, 12))
        for side in chance.choices(list(Side), k=chance.randint(1, 3))
    ]
    await _through(lane, chance, result, orders)


async def bad_line(lane: Lane, chance: random.Random, result: Result) -> None:
    """A network to the database that delays, drops, resets and half closes."""
    orders = [
        Order(
            chance.choice(list(proxy.Act)),
            chance.choice(list(Way)),
            after_bytes=chance.choice([0, chance.randint(1, 30_000)]),
            seconds=chance.uniform(0.01, 0.3),
            skip=chance.randint(0, 3),
        )
        for _ in range(chance.randint(1, 6))
    ]
    await _through(lane, chance, result, orders)


async def _through(lane: Lane, chance: random.Random, result: Result, orders: list[Order]) -> None:
    async with stage(lane.databases, chance, result) as here:
        async with Proxy(lane.databases.server.place.server_socket) as between:
            between.order(*orders)
            here.options["conninfo"] = make_conninfo(
                here.conninfo, host="127.0.0.1", port=between.port
            )
            await here.settle([])
            between.clear()
            await here.play()
            await here.judge(lane.expected, unknown_max=max(between.struck * IN_FLIGHT, 1))
            for one in list(here.hands):
                here.fall(one)


def _alter(what: LiteralString, database: str) -> sql.Composed:
    return sql.SQL("alter database {} " + what).format(sql.Identifier(database))


async def beside(here: Stage, harm: Callable[[], Awaitable[None]]) -> None:
    """Do harm while a worker works."""
    doing = asyncio.ensure_future(harm())
    try:
        await here.settle([])
    finally:
        await doing
