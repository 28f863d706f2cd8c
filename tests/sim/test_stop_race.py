"""Stops against claims: nothing is armed after a stop has committed, in whatever order they meet.

The stop begins while a claim is at a step chosen by chance, and the claim waits there a little for
it; the claim takes one mail or a hundred, for the first time or once more. Who was first is judged
by the server's own commit times.
Without the claim's lock that carries a stop the same race is lost, so it is one.

Ten thousand races: OUTREACH_SIM_TRIALS=28.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

import pytest

from outreach.db import Database
from outreach.services import control
from outreach.services.claim import claim_batch
from outreach.services.compose import Terms
from outreach.store import counters, dispatch
from tests.sim.world import seed_of_run, trials
from tests.support.factories import make_tenant, run
from tests.support.sending import SECRET, due_campaign
from tests.support.stops import STOPS, Stop, Target, pause_installation
from tests.support.waiting import eventually

TERMS = Terms("http://127.0.0.1:8000", (SECRET,), None)
PATIENCE_SECONDS = 0.01
RACES_AT_ONCE = 6
RACES_SHORT = 40
RETRY_CHANCE = 0.25
SIZES = (1, 1, 1, 1, 1, 1, 100)  # of the claim, by chance
STEPS = {
    "begin_claim": dispatch,
    "read_budget": dispatch,
    "list_lanes": dispatch,
    "claim_sends": dispatch,
    "arm_sends": dispatch,
    "take_tokens": counters,
}
AT_ONCE, BEFORE = "at once", "before"
AT_ONCE_SECONDS = 0.004
# The locks of a claim: the statement that takes each, and the words.
LOCKS = {
    "shares": ("claim_sends", r"for share of e, c, k, s skip locked"),
    "actions": ("claim_sends", r"for update of a skip locked"),
    "budget": ("read_budget", r"for share of t, i"),
    "tenant": ("begin_claim", r"pg_advisory_xact_lock(?=\()"),
}
CLEAR: LiteralString = (
    "update scheduled_actions set state = 'canceled', held_by = null where state = 'pending'"
)

NOT_SENT: LiteralString = """
with attempt as (
  update send_attempts set outcome = 'not_sent', settled_at = now(), settled_by = 'answer'
  where tenant_id = %(t)s and outcome = 'armed'
  returning message_id
),
message as (
  update outbound_messages m set state = 'waiting_retry', wake_at = now()
  from attempt where m.tenant_id = %(t)s and m.id = attempt.message_id
)
update scheduled_actions a set state = 'pending', due_at = now()
from attempt where a.tenant_id = %(t)s and a.message_id = attempt.message_id
"""

Step = Callable[[str], Awaitable[None]]

at_step: ContextVar[Step | None] = ContextVar("at_step", default=None)

pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True)
class Start:
    """How one begins."""

    step: str  # of the claim: the stop begins when it is there
    size: int = 1  # of the claim
    is_retry: bool = False  # the mail was claimed before and was not sent


@dataclass(frozen=True, slots=True)
class Race:
    """How one ended."""

    is_armed: bool
    is_late: bool


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Claims tell the race that they belong to where they are."""
    for name, owner in STEPS.items():
        monkeypatch.setattr(owner, name, _told(name, getattr(owner, name)))
    yield


