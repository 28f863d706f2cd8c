"""Pause, resume and stop: at once, once, and without leaving anybody between."""

from __future__ import annotations

import asyncio
from typing import Any, LiteralString
from uuid import UUID

import pytest

from outreach.core.errors import Conflict, Invalid, NotFound
from outreach.core.states import CampaignState
from outreach.db import Database, Role
from outreach.ids import dedupe_key, message_id
from outreach.services import campaign_control, campaigns
from outreach.services.campaign_control import pause, resume, stop
from outreach.services.launch import launch
from tests.support.campaigns import (
    enroll_all,
    new_campaign,
    new_contacts,
    new_sender,
    plan_data,
)
from tests.support.people import ACTOR, ask, new_tenant

PARK: LiteralString = "update scheduled_actions set held_by = 'campaign'"
HELD: LiteralString = (
    "select count(*) filter (where held_by is not null), count(*) from scheduled_actions"
)
# A mail of each enrollment that the provider asked to bring again later.
WAITING_MESSAGE: LiteralString = """
insert into outbound_messages (
  tenant_id, id, enrollment_id, campaign_id, contact_id, sender_id, action_id, node_id, visit,
  dedupe_key, to_address, to_domain, from_address, from_name, subject, body_text, body_html,
  wake_at)
select e.tenant_id, %(id)s::uuid, e.id, e.campaign_id, e.contact_id, e.sender_id, a.id, a.node_id,
  a.visit, %(key)s::text, 'c1@example.com', 'example.com', 'ana@acme.example', 'Ana',
  's', 't', 'h', now()
from enrollments e
join scheduled_actions a on a.tenant_id = e.tenant_id and a.enrollment_id = e.id
where e.id = %(enrollment_id)s::uuid
"""


@pytest.fixture
async def tenant_id(db: Database) -> UUID:
    """A tenant whose campaign Spring runs with three contacts."""
    tenant_id = await new_tenant(db)
    await new_sender(db, tenant_id)
    await new_contacts(db, tenant_id, 3)
    await new_campaign(db, tenant_id)
    await enroll_all(db, tenant_id)
    await launch(db, tenant_id, "Spring", actor=ACTOR)
    return tenant_id


async def test_a_pause_says_who_and_why_in_each_decision(db: Database, tenant_id: UUID) -> None:
    state = await pause(db, tenant_id, "Spring", actor=ACTOR, reason="a typo")
    assert state is CampaignState.PAUSED
    row = "select state::text, paused_by, pause_reason from campaigns"
    assert await ask(db, tenant_id, row) == [("paused", ACTOR, "a typo")]
    decisions = "select verdict, reason, detail from send_decisions"
    detail = {"campaign": "Spring", "who": ACTOR, "reason": "a typo"}
    assert await ask(db, tenant_id, decisions) == [("hold", "campaign_paused", detail)] * 3
    assert await pause(db, tenant_id, "Spring", actor="else", reason="else") is state
    assert await ask(db, tenant_id, row) == [("paused", ACTOR, "a typo")]
    acts = "select actor, reason from audit_log where act = 'campaign_paused'"
    assert await ask(db, tenant_id, acts) == [(ACTOR, "a typo")]


async def test_a_resume_brings_back_what_was_held(db: Database, tenant_id: UUID) -> None:
    await pause(db, tenant_id, "Spring", actor=ACTOR)
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        await tx.execute(PARK)
        await tx.execute("update tenants set parked_until = now() + interval '1 hour'")
    assert await resume(db, tenant_id, "Spring", actor=ACTOR) is CampaignState.ACTIVE
    assert await ask(db, tenant_id, HELD) == [(0, 3)]
    due = "select bool_and(due_at <= now()) from scheduled_actions"
    assert await ask(db, tenant_id, due) == [(True,)]
    assert await ask(db, tenant_id, "select parked_until from tenants") == [(None,)]
    assert await ask(db, tenant_id, "select count(*) from send_decisions") == [(0,)]
    ended = "select reason, ended_at is not null from send_holds"
    assert await ask(db, tenant_id, ended) == [("campaign_paused", True)]
    jobs = "select task_name from procrastinate_jobs order by task_name"
    assert await ask(db, tenant_id, jobs) == [("fire_timers",), ("send_due",)]


async def test_what_is_overdue_does_not_come_back_all_at_once(
    db: Database, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign_control, "RESUME_PACE", 1)
    await pause(db, tenant_id, "Spring", actor=ACTOR)
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        await tx.execute(PARK)
    await resume(db, tenant_id, "Spring", actor=ACTOR)
    spread = """
    select extract(epoch from due_at - min(due_at) over ())::int
    from scheduled_actions order by due_at
    """
    assert await ask(db, tenant_id, spread) == [(0,), (1,), (2,)]


