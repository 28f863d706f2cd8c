"""A launch: refused, once, for everybody, in a number of statements that does not grow."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any, LiteralString
from uuid import UUID

import pytest

from outreach.core.errors import Conflict, NotFound, Refused
from outreach.core.states import CampaignState
from outreach.db import Database, Role
from outreach.services.campaign_control import pause, stop
from outreach.services.launch import launch
from tests.support.campaigns import (
    enroll_all,
    new_campaign,
    new_contacts,
    new_sender,
    plan_data,
    statements_counted,
)
from tests.support.people import ACTOR, ask, new_tenant

# A version that came in before validation knew such hours: nobody is ever written to.
NEVER = {
    "send_window": {"start": "08:00", "end": "09:00"},
    "quiet_hours": {"start": "07:00", "end": "10:00"},
}
STORE_VERSION_2: LiteralString = """
with version as (
  insert into campaign_plans (tenant_id, campaign_id, version, plan, hash)
  values (app_tenant(), %(id)s::uuid, 2, %(plan)s::jsonb, '')
  returning tenant_id, campaign_id, version
)
update campaigns c set plan_version = version.version
from version where c.tenant_id = version.tenant_id and c.id = version.campaign_id
"""


@pytest.fixture
async def tenant_id(db: Database) -> UUID:
    """A tenant with a verified sender."""
    tenant_id = await new_tenant(db)
    await new_sender(db, tenant_id)
    return tenant_id


async def test_everybody_enters_the_plan(db: Database, tenant_id: UUID) -> None:
    await new_contacts(db, tenant_id, 3)
    await new_campaign(db, tenant_id)
    await enroll_all(db, tenant_id)
    assert await launch(db, tenant_id, "Spring", actor=ACTOR) is CampaignState.ACTIVE
    entered = """
    select e.state::text, e.current_node_id, e.visits, t.code, t.to_node_id, t.visit,
      a.kind::text, a.node_id, a.visit, a.due_at <= now(), a.sender_id = e.sender_id
    from enrollments e
    join campaign_transitions t on t.enrollment_id = e.id
    join scheduled_actions a on a.enrollment_id = e.id
    """
    one = ("active", "intro", {"intro": 1}, "entered", "intro", 1, "send", "intro", 1, True, True)
    assert await ask(db, tenant_id, entered) == [one] * 3
    jobs = "select task_name, args ->> 'tenant_id' from procrastinate_jobs"
    assert await ask(db, tenant_id, jobs) == [("send_due", str(tenant_id))]
    acts = "select actor, act, subject from audit_log where act = 'campaign_launched'"
    assert await ask(db, tenant_id, acts) == [(ACTOR, "campaign_launched", "Spring")]


async def test_each_zone_has_its_own_first_moment(db: Database, tenant_id: UUID) -> None:
    zones = ("America/New_York", "Asia/Tokyo", "No/Where", None)
    await new_contacts(db, tenant_id, 40, timezones=zones)
    window = {"start": "08:00", "end": "08:05", "zone": "contact"}
    await new_campaign(db, tenant_id, send_window=window)
    await enroll_all(db, tenant_id)
    await launch(db, tenant_id, "Spring", actor=ACTOR)
    due = """
    select c.timezone, array_agg(distinct a.due_at), count(*)
    from scheduled_actions a join enrollments e on e.id = a.enrollment_id
    join contacts c on c.id = e.contact_id group by c.timezone
    """
    rows = {zone: (moments, count) for zone, moments, count in await ask(db, tenant_id, due)}
    assert {zone: count for zone, (_, count) in rows.items()} == dict.fromkeys(zones, 10)
    assert all(len(moments) == 1 for moments, _ in rows.values())
    # Who has no zone that exists is written to in the plan's.
    assert rows["No/Where"] == rows[None]
    tokyo, new_york = rows["Asia/Tokyo"][0][0], rows["America/New_York"][0][0]
    assert abs(tokyo - new_york) > timedelta(hours=9)


async def test_a_start_that_waits_sets_its_timer(db: Database, tenant_id: UUID) -> None:
    wait = {
        "id": "wait",
        "channel": "email",
        "action": "wait",
        "transitions": [{"on": "no_open", "to": "intro", "after": "PT1H"}],
    }
    nodes = [wait, *plan_data()["nodes"]]
    await new_contacts(db, tenant_id, 2)
    await new_campaign(db, tenant_id, start_node_id="wait", nodes=nodes)
    await enroll_all(db, tenant_id)
    await launch(db, tenant_id, "Spring", actor=ACTOR)
    timers = """
    select a.kind::text, a.trigger, a.node_id, a.due_at - e.entered_at
    from scheduled_actions a join enrollments e on e.id = a.enrollment_id
    """
    assert (
        await ask(db, tenant_id, timers) == [("timeout", "no_open", "wait", timedelta(hours=1))] * 2
    )


async def test_a_node_with_its_own_sender_is_sent_by_it(db: Database, tenant_id: UUID) -> None:
    other = await new_sender(db, tenant_id, "bob@acme.example")
    nodes = plan_data()["nodes"]
    nodes[0]["sender_identity_id"] = str(other)
    await new_contacts(db, tenant_id, 1)
    await new_campaign(db, tenant_id, nodes=nodes)
    await enroll_all(db, tenant_id)
    await launch(db, tenant_id, "Spring", actor=ACTOR)
    assert await ask(db, tenant_id, "select sender_id from scheduled_actions") == [(other,)]


async def test_hours_that_never_come_fail_everybody_and_end_the_campaign(
    db: Database, tenant_id: UUID
) -> None:
    await new_contacts(db, tenant_id, 2)
    campaign_id = await new_campaign(db, tenant_id)
    async with db.transaction(Role.APP, tenant_id) as tx:
        stored = {"id": campaign_id, "plan": json.dumps(plan_data(**NEVER))}
        await tx.execute(STORE_VERSION_2, stored)
    await enroll_all(db, tenant_id)
    assert await launch(db, tenant_id, "Spring", actor=ACTOR) is CampaignState.COMPLETED
    ends = "select state::text, end_reason from enrollments"
    assert await ask(db, tenant_id, ends) == [("failed", "no_allowed_moment")] * 2
    steps = "select code, reason, count(*) from campaign_transitions group by 1, 2 order by 1"
    assert await ask(db, tenant_id, steps) == [
        ("entered", None, 2),
        ("failed", "no_allowed_moment", 2),
    ]
    assert await ask(db, tenant_id, "select count(*) from scheduled_actions") == [(0,)]


async def test_it_is_refused_without_a_verified_sender(db: Database) -> None:
    tenant_id = await new_tenant(db)
    await new_sender(db, tenant_id, state="unverified")
    await new_campaign(db, tenant_id)
    with pytest.raises(Refused) as refused:
        await launch(db, tenant_id, "Spring", actor=ACTOR)
    assert refused.value.rule == "sender_unverified"
    assert await ask(db, tenant_id, "select state::text from campaigns") == [("draft",)]


async def test_it_is_refused_without_a_verified_sender_of_a_node(
    db: Database, tenant_id: UUID
) -> None:
    nodes = plan_data()["nodes"]
    nodes[1]["sender_identity_id"] = str(
        await new_sender(db, tenant_id, "bob@acme.example", state="unverified")
    )
    await new_campaign(db, tenant_id, nodes=nodes)
    with pytest.raises(Refused) as refused:
        await launch(db, tenant_id, "Spring", actor=ACTOR)
    assert refused.value.subject == "bob@acme.example"


async def test_it_is_refused_without_a_postal_address(db: Database, tenant_id: UUID) -> None:
    await new_campaign(db, tenant_id)
    async with db.transaction(Role.OPERATOR) as tx:
        await tx.execute("update tenants set postal_address = null")
    with pytest.raises(Refused) as refused:
        await launch(db, tenant_id, "Spring", actor=ACTOR)
    assert refused.value.rule == "postal_address_missing"


async def test_two_launches_at_once_are_one(db: Database, tenant_id: UUID) -> None:
    await new_contacts(db, tenant_id, 500)
    await new_campaign(db, tenant_id)
    await enroll_all(db, tenant_id)
    states = await asyncio.gather(*(launch(db, tenant_id, "Spring", actor=ACTOR) for _ in range(4)))
    assert set(states) == {CampaignState.ACTIVE}
    once = "select count(*), count(distinct enrollment_id) from scheduled_actions"
    assert await ask(db, tenant_id, once) == [(500, 500)]
    launches = "select count(*) from audit_log where act = 'campaign_launched'"
    assert await ask(db, tenant_id, launches) == [(1,)]


async def test_a_launch_during_an_enroll_leaves_nobody_behind(
    db: Database, tenant_id: UUID
) -> None:
    await new_contacts(db, tenant_id, 6_000)
    await new_campaign(db, tenant_id)
    enrolled, state = await asyncio.gather(
        enroll_all(db, tenant_id), launch(db, tenant_id, "Spring", actor=ACTOR)
    )
    assert (enrolled.enrolled, state) == (6_000, CampaignState.ACTIVE)
    counts = """
    select count(*) filter (where e.state = 'active'), count(a.id), count(distinct a.enrollment_id)
    from enrollments e left join scheduled_actions a on a.enrollment_id = e.id
    """
    assert await ask(db, tenant_id, counts) == [(6_000, 6_000, 6_000)]


async def test_a_pause_during_an_enroll_holds_whoever_comes_after(
    db: Database, tenant_id: UUID
) -> None:
    await new_contacts(db, tenant_id, 6_000)
    await new_campaign(db, tenant_id)
    await launch(db, tenant_id, "Spring", actor=ACTOR)
    enrolled, state = await asyncio.gather(
        enroll_all(db, tenant_id), pause(db, tenant_id, "Spring", actor=ACTOR)
    )
    assert (enrolled.enrolled, state) == (6_000, CampaignState.PAUSED)
    held = "select count(*), count(distinct reason), min(reason) from send_decisions"
    assert await ask(db, tenant_id, held) == [(6_000, 1, "campaign_paused")]


async def test_a_pause_during_a_launch_waits_for_it(db: Database, tenant_id: UUID) -> None:
    await new_contacts(db, tenant_id, 500)
    await new_campaign(db, tenant_id)
    await enroll_all(db, tenant_id)
    results = await asyncio.gather(
        launch(db, tenant_id, "Spring", actor=ACTOR),
        pause(db, tenant_id, "Spring", actor=ACTOR),
        return_exceptions=True,
    )
    # Whoever comes first: a draft cannot be paused, and what is launched can.
    assert results[0] is CampaignState.ACTIVE
    assert results[1] is CampaignState.PAUSED or isinstance(results[1], Conflict)
    active = "select count(*) from enrollments where state = 'active'"
    assert await ask(db, tenant_id, active) == [(500,)]


async def test_a_launch_that_breaks_changes_nothing(
    db: Database, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    await new_contacts(db, tenant_id, 2)
    await new_campaign(db, tenant_id)
    await enroll_all(db, tenant_id)

    async def broken(*_: Any, **__: Any) -> None:
        raise ConnectionError("gone")

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr("outreach.store.wakeups.wake", broken)
        await launch(db, tenant_id, "Spring", actor=ACTOR)
    left = "select c.state::text, e.state::text from campaigns c, enrollments e"
    assert await ask(db, tenant_id, left) == [("draft", "draft")] * 2
    assert await ask(db, tenant_id, "select count(*) from scheduled_actions") == [(0,)]
    assert await launch(db, tenant_id, "Spring", actor=ACTOR) is CampaignState.ACTIVE


@pytest.mark.parametrize("act", [pause, stop])
async def test_what_is_paused_or_stopped_is_not_launched(
    db: Database, tenant_id: UUID, act: Any
) -> None:
    await new_campaign(db, tenant_id)
    await launch(db, tenant_id, "Spring", actor=ACTOR)
    await act(db, tenant_id, "Spring", actor=ACTOR)
    with pytest.raises(Conflict):
        await launch(db, tenant_id, "Spring", actor=ACTOR)


async def test_another_tenants_campaign_is_not_there(db: Database, tenant_id: UUID) -> None:
    campaign_id = await new_campaign(db, tenant_id)
    other = await new_tenant(db, "other")
    for name in ("Spring", str(campaign_id), "no such"):
        with pytest.raises(NotFound):
            await launch(db, other, name, actor=ACTOR)


async def test_statements_do_not_grow_with_the_audience(
    db: Database, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, int] = {}
    for count in (10, 20_000):
        name = f"Campaign {count}"
        await new_contacts(db, tenant_id, count, prefix=f"n{count}-", timezones=("UTC", None))
        await new_campaign(db, tenant_id, name)
        await enroll_all(db, tenant_id, name)
        with statements_counted(monkeypatch) as statements:
            await launch(db, tenant_id, name, actor=ACTOR)
        seen[count] = len(statements)
    assert seen[10] == seen[20_000]
    active = "select count(*) from enrollments where state = 'active'"
    assert await ask(db, tenant_id, active) == [(20_010,)]