def _told(name: str, step: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def told(*args: Any, **kwargs: Any) -> Any:
        result = await step(*args, **kwargs)
        if (at := at_step.get()) is not None:
            await at(name)
        return result

    return told


async def due_target(db: Database, start: Start, tenant_id: UUID) -> Target:
    """A campaign with due mails, and the contact that may be meant."""
    campaign = await due_campaign(db, start.size, tenant_id=tenant_id)
    if start.is_retry:
        await claim(db, start, tenant_id)
        await run(db, NOT_SENT, t=tenant_id)
    ((contact_id, email, slug), *_) = await run(
        db,
        "select c.id, c.email, t.slug from enrollments e"
        " join contacts c on c.tenant_id = e.tenant_id and c.id = e.contact_id"
        " join tenants t on t.id = e.tenant_id where t.id = %(t)s and e.campaign_id = %(c)s",
        t=tenant_id,
        c=campaign.id,
    )
    return Target(campaign, contact_id, email, slug, attempt=2 if start.is_retry else 1)


async def claim(db: Database, start: Start, tenant_id: UUID) -> None:
    await claim_batch(db, tenant_id, size_max=start.size, terms=TERMS, deadline_seconds=10.0)


async def race(
    db: Database, stop: Stop, tenant_id: UUID, start: Start, *, to_the_end: bool
) -> Race:
    """Due mail; its claim, and a stop that begins when the claim is at the step of `start`.

    The claim waits there for a moment, or `to_the_end`: until the stop has committed.
    """
    target = await due_target(db, start, tenant_id)
    begins = asyncio.Event()

    async def act() -> None:
        await begins.wait()
        await stop.act(db, target)

    acting = asyncio.create_task(act())

    async def has_stopped() -> bool:
        return await stop.stopped_at(db, target) is not None

    async def at(name: str) -> None:
        if name == start.step:
            begins.set()
            if to_the_end:
                await eventually(has_stopped)
            else:
                await asyncio.wait([acting], timeout=PATIENCE_SECONDS)

    at_step.set(at)
    if start.step in (AT_ONCE, BEFORE):
        begins.set()
        await asyncio.wait([acting], timeout=AT_ONCE_SECONDS if start.step == AT_ONCE else None)
    await claim(db, start, tenant_id)
    begins.set()
    await acting
    stopped_at = await stop.stopped_at(db, target)
    assert stopped_at is not None
    armed = await stop.armed_at(db, target)
    if stop.act is pause_installation:
        await control.resume_installation(db, actor="the next race")
        await run(db, CLEAR)
    return Race(bool(armed), any(armed_at > stopped_at for armed_at in armed))


async def races(
    db: Database, stop: Stop, starts: list[Start], *, to_the_end: bool = False
) -> list[Race]:
    """A race for each start, several at once, each of a tenant of its own.

    Those for the installation follow each other, and share a tenant.
    """
    ended: list[Race] = []
    shared = await make_tenant(db) if stop.act is pause_installation else None
    at_once = 1 if shared else RACES_AT_ONCE
    for place in range(0, len(starts), at_once):
        tasks = []
        for start in starts[place : place + at_once]:
            tenant_id = shared or await make_tenant(db)
            one = race(db, stop, tenant_id, start, to_the_end=to_the_end)
            tasks.append(asyncio.create_task(one))
        ended += await asyncio.gather(*tasks)
    return ended


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: str(stop.name))
@pytest.mark.usefixtures("steps")
async def test_nothing_is_armed_after_a_stop(private_conninfo: str, stop: Stop) -> None:
    seed = seed_of_run()
    print(f"OUTREACH_SIM_SEED={seed}")
    chance = random.Random(seed)
    starts = [Start(step) for step in (*STEPS, BEFORE)] + [
        Start(
            chance.choice([*STEPS, AT_ONCE]), chance.choice(SIZES), chance.random() < RETRY_CHANCE
        )
        for _ in range(trials(RACES_SHORT))
    ]
    async with Database.at(private_conninfo, size_max=16) as db:
        ended = await races(db, stop, starts)
    print(f"races {len(ended)}, armed before the stop {sum(one.is_armed for one in ended)}")
    assert sum(one.is_late for one in ended) == 0
    assert {one.is_armed for one in ended} == {True, False}, "both are first at times"


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: str(stop.name))
@pytest.mark.usefixtures("steps")
async def test_without_its_lock_the_race_is_lost(
    private_conninfo: str, monkeypatch: pytest.MonkeyPatch, stop: Stop
) -> None:
    statements = dict(dispatch.SQL)
    for lock in stop.locks:
        name, words = LOCKS[lock]
        statements[name], found = re.subn(words, "", statements[name])
        assert found == 1, f"{name} takes no such lock any more: {words}"
    monkeypatch.setattr(dispatch, "SQL", statements)
    async with Database.at(private_conninfo, size_max=16) as db:
        starts = [Start("claim_sends"), Start("claim_sends", 100)]
        ended = await races(db, stop, starts, to_the_end=True)
    assert all(one.is_late for one in ended)
