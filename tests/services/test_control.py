"""Pauses of a tenant and of everybody: in force at once, explained, and ended without a flood."""

from __future__ import annotations

from uuid import UUID

import pytest

from outreach.core.errors import Invalid, NotFound
from outreach.db import Database, Role
from outreach.services import control
from outreach.services.tenants import NewTenant, create, list_page
from outreach.store.ledger import pause_provider
from tests.support.people import ACTOR, ask, new_contact, new_tenant

HOLDS = "select scope, reason, detail->>'who', ended_at is null from send_holds order by created_at"
TIMETABLE = "select visit, due_at, held_by from scheduled_actions order by visit"
WAKES = "select task_name from procrastinate_jobs where status = 'todo' order by 1"

ENROLL = """
with sender as (
  insert into sender_identities (tenant_id, from_email, from_name)
  values (%(t)s, 'me@acme.example', 'Me') returning id
), campaign as (
  insert into campaigns (tenant_id, name, sender_id)
  select %(t)s, 'c', id from sender returning id, sender_id
), plan as (
  insert into campaign_plans (tenant_id, campaign_id, version, plan, hash)
  select %(t)s, id, 1, '{}', '' from campaign
), enrollment as (
  insert into enrollments (tenant_id, campaign_id, contact_id, sender_id, plan_version)
  select %(t)s, id, %(c)s, sender_id, 1 from campaign returning id, campaign_id, sender_id
)
insert into scheduled_actions (
  tenant_id, enrollment_id, campaign_id, sender_id, node_id, visit, kind, due_at)
select %(t)s, id, campaign_id, sender_id, 'n', g, 'send',
  now() + make_interval(mins => g - 100)
from enrollment, generate_series(1, 101) g
returning id
"""


async def actions(db: Database, tenant_id: UUID) -> None:
    contact_id = await new_contact(db, tenant_id, "ann@example.com")
    made = await ask(db, tenant_id, ENROLL, t=tenant_id, c=contact_id)
    assert len(made) == 101


async def test_a_paused_tenant_is_held_with_its_reason(db: Database) -> None:
    tenant_id = await new_tenant(db)
    paused = await control.pause_tenant(db, "acme", reason="too many", actor="mei")
    assert (paused.state, paused.paused_by, paused.pause_reason) == ("paused", "mei", "too many")
    again = await control.pause_tenant(db, "acme", reason="another", actor="tom")
    assert again == paused
    assert await ask(db, tenant_id, HOLDS) == [("tenant", "tenant_paused", "mei", True)]
    acts = await ask(
        db, tenant_id, "select act, reason from audit_log where act <> 'tenant_created'"
    )
    assert acts == [("tenant_paused", "too many")]


async def test_a_pause_leaves_the_timetable_and_a_resume_wakes(db: Database) -> None:
    tenant_id = await new_tenant(db)
    await actions(db, tenant_id)
    before = await ask(db, tenant_id, TIMETABLE)
    await control.pause_tenant(db, "acme", reason="too many", actor="mei")
    decisions = "select reason, detail->>'who', count(*) from send_decisions group by 1, 2"
    assert await ask(db, tenant_id, decisions) == [("tenant_paused", "mei", 100)]
    resumed = await control.resume_tenant(db, "acme", actor="mei")
    assert (resumed.state, resumed.paused_at) == ("active", None)
    assert await ask(db, tenant_id, HOLDS) == [("tenant", "tenant_paused", "mei", False)]
    assert await ask(db, tenant_id, decisions) == []
    assert await ask(db, tenant_id, WAKES) == [("fire_timers",), ("send_due",)]
    assert await ask(db, tenant_id, TIMETABLE) == before
    assert await control.resume_tenant(db, "acme", actor="mei") == resumed


