"""Everything at once on few rows: no ring of locks, and the judge has nothing to say."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import LiteralString

import pytest

from outreach.core.errors import Conflict, NotFound, Refused
from outreach.core.states import SuppressionReason
from outreach.db import Database
from outreach.services import campaign_control, control, enrollment_control, senders
from outreach.services import suppress as suppressing
from outreach.services.launch import launch
from outreach.services.suppress import SuppressionEntry
from tests.sim.child import Life, live
from tests.sim.judge import violations
from tests.sim.world import UNPARK, World, seed_of_run, trials, world
from tests.support.campaigns import enroll_all
from tests.support.factories import run
from tests.support.people import ACTOR
from tests.support.sending import SECRET

SECONDS = 3.0
CONTACTS = 30

# Beside the product's own transactions, so without waiting for any row of theirs.
SOON: LiteralString = """
update scheduled_actions a set due_at = now()
from (
  select tenant_id, id from scheduled_actions
  where state = 'pending' and due_at > now() for update skip locked
) later
where a.tenant_id = later.tenant_id and a.id = later.id
"""
# What ended begins again, so that there is always something to do.
DRAFT: LiteralString = """
with draft as (
  insert into campaigns (tenant_id, name, sender_id, plan_version)
  select tenant_id, %(name)s, sender_id, 1 from campaigns where id = %(c)s
  returning tenant_id, id
)
insert into campaign_plans (tenant_id, campaign_id, version, plan, hash)
select d.tenant_id, d.id, 1, p.plan, p.hash from draft d
join campaign_plans p on p.tenant_id = d.tenant_id and p.campaign_id = %(c)s
"""
DEADLOCKS: LiteralString = """
select deadlocks from pg_stat_database where datname = current_database()
"""

pytestmark = pytest.mark.slow


class Crowd:
    """People who do all that they may, over and over, each at their own pace."""

    def __init__(self, here: World, chance: random.Random) -> None:
        self.here = here
        self.chance = chance
        self.acts = 0
        self.names = [str(here.campaign.id)]
        self.slug = ""

    async def run(self, ends_at: float) -> None:
        """Act until then."""
        db, tenant_id = self.here.db, self.here.campaign.tenant_id
        ((self.slug,),) = await run(db, "select slug from tenants where id = %(t)s", t=tenant_id)
        acts: list[Callable[[], Awaitable[object]]] = [
            self.suppress, self.lift, self.lift, self.lift, self.pause, self.resume, self.resume,
            self.pause_tenant, self.pause_all, self.launch, self.launch, self.soon, self.soon,
            self.pause_contact, self.resume_contact, self.stop_contact, self.pause_sender,
        ]  # fmt: skip
        while monotonic() < ends_at:
            with suppress(Conflict, NotFound, Refused):
                await self.chance.choice(acts)()
            self.acts += 1

    async def suppress(self) -> None:
        numbers = self.chance.sample(range(1, CONTACTS + 1), 3)
        values = [f"p{number}-@cust.example" for number in numbers]
        if self.chance.random() < 0.2:
            values.append("@cust.example")
        entries = [SuppressionEntry(v, SuppressionReason.MANUAL, source="test") for v in values]
        await suppressing.add(self.here.db, self.here.campaign.tenant_id, entries, actor=ACTOR)

    async def lift(self) -> None:
        rows = await run(self.here.db, "select value from suppressions where lifted_at is null")
        for (value,) in self.chance.sample(rows, min(len(rows), 8)):
            tenant_id = self.here.campaign.tenant_id
            await suppressing.lift(self.here.db, tenant_id, value, actor=ACTOR)

    async def pause(self) -> None:
        name = self.chance.choice(self.names)
        await campaign_control.pause(self.here.db, self.here.campaign.tenant_id, name, actor=ACTOR)

    async def resume(self) -> None:
        for name in self.names:
            with suppress(Conflict):
                await campaign_control.resume(
                    self.here.db, self.here.campaign.tenant_id, name, actor=ACTOR
                )

    def someone(self) -> str:
        return f"p{self.chance.randint(1, CONTACTS)}-@cust.example"

    async def pause_contact(self) -> None:
        about = (self.here.db, self.here.campaign.tenant_id, self.someone())
        await enrollment_control.pause(*about, reason="a test", actor=ACTOR)

    async def resume_contact(self) -> None:
        await self.resume_contacts(self.someone())

    async def resume_contacts(self, *emails: str) -> None:
        for email in emails:
            with suppress(Conflict):
                await enrollment_control.resume(
                    self.here.db, self.here.campaign.tenant_id, email, actor=ACTOR
                )

    async def stop_contact(self) -> None:
        about = (self.here.db, self.here.campaign.tenant_id, self.someone())
        await enrollment_control.stop(*about, reason="a test", actor=ACTOR)

    async def pause_sender(self) -> None:
        db, tenant_id = self.here.db, self.here.campaign.tenant_id
        ((email,),) = await run(db, "select from_email from sender_identities")
        await senders.pause(db, tenant_id, email, reason="a test", actor=ACTOR)
        await senders.resume(db, tenant_id, email, actor=ACTOR)

    async def pause_tenant(self) -> None:
        await control.pause_tenant(self.here.db, self.slug, reason="a test", actor=ACTOR)
        await control.resume_tenant(self.here.db, self.slug, actor=ACTOR)

    async def pause_all(self) -> None:
        await control.pause_installation(self.here.db, reason="a test", actor=ACTOR)
        await control.resume_installation(self.here.db, actor=ACTOR)

    async def launch(self) -> None:
        name = f"Again {self.chance.getrandbits(32)}"
        db, tenant_id = self.here.db, self.here.campaign.tenant_id
        await run(db, DRAFT, c=self.here.campaign.id, name=name)
        await enroll_all(db, tenant_id, name)
        await launch(db, tenant_id, name, actor=ACTOR)
        self.names.append(name)

    async def soon(self) -> None:
        await run(self.here.db, UNPARK)
        await run(self.here.db, SOON)


async def test_everything_at_once_never_waits_in_a_ring(db: Database, conninfo: str) -> None:
    seed = seed_of_run()
    print(f"OUTREACH_SIM_SEED={seed}")
    chance = random.Random(seed)
    ends_at = monotonic() + SECONDS * trials(1)
    async with world(db, conninfo, count=CONTACTS, latency_ms=1) as here:
        life = Life(conninfo, here.sandbox.url, here.campaign.tenant_id, SECRET, None, 5, 2)

        async def work() -> None:
            while monotonic() < ends_at:
                await live(life)

        crowds = [Crowd(here, random.Random(chance.random())) for _ in range(3)]
        await asyncio.gather(*(work() for _ in range(3)), *(one.run(ends_at) for one in crowds))
        for crowd in crowds:
            await crowd.resume()
            await crowd.resume_contacts(*(f"p{n}-@cust.example" for n in range(1, CONTACTS + 1)))
        assert await here.play() == []
        found = await violations(db, here.sandbox, lost=())
        print(f"acts {sum(one.acts for one in crowds)}, mails {len(here.sandbox.accepted)}")
    assert found == []
    assert await run(db, DEADLOCKS) == [(0,)]
