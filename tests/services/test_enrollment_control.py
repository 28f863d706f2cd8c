"""Pause, resume and stop of one contact's enrollments: at once, told, and without a lost step."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from outreach.core.errors import Conflict, Invalid, NotFound
from outreach.db import Database
from outreach.services import enrollment_control
from outreach.services.apply_events import apply_events
from outreach.services.claim import claim_batch
from outreach.services.compose import Terms
from outreach.services.enrollment_control import pause, resume, stop
from outreach.services.explain import explain
from outreach.services.fire_timers import fire_timers
from tests.support.factories import (
    Enrollment,
    enroll,
    event,
    make_campaign,
    make_message,
    make_sent,
    make_tenant,
    position_of,
    receive,
    run,
)
from tests.support.people import ACTOR
from tests.support.sending import SECRET

TERMS = Terms("http://127.0.0.1:8000", (SECRET,), None)
ACTS = (
    "select act, actor, reason, subject from audit_log where act like 'enrollment%%'"
    " order by created_at"
)
HOLDS = "select scope, reason, detail, ended_at is null from send_holds"
ACTIONS = "select kind::text, state::text, held_by from scheduled_actions order by created_at"


async def armed(db: Database, tenant_id: UUID) -> int:
    """How many mails a claim arms now."""
    claim = await claim_batch(db, tenant_id, size_max=10, terms=TERMS, deadline_seconds=10.0)
    return len(claim.mails)


@pytest.fixture
async def due(db: Database) -> Enrollment:
    """A contact whose first mail is due."""
    return await enroll(db, await make_campaign(db))


async def test_a_paused_contact_is_sent_nothing_and_goes_on_with_what_was_due(
    db: Database, due: Enrollment
) -> None:
    about = (db, due.tenant_id, due.email)
    [paused] = await pause(*about, reason="on leave", actor="mei")
    assert (paused.id, paused.state) == (due.id, "paused")
    detail = {"who": "mei", "reason": "on leave"}
    assert await run(db, HOLDS) == [("enrollment", "enrollment_paused", detail, True)]
    decided = "select verdict, reason, detail from send_decisions"
    assert await run(db, decided) == [("hold", "enrollment_paused", detail)]
    assert await armed(db, due.tenant_id) == 0
    assert await run(db, ACTIONS) == [("send", "pending", "enrollment")]
    [resumed] = await resume(*about, actor="tom", reason="is back")
    assert resumed == replace(paused, state="active")
    assert await run(db, HOLDS) == [("enrollment", "enrollment_paused", detail, False)]
    assert await run(db, ACTIONS) == [("send", "pending", None)]
    wakes = await run(db, "select task_name from procrastinate_jobs order by 1")
    assert wakes == [("fire_timers",), ("send_due",)]
    assert await armed(db, due.tenant_id) == 1
    assert await run(db, ACTS) == [
        ("enrollment_paused", "mei", "on leave", due.email),
        ("enrollment_resumed", "tom", "is back", due.email),
    ]


async def test_a_second_pause_or_resume_changes_nothing(db: Database, due: Enrollment) -> None:
    about = (db, due.tenant_id, due.email)
    assert [e.state for e in await resume(*about, actor=ACTOR)] == ["active"]
    first = await pause(*about, reason="on leave", actor="mei")
    assert await pause(*about, reason="another", actor="tom") == first
    holds = await run(db, "select detail->>'who' from send_holds")
    assert holds == [("mei",)]
    assert len(await run(db, ACTS)) == 1


async def test_events_move_a_paused_contact_and_its_timers_wait(db: Database) -> None:
    enrollment = await enroll(db, await make_campaign(db))
    message = await make_sent(db, enrollment, age=timedelta(hours=73))
    about = (db, enrollment.tenant_id, enrollment.email)
    await pause(*about, reason="on leave", actor=ACTOR)
    assert await fire_timers(db, enrollment.tenant_id) == 1
    assert await position_of(db, enrollment) == ("paused", "intro", None)
    await receive(db, event(message, "delivered"))
    await apply_events(db)
    delivery = await run(db, "select delivery::text from outbound_messages")
    assert delivery == [("delivered",)]
    await resume(*about, actor=ACTOR)
    assert await fire_timers(db, enrollment.tenant_id) == 1
    assert await position_of(db, enrollment) == ("active", "bump", None)


async def test_what_a_paused_contact_did_counts_before_its_timers(db: Database) -> None:
    enrollment = await enroll(db, await make_campaign(db))
    message = await make_sent(db, enrollment, age=timedelta(hours=71))
    about = (db, enrollment.tenant_id, enrollment.email)
    await pause(*about, reason="on leave", actor=ACTOR)
    await receive(db, event(message, "open"))
    await apply_events(db)
    assert await position_of(db, enrollment) == ("paused", "wait_click", None)
    await run(db, "update scheduled_actions set due_at = now() where state = 'pending'")
    assert await fire_timers(db, enrollment.tenant_id) == 1  # parked
    await resume(*about, actor=ACTOR)
    await fire_timers(db, enrollment.tenant_id)
    assert await position_of(db, enrollment) == ("active", "bump", None)


async def test_an_end_in_a_pause_ends_its_hold(db: Database) -> None:
    enrollment = await enroll(db, await make_campaign(db))
    message = await make_sent(db, enrollment)
    await pause(db, enrollment.tenant_id, enrollment.email, reason="on leave", actor=ACTOR)
    await receive(db, event(message, "bounce", type="bounce"))
    await apply_events(db)
    assert (await position_of(db, enrollment))[0] == "stopped"
    assert await run(db, "select ended_at is null from send_holds") == [(False,)]
    codes = [e.code for e in (await explain(db, enrollment.tenant_id, enrollment.email)).entries]
    assert "enrollment_paused" in codes
    assert "enrollment_resumed" not in codes
    with pytest.raises(Conflict):
        await resume(db, enrollment.tenant_id, enrollment.email, actor=ACTOR)


@pytest.mark.parametrize("is_paused", [False, True])
async def test_a_stop_ends_it_for_good(db: Database, due: Enrollment, is_paused: bool) -> None:
    about = (db, due.tenant_id, due.email)
    if is_paused:
        await pause(*about, reason="on leave", actor=ACTOR)
        await armed(db, due.tenant_id)
    [stopped] = await stop(*about, reason="wrong person", actor="mei")
    assert (stopped.id, stopped.state) == (due.id, "stopped")
    assert await position_of(db, due) == ("stopped", "intro", "stopped_by_person")
    assert await run(db, ACTIONS) == [("send", "canceled", None)]
    assert await armed(db, due.tenant_id) == 0
    assert await run(db, "select count(*) from send_holds where ended_at is null") == [(0,)]
    assert await run(db, "select state::text from campaigns") == [("completed",)]
    assert await stop(*about, reason="again", actor="tom") == [stopped]
    acts = [row for row in await run(db, ACTS) if row[0] == "enrollment_stopped"]
    assert acts == [("enrollment_stopped", "mei", "wrong person", due.email)]
    for act in (pause(*about, reason="r", actor=ACTOR), resume(*about, actor=ACTOR)):
        with pytest.raises(Conflict):
            await act


async def test_a_stop_leaves_a_mail_that_is_with_the_provider(
    db: Database, due: Enrollment
) -> None:
    await make_message(db, due)
    await stop(db, due.tenant_id, due.email, reason="wrong person", actor=ACTOR)
    states = "select m.state::text, a.outcome::text from outbound_messages m, send_attempts a"
    assert await run(db, states) == [("sending", "armed")]


async def test_a_stop_that_breaks_changes_nothing(
    db: Database, due: Enrollment, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ConnectionError("gone")

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(enrollment_control, "complete_campaigns", broken)
        await stop(db, due.tenant_id, due.email, reason="wrong person", actor=ACTOR)
    assert await position_of(db, due) == ("active", "intro", None)
    assert await run(db, ACTS) == []
    assert await armed(db, due.tenant_id) == 1


async def test_of_several_campaigns_one_or_all(db: Database) -> None:
    tenant_id = await make_tenant(db)
    first = await make_campaign(db, tenant_id)
    one = await enroll(db, first, email="ann@cust.example")
    second = await make_campaign(db, tenant_id)
    await run(
        db,
        "insert into enrollments (tenant_id, campaign_id, contact_id, sender_id, plan_version)"
        " values (%(t)s, %(c)s, %(contact)s, %(s)s, 1)",
        t=tenant_id,
        c=second.id,
        contact=one.contact_id,
        s=second.sender_id,
    )
    about = (db, tenant_id, "Ann@Cust.example")
    [paused] = await pause(*about, campaign=str(first.id), reason="r", actor=ACTOR)
    assert paused.id == one.id
    with pytest.raises(Conflict):  # the other is a draft
        await pause(*about, campaign=str(second.id), reason="r", actor=ACTOR)
    with pytest.raises(Conflict):
        await resume(*about, campaign=str(second.id), actor=ACTOR)
    stopped = await stop(*about, reason="r", actor=ACTOR)
    assert [e.state for e in stopped] == ["stopped", "stopped"]
    steps = "select from_node_id, visit from campaign_transitions where code = 'stopped' order by 2"
    assert await run(db, steps) == [(None, 0), ("intro", 1)]


async def test_who_is_not_there_is_said(db: Database, due: Enrollment) -> None:
    tenant_id = due.tenant_id
    await run(db, "insert into contacts (tenant_id, email) select id, 'bob@b.example' from tenants")
    other = await make_tenant(db)
    for where, email, campaign in (
        (tenant_id, "nobody@cust.example", None),
        (tenant_id, "no address", None),
        (tenant_id, "bob@b.example", None),
        (tenant_id, due.email, "Autumn"),
        (other, due.email, None),
    ):
        with pytest.raises(NotFound):
            await pause(db, where, email, campaign=campaign, reason="r", actor=ACTOR)
        with pytest.raises(NotFound):
            await resume(db, where, email, campaign=campaign, actor=ACTOR)
        with pytest.raises(NotFound):
            await stop(db, where, email, campaign=campaign, reason="r", actor=ACTOR)
    for act in (pause, stop):
        with pytest.raises(Invalid):
            await act(db, tenant_id, due.email, reason=" ", actor=ACTOR)
    assert await position_of(db, due) == ("active", "intro", None)


async def test_pauses_and_resumes_at_once_leave_one_state(db: Database, due: Enrollment) -> None:
    about = (db, due.tenant_id, due.email)
    acts = [
        act
        for _ in range(6)
        for act in (pause(*about, reason="r", actor=ACTOR), resume(*about, actor=ACTOR))
    ]
    claims = [armed(db, due.tenant_id) for _ in range(2)]
    results = await asyncio.gather(*acts, *claims, return_exceptions=True)
    assert not [r for r in results if isinstance(r, BaseException)]
    await resume(*about, actor=ACTOR)
    held = "select count(*) from scheduled_actions where held_by is not null"
    assert await run(db, held) == [(0,)]
    assert await run(db, "select count(*) from send_holds where ended_at is null") == [(0,)]


async def test_the_story_tells_who_and_why(db: Database, due: Enrollment) -> None:
    about = (db, due.tenant_id, due.email)

    async def told() -> list[str]:
        return [e.summary for e in (await explain(*about)).entries]

    await pause(*about, reason="on leave", actor="mei")
    paused = f'{due.email} is paused in this campaign by mei: "on leave".'
    assert (await told()).count(paused) == 1
    await run(db, "update scheduled_actions set due_at = now() + interval '1 day'")
    assert (await told()).count(paused) == 1, "also when nothing is due"
    await resume(*about, actor="mei")
    assert f"{due.email} goes on in this campaign." in await told()
    await stop(*about, reason="wrong person", actor="mei")
    assert (await told())[-1] == (
        f"The campaign ended for {due.email}: mei stopped it: wrong person."
    )