async def test_everybodys_pause_reaches_old_tenants_and_new_ones(db: Database) -> None:
    old = await new_tenant(db, "old")
    await actions(db, old)
    assert await control.pause_installation(db, reason="quota", actor="ops") == "paused"
    assert await control.pause_installation(db, reason="quota", actor="ops") == "paused"
    new = await new_tenant(db, "new")
    for tenant_id in (old, new):
        assert await ask(db, tenant_id, HOLDS) == [
            ("installation", "installation_paused", "ops", True)
        ]
    assert await control.resume_installation(db, actor="ops") == "active"
    for tenant_id in (old, new):
        assert await ask(db, tenant_id, HOLDS) == [
            ("installation", "installation_paused", "ops", False)
        ]
    acts = await ask(
        db, None, "select act from audit_log where tenant_id is null order by created_at"
    )
    assert acts == [("installation_paused",), ("installation_resumed",)]


async def test_a_resume_ends_what_the_providers_refusal_of_the_account_began(db: Database) -> None:
    async with db.transaction(Role.WORKER) as tx:
        assert await pause_provider(tx, "401 unauthorized")
    assert await control.resume_installation(db, actor="ops") == "active"
    query = "select provider_paused_at, provider_pause_reason from installation"
    assert await ask(db, None, query) == [(None, None)]
    assert await ask(db, None, "select act from audit_log") == [("installation_resumed",)]


async def test_everybodys_resume_leaves_a_tenants_own_pause(db: Database) -> None:
    tenant_id = await new_tenant(db)
    await actions(db, tenant_id)
    await control.pause_tenant(db, "acme", reason="too many", actor="mei")
    await control.pause_installation(db, reason="quota", actor="ops")
    await control.resume_installation(db, actor="ops")
    [tenant] = await list_page(db)
    assert tenant.state == "paused"
    in_force = "select scope, reason from send_holds where ended_at is null"
    assert await ask(db, tenant_id, in_force) == [("tenant", "tenant_paused")]


async def test_a_pause_without_a_reason_or_a_tenant_is_refused(db: Database) -> None:
    await new_tenant(db)
    with pytest.raises(Invalid):
        await control.pause_tenant(db, "acme", reason="  ", actor=ACTOR)
    with pytest.raises(Invalid):
        await control.pause_installation(db, reason="", actor=ACTOR)
    with pytest.raises(NotFound):
        await control.pause_tenant(db, "nobody", reason="r", actor=ACTOR)
    with pytest.raises(NotFound):
        await control.resume_tenant(db, "nobody", actor=ACTOR)
    [tenant] = await list_page(db)
    assert tenant.state == "active"


async def test_a_tenant_is_made_once(db: Database) -> None:
    first = await create(db, NewTenant("acme", "Acme", timezone="Europe/Berlin"), actor=ACTOR)
    second = await create(db, NewTenant("acme", "Other"), actor=ACTOR)
    assert second == first
    assert (first.name, first.timezone, first.state) == ("Acme", "Europe/Berlin", "active")
    assert await ask(db, None, "select count(*) from audit_log") == [(1,)]


@pytest.mark.parametrize(
    ("new", "paths"),
    [
        (NewTenant("Acme!", "Acme"), ["$.slug"]),
        (NewTenant("a" * 31, "Acme"), ["$.slug"]),
        (NewTenant("acme-", ""), ["$.slug", "$.name"]),
        (NewTenant("acme", "A\nB", timezone="Mars/Olympus"), ["$.name", "$.timezone"]),
        (NewTenant("acme", "Acme", postal_address=" "), ["$.postal_address"]),
        (NewTenant("acme", "Acme", postal_address="1 Main St\x00"), ["$.postal_address"]),
    ],
)
async def test_every_problem_of_a_tenant_is_named(
    db: Database, new: NewTenant, paths: list[str]
) -> None:
    with pytest.raises(Invalid) as refused:
        await create(db, new, actor=ACTOR)
    assert [problem.path for problem in refused.value.problems] == paths
    assert await list_page(db) == []
