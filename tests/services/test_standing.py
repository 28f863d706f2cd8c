"""Standings: locked in one order, moved by the set, and a campaign that ends with its last one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from outreach.clock import transaction_now
from outreach.core.plan import Trigger
from outreach.core.states import ActionState, EnrollmentState
from outreach.core.transitions import Event, on_events, on_timer
from outreach.db import Database, Role
from outreach.services.apply_events import apply_events
from outreach.services.standing import histories, lock_standings, write_advances
from tests.support.factories import (
    Enrollment,
    enroll,
    event,
    make_campaign,
    make_message,
    make_sent,
    position_of,
    receive,
    run,
)
from tests.support.statements import counted_statements
from tests.support.stories import sent


async def stop_all(db: Database, enrollments: list[Enrollment]) -> None:
    """End these as replies would, in one transaction."""
    tenant_id = enrollments[0].tenant_id
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        now = await transaction_now(tx)
        standings = await lock_standings(tx, tenant_id, [e.id for e in enrollments])
        items = []
        for standing in standings.values():
            event = Event("reply", Trigger.REPLIED, now)
            advance = on_events(
                standing.plan,
                standing.position,
                [event],
                [],
                standing.zone,
                now,
                can_take_back=False,
            )
            assert advance is not None
            items.append((standing, advance))
        await write_advances(tx, tenant_id, items)


async def test_a_standing_is_what_was_written(db: Database) -> None:
    enrollment = await enroll(db, await make_campaign(db), timezone="Europe/Berlin")
    message = await make_sent(db, enrollment)
    async with db.transaction(Role.WORKER, enrollment.tenant_id) as tx:
        (standing,) = (await lock_standings(tx, enrollment.tenant_id, [enrollment.id])).values()
    assert standing.state is EnrollmentState.ACTIVE
    assert standing.position.node_id == standing.position.message_node_id == "intro"
    assert standing.position.visits == {"intro": 1}
    assert standing.latest_message_id == message.id
    assert standing.step_action_state is ActionState.DONE
    assert standing.plan.node("intro").subject == "A question"


async def test_another_tenants_enrollment_is_not_there(db: Database) -> None:
    enrollment = await enroll(db, await make_campaign(db))
    other = await make_campaign(db)
    async with db.transaction(Role.WORKER, other.tenant_id) as tx:
        assert await lock_standings(tx, other.tenant_id, [enrollment.id]) == {}


async def test_a_step_that_a_timer_took_may_be_taken_back_until_it_is_claimed(db: Database) -> None:
    enrollment = await enroll(db, await make_campaign(db))
    message = await make_sent(db, enrollment, age=timedelta(hours=73))
    tenant_id = enrollment.tenant_id
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        (standing,) = (await lock_standings(tx, tenant_id, [enrollment.id])).values()
        now = await transaction_now(tx)
        advance = on_timer(
            standing.plan, standing.position, "no_open", 1, "intro", [], standing.zone, now
        )
        assert advance is not None
        await write_advances(tx, tenant_id, [(standing, advance)])
        (moved,) = (await lock_standings(tx, tenant_id, [enrollment.id])).values()
    assert moved.position.node_id == "bump"
    assert moved.position.previous == replace(standing.position, previous=None)
    assert moved.latest_message_id == message.id
    assert moved.can_take_back
    await make_message(db, enrollment)
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        (claimed,) = (await lock_standings(tx, tenant_id, [enrollment.id])).values()
    assert claimed.step_action_state is ActionState.CLAIMED
    assert not claimed.can_take_back


async def test_a_paused_enrollment_moves_and_stays_paused(db: Database) -> None:
    enrollment = await enroll(db, await make_campaign(db))
    await make_sent(db, enrollment)
    await run(
        db,
        "update enrollments set state = 'paused', paused_at = now() where id = %(id)s",
        id=enrollment.id,
    )
    async with db.transaction(Role.WORKER, enrollment.tenant_id) as tx:
        (standing,) = (await lock_standings(tx, enrollment.tenant_id, [enrollment.id])).values()
        now = await transaction_now(tx)
        opened = [Event("o1", Trigger.OPENED, now)]
        advance = on_events(
            standing.plan,
            standing.position,
            opened,
            opened,
            standing.zone,
            now,
            can_take_back=False,
        )
        assert advance is not None
        await write_advances(tx, enrollment.tenant_id, [(standing, advance)])
    assert await position_of(db, enrollment) == ("paused", "wait_click", None)


async def test_the_last_end_completes_the_campaign_and_no_other_does(db: Database) -> None:
    campaign = await make_campaign(db)
    enrollments = [await enroll(db, campaign) for _ in range(3)]
    await stop_all(db, enrollments[:2])
    query = "select state::text from campaigns where id = %(id)s"
    assert await run(db, query, id=campaign.id) == [("active",)]
    await stop_all(db, enrollments[2:])
    assert await run(db, query, id=campaign.id) == [("completed",)]
    assert await position_of(db, enrollments[0]) == ("stopped", "intro", "replied")


async def test_two_last_ends_at_once_complete_the_campaign(db: Database) -> None:
    for _ in range(5):
        campaign = await make_campaign(db)
        one, two = [await enroll(db, campaign) for _ in range(2)]
        await asyncio.gather(stop_all(db, [one]), stop_all(db, [two]))
        query = "select state::text from campaigns where id = %(id)s"
        assert await run(db, query, id=campaign.id) == [("completed",)]


async def test_an_end_takes_back_what_is_pending_and_fails_what_waited_for_a_retry(
    db: Database,
) -> None:
    enrollment = await enroll(db, await make_campaign(db))
    message = await make_message(db, enrollment)
    await run(
        db,
        "with attempt as (update send_attempts set outcome = 'not_sent', settled_at = now()"
        "  where message_id = %(m)s),"
        " action as (update scheduled_actions set state = 'pending' where message_id = %(m)s)"
        " update outbound_messages set state = 'waiting_retry' where id = %(m)s",
        m=message.id,
    )
    await stop_all(db, [enrollment])
    rows = await run(
        db,
        "select m.state::text, m.failure_code, m.wake_at, a.state::text from outbound_messages m"
        " join scheduled_actions a on a.message_id = m.id where m.id = %(m)s",
        m=message.id,
    )
    assert rows == [("failed", "enrollment_ended", None, "canceled")]


async def test_the_number_of_statements_does_not_grow(db: Database) -> None:
    counts = []
    for size in (1, 20):
        campaign = await make_campaign(db)
        enrollments = [await enroll(db, campaign) for _ in range(size)]
        with counted_statements() as seen:
            await stop_all(db, enrollments)
        counts.append(len(seen))
    assert counts[0] == counts[1]


async def test_an_ended_enrollment_does_not_move(db: Database) -> None:
    enrollment = await enroll(db, await make_campaign(db))
    async with db.transaction(Role.WORKER, enrollment.tenant_id) as tx:
        (standing,) = (await lock_standings(tx, enrollment.tenant_id, [enrollment.id])).values()
    await stop_all(db, [enrollment])
    with pytest.raises(AssertionError):
        async with db.transaction(Role.WORKER, enrollment.tenant_id) as tx:
            now = await transaction_now(tx)
            reply = Event("r", Trigger.REPLIED, now)
            advance = on_events(
                standing.plan,
                standing.position,
                [reply],
                [],
                standing.zone,
                now,
                can_take_back=False,
            )
            assert advance is not None
            await write_advances(tx, enrollment.tenant_id, [(standing, advance)])


async def test_a_history_speaks_the_plans_words(db: Database) -> None:
    enrollment = await enroll(db, await make_campaign(db))
    message = await make_sent(db, enrollment)
    await run(
        db,
        "insert into message_events (tenant_id, provider, provider_event_id, outbound_message_id,"
        " enrollment_id, event_type, event_at, reason)"
        " select %(t)s, 'sendgrid', e.id, %(m)s, %(e)s, e.type::event_type, now(), e.reason"
        " from (values ('a', 'dropped', 'bounced'), ('b', 'group_unsubscribed', null),"
        "  ('c', 'processed', null), ('d', 'no_open', null)) as e (id, type, reason)",
        t=message.tenant_id,
        m=message.id,
        e=enrollment.id,
    )
    async with db.transaction(Role.WORKER, message.tenant_id) as tx:
        found = (await histories(tx, message.tenant_id, [message.id]))[message.id]
    assert [(e.id, e.type) for e in found] == [
        ("a", Trigger.BOUNCED),
        ("b", Trigger.UNSUBSCRIBED),
    ]


async def test_a_thousand_opens_hide_no_click(db: Database) -> None:
    message = await sent(db)
    at = datetime.now(UTC) - timedelta(minutes=40)
    opens = [event(message, "open", at=at + timedelta(seconds=n)) for n in range(1_000)]
    click = event(message, "click", id="click", at=at + timedelta(minutes=20))
    await receive(db, *opens, click)
    await apply_events(db)
    async with db.transaction(Role.WORKER, message.tenant_id) as tx:
        found = (await histories(tx, message.tenant_id, [message.id]))[message.id]
    assert [e.id for e in found][-1] == "click"
    assert found[-2].at == (at + timedelta(seconds=999)).replace(microsecond=0)
    assert len(found) < 100