async def test_a_short_pause_leaves_the_queue_as_it_was(db: Database, tenant_id: UUID) -> None:
    due = "select id, due_at from scheduled_actions order by id"
    before = await ask(db, tenant_id, due)
    await pause(db, tenant_id, "Spring", actor=ACTOR)
    await resume(db, tenant_id, "Spring", actor=ACTOR)
    assert await ask(db, tenant_id, due) == before


async def test_what_came_due_in_a_pause_with_nobody_there_comes_back_in_turn(
    db: Database, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign_control, "RESUME_PACE", 1)
    await pause(db, tenant_id, "Spring", actor=ACTOR)
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        await tx.execute("update scheduled_actions set due_at = now()")
    await resume(db, tenant_id, "Spring", actor=ACTOR)
    spread = """
    select extract(epoch from due_at - min(due_at) over ())::int
    from scheduled_actions order by due_at
    """
    assert await ask(db, tenant_id, spread) == [(0,), (1,), (2,)]


async def test_a_resume_takes_up_what_one_before_left_held(db: Database, tenant_id: UUID) -> None:
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        await tx.execute(PARK)
    assert await resume(db, tenant_id, "Spring", actor=ACTOR) is CampaignState.ACTIVE
    assert await ask(db, tenant_id, HELD) == [(0, 3)]


async def test_a_resume_leaves_another_campaigns_held_actions(
    db: Database, tenant_id: UUID
) -> None:
    await new_contacts(db, tenant_id, 1, prefix="autumn")
    await new_campaign(db, tenant_id, "Autumn")
    await enroll_all(db, tenant_id, "Autumn")
    await launch(db, tenant_id, "Autumn", actor=ACTOR)
    await pause(db, tenant_id, "Autumn", actor=ACTOR)
    await pause(db, tenant_id, "Spring", actor=ACTOR)
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        await tx.execute(PARK)
    await resume(db, tenant_id, "Spring", actor=ACTOR)
    assert await ask(db, tenant_id, HELD) == [(1, 4)]


async def test_a_stop_ends_everybody(
    db: Database, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign_control, "STOP_BATCH_ROWS", 2)
    await pause(db, tenant_id, "Spring", actor=ACTOR)
    state = await stop(db, tenant_id, "Spring", actor=ACTOR, reason="enough")
    assert state is CampaignState.STOPPED
    ended = "select state::text, end_reason, current_node_id from enrollments"
    assert await ask(db, tenant_id, ended) == [("stopped", "campaign_ended", "intro")] * 3
    steps = """
    select from_node_id, to_node_id, visit, reason from campaign_transitions where code = 'stopped'
    """
    assert await ask(db, tenant_id, steps) == [("intro", None, 1, "campaign_ended")] * 3
    actions = "select state::text, held_by from scheduled_actions"
    assert await ask(db, tenant_id, actions) == [("canceled", None)] * 3
    assert await ask(db, tenant_id, "select end_reason from campaigns") == [("enough",)]
    assert await ask(db, tenant_id, "select count(*) from send_holds where ended_at is null") == [
        (0,)
    ]
    assert await stop(db, tenant_id, "Spring", actor=ACTOR) is CampaignState.STOPPED
    acts = "select count(*) from audit_log where act = 'campaign_stopped'"
    assert await ask(db, tenant_id, acts) == [(1,)]


