"""Timers: one that is due moves its enrollment, unless an event or a pause says otherwise."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import pytest

from outreach.db import Database, Role
from outreach.services.apply_events import apply_events
from outreach.services.fire_timers import fire_timers
from outreach.services.standing import lock_standings
from tests.support.factories import (
    PLAN,
    Message,
    enroll,
    event,
    make_campaign,
    make_sent,
    position_of,
    receive,
    run,
)
from tests.support.statements import counted_statements
from tests.support.stories import sent

NOW = datetime.now(UTC)
DUE = timedelta(hours=73)  # the plan's no_open is at 72

RESUMES: dict[str, LiteralString] = {
    "campaign": "update campaigns set state = 'active', paused_at = null",
    "enrollment": "update enrollments set state = 'active', paused_at = null",
}
PAUSES: dict[str, LiteralString] = {
    "campaign": "update campaigns set state = 'paused', paused_at = now()",
    "enrollment": "update enrollments set state = 'paused', paused_at = now()",
    "tenant": "update tenants set state = 'paused', paused_at = now()",
    "installation": "update installation set state = 'paused', paused_at = now()",
}


async def unopened(db: Database, age: timedelta = DUE) -> Message:
    """A message that was accepted so long ago, of which nothing was heard."""
    return await make_sent(db, await enroll(db, await make_campaign(db)), age=age)


async def timers(db: Database, message: Message) -> list[tuple[Any, ...]]:
    return await run(
        db,
        "select trigger, state::text, held_by from scheduled_actions"
        " where enrollment_id = %(e)s and kind = 'timeout' order by created_at, due_at",
        e=message.enrollment.id,
    )


async def test_a_due_timer_moves_and_leaves_its_event(db: Database) -> None:
    message = await unopened(db)
    assert await fire_timers(db, message.tenant_id) == 1
    assert await position_of(db, message.enrollment) == ("active", "bump", None)
    assert await timers(db, message) == [("no_open", "done", None)]
    events = await run(
        db,
        "select provider, event_type::text, is_machine, provider_event_id from message_events"
        " where outbound_message_id = %(m)s",
        m=message.id,
    )
    steps = await run(
        db,
        "select code, trigger, from_node_id, to_node_id, provider_event_id"
        " from campaign_transitions where enrollment_id = %(e)s and code = 'timer'",
        e=message.enrollment.id,
    )
    assert events == [("outreach", "no_open", False, steps[0][-1])]
    assert [step[:-1] for step in steps] == [("timer", "no_open", "intro", "bump")]
    sends = await run(
        db,
        "select node_id, state::text from scheduled_actions where enrollment_id = %(e)s"
        " and kind = 'send' and state = 'pending'",
        e=message.enrollment.id,
    )
    assert sends == [("bump", "pending")]
    locks = await run(db, "select queueing_lock from procrastinate_jobs")
    assert (f"send_due:{message.tenant_id}",) in locks
    assert await fire_timers(db, message.tenant_id) == 0


async def test_a_timer_before_its_moment_does_nothing(db: Database) -> None:
    message = await unopened(db, timedelta(hours=71))
    assert await fire_timers(db, message.tenant_id) == 0
    assert await position_of(db, message.enrollment) == ("active", "intro", None)


async def test_an_event_in_time_forbids_the_timer(db: Database) -> None:
    message = await unopened(db)
    # Stored, and nobody has acted on it: what a timer must look for itself.
    await run(
        db,
        "insert into message_events (tenant_id, provider, provider_event_id, outbound_message_id,"
        " enrollment_id, event_type, event_at) values (%(t)s, 'sendgrid', 'open', %(m)s, %(e)s,"
        " 'opened', now() - interval '2 hours')",
        t=message.tenant_id,
        m=message.id,
        e=message.enrollment.id,
    )
    assert await fire_timers(db, message.tenant_id) == 1
    # It waits on for a bounce, which its node names.
    assert await position_of(db, message.enrollment) == ("active", "intro", None)
    assert await timers(db, message) == [
        ("no_open", "done", None),
        ("idle", "pending", None),
    ]
    codes = await run(
        db,
        "select code from campaign_transitions where enrollment_id = %(e)s order by id",
        e=message.enrollment.id,
    )
    assert ("timer_found_event",) in codes


async def test_timers_that_come_to_nothing_together_leave_one_patience(db: Database) -> None:
    intro = PLAN["nodes"][0] | {
        "transitions": [
            {"on": "no_open", "to": "bump", "after": "PT1H"},
            {"on": "no_click", "to": "bump", "after": "PT1H"},
            {"on": "bounced", "to": "stop"},
        ]
    }
    plan = {**PLAN, "nodes": [intro, PLAN["nodes"][2]]}
    message = await sent(db, plan, age=timedelta(hours=2))
    await receive(db, event(message, "click", at=NOW - timedelta(minutes=90)))
    await apply_events(db)
    while await fire_timers(db, message.tenant_id):
        pass
    assert await position_of(db, message.enrollment) == ("active", "intro", None)
    pending = [trigger for trigger, state, _ in await timers(db, message) if state == "pending"]
    assert pending == ["idle"]


async def test_a_machines_open_forbids_nothing(db: Database) -> None:
    message = await unopened(db)
    at = NOW - timedelta(hours=70)
    await receive(db, event(message, "open", at=at, sg_machine_open=True))
    await apply_events(db)
    await fire_timers(db, message.tenant_id)
    assert await position_of(db, message.enrollment) == ("active", "bump", None)


@pytest.mark.parametrize("scope", ["campaign", "enrollment"])
async def test_a_pause_parks_the_timer_and_it_fires_after_the_resume(
    db: Database, scope: str
) -> None:
    message = await unopened(db)
    await run(db, PAUSES[scope])
    assert await fire_timers(db, message.tenant_id) == 1
    assert await timers(db, message) == [("no_open", "pending", scope)]
    assert await fire_timers(db, message.tenant_id) == 0
    await run(db, RESUMES[scope])
    await run(db, "update scheduled_actions set held_by = null")
    assert await fire_timers(db, message.tenant_id) == 1
    assert await position_of(db, message.enrollment) == ("active", "bump", None)


@pytest.mark.parametrize("scope", ["tenant", "installation"])
async def test_no_timer_fires_while_everything_is_paused(db: Database, scope: str) -> None:
    message = await unopened(db)
    await run(db, PAUSES[scope])
    assert await fire_timers(db, message.tenant_id) == 0
    assert await timers(db, message) == [("no_open", "pending", None)]


async def test_a_campaign_being_resumed_is_not_parked_for_ever(db: Database) -> None:
    message = await unopened(db)
    await run(db, PAUSES["campaign"])
    async with db.connection() as connection, connection.transaction():
        await connection.execute(RESUMES["campaign"])
        assert await fire_timers(db, message.tenant_id) == 0
    assert await timers(db, message) == [("no_open", "pending", None)]
    assert await fire_timers(db, message.tenant_id) == 1


async def test_an_enrollment_that_another_moves_is_left_for_the_next_round(db: Database) -> None:
    message = await unopened(db)
    async with db.transaction(Role.WORKER, message.tenant_id) as tx:
        await lock_standings(tx, message.tenant_id, [message.enrollment.id])
        assert await fire_timers(db, message.tenant_id) == 0
    assert await fire_timers(db, message.tenant_id) == 1


async def test_a_timer_of_an_ended_enrollment_is_canceled(db: Database) -> None:
    message = await unopened(db)
    await run(db, "update enrollments set state = 'stopped', ended_at = now(), end_reason = 'test'")
    assert await fire_timers(db, message.tenant_id) == 1
    assert await timers(db, message) == [("no_open", "canceled", None)]
    assert await position_of(db, message.enrollment) == ("stopped", "intro", "test")


async def test_patience_ends_an_enrollment_that_waits_for_nothing_but_events(db: Database) -> None:
    message = await unopened(db, timedelta(hours=1))
    await run(
        db,
        "update scheduled_actions set trigger = 'idle', due_at = now() where kind = 'timeout'",
    )
    await run(
        db,
        "update enrollments set accepted_at = now() - interval '31 days'",
    )
    assert await fire_timers(db, message.tenant_id) == 1
    assert await position_of(db, message.enrollment) == ("completed", "intro", "idle")
    assert await run(db, "select state::text from campaigns") == [("completed",)]
    assert await run(db, "select count(*) from message_events") == [(0,)]


async def test_workers_beside_each_other_fire_each_timer_once(db: Database) -> None:
    campaign = await make_campaign(db)
    messages = [await make_sent(db, await enroll(db, campaign), age=DUE) for _ in range(12)]
    tenant_id = campaign.tenant_id
    for _ in range(4):
        await asyncio.gather(*[fire_timers(db, tenant_id, batch=5) for _ in range(4)])
    while await fire_timers(db, tenant_id):
        pass
    for message in messages:
        assert await position_of(db, message.enrollment) == ("active", "bump", None)
    assert await run(db, "select count(*) from message_events") == [(12,)]


async def test_a_timer_and_its_event_at_once_agree_in_the_end(db: Database) -> None:
    campaign = await make_campaign(db)
    messages = [await make_sent(db, await enroll(db, campaign), age=DUE) for _ in range(8)]
    for message in messages:
        await receive(db, event(message, "open", at=NOW - timedelta(hours=70)))
    await asyncio.gather(
        fire_timers(db, campaign.tenant_id),
        apply_events(db, deliveries_max=3),
        fire_timers(db, campaign.tenant_id),
        apply_events(db, deliveries_max=8),
    )
    while await apply_events(db):
        pass
    for message in messages:
        assert await position_of(db, message.enrollment) == ("active", "wait_click", None)


async def test_the_number_of_statements_does_not_grow(db: Database) -> None:
    campaign = await make_campaign(db)
    counts = []
    for size in (1, 20):
        for _ in range(size):
            await make_sent(db, await enroll(db, campaign), age=DUE)
        with counted_statements() as seen:
            assert await fire_timers(db, campaign.tenant_id) == size
        counts.append(len(seen))
    assert counts[0] == counts[1]
