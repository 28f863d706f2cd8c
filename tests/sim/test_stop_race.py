"""Stops against claims: nothing is armed after a stop has committed, in whatever order they meet.

The stop begins while a claim is at a step chosen by chance, and the claim waits there a little for
it. Who was first is judged by the server's own commit times. Without the share locks of the claim
the same race is lost, so it is one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, LiteralString

import pytest

from outreach.core.states import SuppressionReason
from outreach.db import Database
from outreach.services import campaign_control, control, suppress
from outreach.services.claim import claim_batch
from outreach.services.compose import Terms
from outreach.services.suppress import SuppressionEntry
from outreach.store import counters, dispatch
from tests.sim.world import seed_of_run, trials
from tests.support.factories import Campaign, run
from tests.support.people import ACTOR
from tests.support.sending import SECRET, due_campaign

TERMS = Terms("http://127.0.0.1:8000", (SECRET,), None)
PATIENCE_SECONDS = 0.01
RACES_AT_ONCE = 6
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
SHARE_LOCKS = "for share of e, c, k, s skip locked"

Step = Callable[[str], Awaitable[None]]
Act = Callable[[Database, Campaign], Awaitable[object]]

at_step: ContextVar[Step | None] = ContextVar("at_step", default=None)

pytestmark = pytest.mark.slow


async def _suppress(db: Database, campaign: Campaign, value: str) -> None:
    entry = SuppressionEntry(value, SuppressionReason.MANUAL, source="test")
    await suppress.add(db, campaign.tenant_id, [entry], actor=ACTOR)


async def suppress_address(db: Database, campaign: Campaign) -> None:
    ((email,),) = await run(
        db, "select email from contacts where tenant_id = %(t)s", t=campaign.tenant_id
    )
    await _suppress(db, campaign, email)


async def suppress_domain(db: Database, campaign: Campaign) -> None:
    await _suppress(db, campaign, "@cust.example")


async def pause_campaign(db: Database, campaign: Campaign) -> None:
    await campaign_control.pause(db, campaign.tenant_id, str(campaign.id), actor=ACTOR)


async def stop_campaign(db: Database, campaign: Campaign) -> None:
    await campaign_control.stop(db, campaign.tenant_id, str(campaign.id), actor=ACTOR)


async def pause_tenant(db: Database, campaign: Campaign) -> None:
    ((slug,),) = await run(db, "select slug from tenants where id = %(t)s", t=campaign.tenant_id)
    await control.pause_tenant(db, slug, reason="a test", actor=ACTOR)


async def pause_sender(db: Database, campaign: Campaign) -> None:
    await run(
        db,
        "update sender_identities set paused_at = now(), pause_reason = 'a test'"
        " where tenant_id = %(t)s",
        t=campaign.tenant_id,
    )


# Each act, and the row that carries it.
STOPS: dict[Act, LiteralString] = {
    suppress_address: "select pg_xact_commit_timestamp(xmin) from suppressions"
    " where tenant_id = %(t)s",
    suppress_domain: "select pg_xact_commit_timestamp(xmin) from suppressions"
    " where tenant_id = %(t)s",
    pause_campaign: "select pg_xact_commit_timestamp(xmin) from campaigns where tenant_id = %(t)s",
    stop_campaign: "select pg_xact_commit_timestamp(xmin) from campaigns where tenant_id = %(t)s",
    pause_tenant: "select pg_xact_commit_timestamp(xmin) from send_holds where tenant_id = %(t)s",
    pause_sender: "select pg_xact_commit_timestamp(xmin) from sender_identities"
    " where tenant_id = %(t)s",
}
ARMED: LiteralString = """
select pg_xact_commit_timestamp(xmin) from send_attempts where tenant_id = %(t)s
"""


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


async def race(db: Database, act: Act, step: str, patience: float) -> Race:
    """One due mail; its claim, and an act that stops it and begins when the claim is at `step`."""
    campaign = await due_campaign(db, 1)
    begins = asyncio.Event()

    async def stop() -> None:
        await begins.wait()
        await act(db, campaign)

    stopping = asyncio.create_task(stop())

    async def at(name: str) -> None:
        if name == step:
            begins.set()
            await asyncio.wait([stopping], timeout=patience)

    at_step.set(at)
    if step in (AT_ONCE, BEFORE):
        begins.set()
        await asyncio.wait([stopping], timeout=AT_ONCE_SECONDS if step == AT_ONCE else None)
    await claim_batch(db, campaign.tenant_id, size_max=5, terms=TERMS, deadline_seconds=10.0)
    begins.set()
    await stopping
    ((stopped_at,), *_) = await run(db, STOPS[act], t=campaign.tenant_id)
    armed = await run(db, ARMED, t=campaign.tenant_id)
    return Race(bool(armed), any(armed_at > stopped_at for (armed_at,) in armed))


async def races(
    db: Database, act: Act, chosen: list[str], patience: float = PATIENCE_SECONDS
) -> list[Race]:
    """A race for each chosen step, several at once; each tenant's own."""
    ended: list[Race] = []
    for start in range(0, len(chosen), RACES_AT_ONCE):
        some = chosen[start : start + RACES_AT_ONCE]
        tasks = [asyncio.create_task(race(db, act, one, patience)) for one in some]
        ended += await asyncio.gather(*tasks)
    return ended


@pytest.mark.parametrize("act", STOPS, ids=lambda act: str(act.__name__))
@pytest.mark.usefixtures("steps")
async def test_nothing_is_armed_after_a_stop(private_conninfo: str, act: Act) -> None:
    seed = seed_of_run()
    print(f"OUTREACH_SIM_SEED={seed}")
    chance = random.Random(seed)
    chosen = [*STEPS, BEFORE, *(chance.choice([*STEPS, AT_ONCE]) for _ in range(trials(93)))]
    async with Database.at(private_conninfo, size_max=16) as db:
        ended = await races(db, act, chosen)
    print(f"races {len(ended)}, armed before the stop {sum(one.is_armed for one in ended)}")
    assert sum(one.is_late for one in ended) == 0
    assert {one.is_armed for one in ended} == {True, False}, "both are first at times"


@pytest.mark.parametrize("act", [suppress_address, pause_campaign], ids=["address", "campaign"])
@pytest.mark.usefixtures("steps")
async def test_without_the_share_locks_the_race_is_lost(
    private_conninfo: str, monkeypatch: pytest.MonkeyPatch, act: Act
) -> None:
    statement = dispatch.SQL["claim_sends"]
    assert SHARE_LOCKS in statement
    monkeypatch.setitem(dispatch.SQL, "claim_sends", statement.replace(SHARE_LOCKS, ""))
    async with Database.at(private_conninfo, size_max=16) as db:
        ended = await races(db, act, ["claim_sends"] * 6, patience=5.0)
    assert all(one.is_late for one in ended)