async def test_a_stop_that_was_cut_short_goes_on(
    db: Database, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise ConnectionError("gone")

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(campaign_control, "cancel_actions", broken)
        await stop(db, tenant_id, "Spring", actor=ACTOR)
    assert await ask(db, tenant_id, "select state::text from campaigns") == [("stopped",)]
    live = "select count(*) from enrollments where state = 'active'"
    assert await ask(db, tenant_id, live) == [(3,)]
    await stop(db, tenant_id, "Spring", actor=ACTOR)
    assert await ask(db, tenant_id, live) == [(0,)]


async def test_a_mail_that_waited_for_another_try_has_none(db: Database, tenant_id: UUID) -> None:
    ((enrollment_id,),) = await ask(db, tenant_id, "select id from enrollments limit 1")
    key = dedupe_key(enrollment_id, "intro", 1)
    mail = {"id": message_id(tenant_id, key), "key": key, "enrollment_id": enrollment_id}
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        await tx.execute(WAITING_MESSAGE, mail)
        await tx.execute("update outbound_messages set state = 'waiting_retry'")
        await tx.execute(
            "update scheduled_actions set message_id = %(id)s::uuid"
            " where enrollment_id = %(enrollment_id)s::uuid",
            mail,
        )
    await stop(db, tenant_id, "Spring", actor=ACTOR)
    assert await ask(db, tenant_id, "select state::text from outbound_messages") == [("failed",)]
    status = await campaigns.status(db, tenant_id, "Spring")
    assert (status.messages["failed"], status.messages["waiting_retry"]) == (1, 0)


async def test_a_draft_can_be_stopped_and_not_paused(db: Database, tenant_id: UUID) -> None:
    await new_contacts(db, tenant_id, 1, prefix="autumn")
    await new_campaign(db, tenant_id, "Autumn")
    await enroll_all(db, tenant_id, "Autumn")
    for act in (pause, resume):
        with pytest.raises(Conflict):
            await act(db, tenant_id, "Autumn", actor=ACTOR)
    await stop(db, tenant_id, "Autumn", actor=ACTOR)
    steps = "select from_node_id, visit from campaign_transitions where code = 'stopped'"
    assert await ask(db, tenant_id, steps) == [(None, 0)]


async def test_what_is_stopped_stays_so(db: Database, tenant_id: UUID) -> None:
    await stop(db, tenant_id, "Spring", actor=ACTOR)
    for act in (pause, resume):
        with pytest.raises(Conflict):
            await act(db, tenant_id, "Spring", actor=ACTOR)


async def test_pauses_and_resumes_at_once_leave_one_state(db: Database, tenant_id: UUID) -> None:
    acts = [act(db, tenant_id, "Spring", actor=ACTOR) for act in (pause, resume) * 6]
    results = await asyncio.gather(*acts, return_exceptions=True)
    assert not [r for r in results if isinstance(r, BaseException)]
    await resume(db, tenant_id, "Spring", actor=ACTOR)
    assert await ask(db, tenant_id, HELD) == [(0, 3)]
    open_holds = "select count(*) from send_holds where ended_at is null"
    assert await ask(db, tenant_id, open_holds) == [(0,)]


async def test_another_tenant_cannot_touch_or_see_it(db: Database, tenant_id: UUID) -> None:
    other = await new_tenant(db, "other")
    ((campaign_id,),) = await ask(db, tenant_id, "select id from campaigns")
    for name in ("Spring", str(campaign_id)):
        for act in (pause, resume, stop):
            with pytest.raises(NotFound):
                await act(db, other, name, actor=ACTOR)
        with pytest.raises(NotFound):
            await campaigns.status(db, other, name)
    assert await ask(db, tenant_id, "select state::text from campaigns") == [("active",)]


async def test_a_status_has_every_key(db: Database, tenant_id: UUID) -> None:
    status = await campaigns.status(db, tenant_id, "Spring")
    assert (status.state, status.plan_version) == (CampaignState.ACTIVE, 1)
    states = ["total", "draft", "active", "paused", "completed", "stopped", "failed"]
    assert status.enrollments == dict.fromkeys(states, 0) | {"total": 3, "active": 3}
    assert list(status.messages) == [
        *("sending", "waiting_retry", "sent", "failed", "unknown", "abandoned"),
        *("delivered", "bounced", "blocked", "dropped", "complained"),
    ]
    assert not any(status.messages.values())
    assert (status.due, status.pending) == (3, 3)
    assert status.next_due_at is not None


async def test_a_campaign_is_made_once(db: Database, tenant_id: UUID) -> None:
    stored = """
    select plan ->> 'start_node_id', version, generated_by::text, length(hash) from campaign_plans
    """
    assert await ask(db, tenant_id, stored) == [("intro", 1, "manual", 64)]
    with pytest.raises(Conflict):
        await new_campaign(db, tenant_id)
    assert await ask(db, tenant_id, "select count(*) from campaigns") == [(1,)]


async def test_a_plan_that_cannot_run_makes_nothing(db: Database, tenant_id: UUID) -> None:
    with pytest.raises(Invalid) as refused:
        await new_campaign(db, tenant_id, "Autumn", start_node_id="none", timezone="Nowhere")
    assert {problem.path for problem in refused.value.problems} == {
        "$.start_node_id",
        "$.timezone",
    }
    nodes = plan_data()["nodes"]
    nodes[1]["sender_identity_id"] = str(UUID(int=1))
    with pytest.raises(Invalid) as refused:
        await new_campaign(db, tenant_id, "Autumn", nodes=nodes)
    assert [p.path for p in refused.value.problems] == ["$.nodes[1].sender_identity_id"]
    for name in ("", "   ", "x" * 201, "a\x1bb"):
        with pytest.raises(Invalid):
            await new_campaign(db, tenant_id, name)
    assert await ask(db, tenant_id, "select count(*) from campaigns") == [(1,)]


async def test_an_unknown_sender_makes_nothing(db: Database) -> None:
    other = await new_tenant(db, "other")
    with pytest.raises(NotFound):
        await new_campaign(db, other)
