"""One life of a worker, in a process of its own, which may be killed or frozen at a chosen point.

The services run as a worker runs them, all beside each other, until nothing is left to do. The
product knows nothing of this: the functions at the points are wrapped here, after the fork. SIGKILL
leaves no chance to clean up: no `finally`, no rollback, no goodbye to the server.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal, cast
from uuid import UUID

from outreach import config
from outreach import db as database
from outreach.config import Settings
from outreach.db import Database
from outreach.providers.http1 import Pool
from outreach.providers.http1_connection import ClientConnection
from outreach.providers.sendgrid import SendGrid
from outreach.recorder import NO_RECORDER, Recorder, open_recorder
from outreach.services import apply_events as applying
from outreach.services import fire_timers as firing
from outreach.services import fold_events, recover, refuse, send
from outreach.store import counters, deliveries, dispatch, events, holds, ledger, timers

# So long after the request was written the process ends; the sandbox answers later than that.
ON_ITS_WAY_SECONDS = 0.01
APPLICATION = "outreach-life"
# How long a transaction may be idle, in the product and in a life that will freeze.
LONG, SHORT = "'60s'", "'1s'"


@dataclass(frozen=True, slots=True)
class Point:
    """A moment: before or after a function, or shortly after it began."""

    owner: Any
    name: str
    side: Literal["before", "after", "within"]


POINTS = {
    "claim: actions locked": Point(dispatch, "claim_sends", "after"),
    "claim: armed, not committed": Point(dispatch, "arm_sends", "after"),
    "claim: tokens taken, not committed": Point(counters, "take_tokens", "after"),
    "claim: last statement, not committed": Point(counters, "take_installation", "after"),
    "claim: committed": Point(send, "claim_batch", "after"),
    "request: not begun": Point(SendGrid, "send", "before"),
    "request: connected, not written": Point(Pool, "_dial", "after"),
    "request: on its way": Point(ClientConnection, "send", "within"),
    "request: answered": Point(SendGrid, "send", "after"),
    "request: recovered, file not removed": Point(recover, "_settle_some", "after"),
    "record: not begun": Point(send, "record", "before"),
    "record: accepted, not committed": Point(ledger, "settle_accepted", "after"),
    "record: settled, not committed": Point(ledger, "settle_attempts", "after"),
    "record: committed": Point(send, "record", "after"),
    "tokens: given back, not committed": Point(counters, "give_back_tokens", "after"),
    "tokens: not given back": Point(send, "give_back", "before"),
    "refusal: decided, not written": Point(refuse, "_refuse", "before"),
    "refusal: moved, not committed": Point(refuse, "write_advances", "after"),
    "refusal: reasons written, not committed": Point(holds, "insert_refusals", "after"),
    "events: bodies claimed": Point(deliveries, "claim_deliveries", "after"),
    "events: stored, not folded": Point(events, "insert_events", "after"),
    "events: moved, not committed": Point(fold_events, "write_advances", "after"),
    "events: folded, body not closed": Point(deliveries, "close_deliveries", "before"),
    "events: committed": Point(applying, "apply_events", "after"),
    "timers: closed, not moved": Point(firing, "write_advances", "before"),
    "timers: locked": Point(timers, "list_timers", "after"),
    "timers: moved, not committed": Point(firing, "write_advances", "after"),
    "timers: committed": Point(firing, "fire_timers", "after"),
    "rescue: found": Point(ledger, "list_overdue_attempts", "after"),
}


@dataclass(frozen=True, slots=True)
class Kill:
    """End at the `nth` pass of a point that this life makes; or freeze there."""

    point: str
    nth: int = 1
    signal: signal.Signals = signal.SIGKILL


@dataclass(frozen=True, slots=True)
class Life:
    """What one life works on, and how it ends."""

    conninfo: str
    sandbox_url: str
    tenant_id: UUID
    secret: str
    kill: Kill | None
    batch_max: int
    batches_in_flight: int
    state_dir: str | None = None  # where its recorder is; None: it has none


def main(life: Life, is_there: Connection | None = None) -> None:
    """Live; called in a process that was forked for it, which says when it is at the point."""
    if life.kill is not None and life.kill.signal is signal.SIGSTOP:
        shorten_patience()
    if life.kill is not None:
        arm(life.kill, is_there)
    asyncio.run(live(life))


async def live(life: Life) -> None:
    """Do everything that is due, until a round finds nothing."""
    settings = config.load(
        sendgrid_base_url=life.sandbox_url,
        sendgrid_api_key="SG.test",
        secret_keys=(life.secret,),
        send_batch_max=life.batch_max,
        send_batches_in_flight=life.batches_in_flight,
    )
    with ExitStack() as stack:
        recorder = NO_RECORDER
        if life.state_dir is not None:
            recorder = stack.enter_context(open_recorder(life.state_dir, life.conninfo))
        await work(life, settings, recorder)


async def work(life: Life, settings: Settings, recorder: Recorder) -> None:
    """The rounds of a life."""
    pool = Database.at(life.conninfo, size_max=6, application=APPLICATION)
    async with pool as db, SendGrid(settings) as provider:
        context = send.send_context(db, provider, settings, recorder)
        stop = asyncio.Event()
        while True:
            await recover.recover(db, recorder)
            found = await asyncio.gather(
                send.send_due(context, life.tenant_id, stop=stop, slice_seconds=5.0),
                applying.apply_events(db, deliveries_max=2),
                firing.fire_timers(db, life.tenant_id, batch=3),
                send.rescue(db),
            )
            if not any(found):
                return


def shorten_patience() -> None:
    """Let the server end a transaction of ours after a second instead of a minute."""
    assert LONG in database.SET_ROLE
    database.SET_ROLE = database.SET_ROLE.replace(LONG, SHORT)
    statements = cast(dict[str, str], dispatch.SQL)
    patient = {name: text for name, text in statements.items() if LONG in text}
    assert patient, "one that begins a transaction says how long it may be idle"
    statements.update({name: text.replace(LONG, SHORT) for name, text in patient.items()})


def arm(kill: Kill, is_there: Connection | None = None) -> None:
    """Let this process end, or freeze, at the point; `is_there` is told just before."""

    def end() -> None:
        if is_there is not None:
            is_there.send_bytes(b"1")
        os.kill(os.getpid(), kill.signal)

    point = POINTS[kill.point]
    wrapped: Callable[..., Any] = getattr(point.owner, point.name)
    passes = 0

    def is_last_pass() -> bool:
        nonlocal passes
        passes += 1
        if passes == kill.nth and point.side == "before":
            end()
        if passes == kill.nth and point.side == "within":
            asyncio.get_running_loop().call_later(ON_ITS_WAY_SECONDS, end)
        return passes == kill.nth and point.side == "after"

    @functools.wraps(wrapped)
    async def deadly(*args: Any, **kwargs: Any) -> Any:
        ends = is_last_pass()
        result = await wrapped(*args, **kwargs)
        if ends:
            end()
        return result

    @functools.wraps(wrapped)
    def deadly_at_once(*args: Any, **kwargs: Any) -> Any:
        ends = is_last_pass()
        result = wrapped(*args, **kwargs)
        if ends:
            end()
        return result

    is_async = inspect.iscoroutinefunction(wrapped)
    setattr(point.owner, point.name, deadly if is_async else deadly_at_once)
