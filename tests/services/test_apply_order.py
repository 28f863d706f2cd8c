"""The applier: each event once, in any order, through crashes and beside others."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from outreach.core.outcome import Accepted
from outreach.db import Database, Role, set_actor
from outreach.services.apply_events import apply_deliveries, apply_events
from outreach.services.fire_timers import fire_timers
from outreach.services.outcomes import Result, record_outcomes
from outreach.services.standing import lock_standings
from outreach.store.deliveries import claim_deliveries
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
from tests.support.stories import (
    delivery_of,
    drain,
    sent,
    state_of,
    stored,
    story_of,
    until_somebody_waits,
)

NOW = datetime.now(UTC)


async def test_late_evidence_takes_a_timers_step_back(db: Database) -> None:
    message = await sent(db, age=timedelta(hours=73))
    assert await fire_timers(db, message.tenant_id) == 1
    assert await position_of(db, message.enrollment) == ("active", "bump", None)
    await receive(db, event(message, "open", at=NOW - timedelta(hours=70)))
    await apply_events(db)
    assert await position_of(db, message.enrollment) == ("active", "wait_click", None)
    pending = await run(
        db,
        "select node_id, trigger from scheduled_actions"
        " where enrollment_id = %(e)s and state = 'pending'",
        e=message.enrollment.id,
    )
    assert pending == [("wait_click", "no_click")]


async def test_late_evidence_comes_too_late_for_a_claimed_send(db: Database) -> None:
    message = await sent(db, age=timedelta(hours=73))
    await fire_timers(db, message.tenant_id)
    await make_message(db, message.enrollment)
    await receive(db, event(message, "open", at=NOW - timedelta(hours=70)))
    await apply_events(db)
    assert await position_of(db, message.enrollment) == ("active", "bump", None)


async def _reset(db: Database, enrollment: Enrollment) -> None:
    """Forget every event: what is left is what the message's acceptance left."""
    await run(
        db,
        "delete from message_events; delete from message_event_keys; delete from suppressions;"
        " delete from campaign_transitions; delete from webhook_deliveries;"
        " delete from scheduled_actions where kind = 'timeout';"
        " update contacts set suppressed_at = null, suppressed_reason = null;"
        " update outbound_messages set delivery = 'none';"
        " update campaigns set state = 'active', ended_at = null, end_reason = null;"
        " update enrollments set state = 'active', current_node_id = 'intro', ended_at = null,"
        "  end_reason = null, visits = '{\"intro\": 1}', came_by = null, previous = null",
    )


async def test_any_order_and_any_split_ends_alike(db: Database) -> None:
    message = await sent(db)
    story = story_of(message)
    shuffler = random.Random(7)
    seen = set()
    for _ in range(12):
        await _reset(db, message.enrollment)
        order = shuffler.sample(story, len(story))
        while order:
            size = shuffler.randint(1, 3)
            await receive(db, *order[:size])
            order = order[size:]
        await apply_events(db, deliveries_max=shuffler.choice([1, 10]))
        await drain(db)
        rows = json.loads(await state_of(db))
        seen.add(json.dumps([*rows[:2], *rows[3:4], rows[6]]))
        assert (await position_of(db, message.enrollment))[0] == "stopped"
    assert len(seen) == 1


async def test_a_crash_anywhere_loses_nothing_and_repeats_nothing(db: Database) -> None:
    message = await sent(db)
    await receive(db, *story_of(message))
    before = await state_of(db)
    with pytest.raises(ZeroDivisionError):
        async with db.transaction(Role.WORKER) as tx:
            await apply_deliveries(tx, await claim_deliveries(tx, rows_max=9, bytes_max=10**9))
            raise ZeroDivisionError
    assert await state_of(db) == before
    assert await drain(db) == 1
    assert len(await stored(db, message)) == 6


async def test_appliers_beside_each_other_apply_each_event_once(db: Database) -> None:
    messages = [await sent(db) for _ in range(3)]
    for _ in range(4):
        for message in messages:
            await receive(db, *story_of(message), event(random.choice(messages), "deferred"))
    await asyncio.gather(*[drain(db) for _ in range(4)])
    await drain(db)
    for message in messages:
        types = [kind for kind, _ in await stored(db, message) if kind != "deferred"]
        assert types == ["processed", "delivered", "opened", "opened", "unsubscribed"]
        assert (await position_of(db, message.enrollment))[0] == "stopped"
    left = await run(db, "select count(*) from webhook_deliveries where state = 'received'")
    assert left == [(0,)]


async def test_an_answer_recorded_at_the_same_moment_as_its_event(db: Database) -> None:
    enrollment = await enroll(db, await make_campaign(db))
    message = await make_message(db, enrollment)
    await receive(db, event(message, "processed"), event(message, "delivered"))
    async with db.transaction(Role.WORKER, message.tenant_id) as tx:
        await lock_standings(tx, message.tenant_id, [enrollment.id])
        applying = asyncio.create_task(apply_events(db))
        await until_somebody_waits(db)
        answer = Result(message.id, 1, Accepted("Xanswer", 202), "answer")
        await record_outcomes(tx, message.tenant_id, [answer])
    assert await applying == 1
    assert await delivery_of(db, message) == "delivered"
    query = "select outcome::text, settled_by from send_attempts"
    assert await run(db, query) == [("accepted", "answer")]
    assert await run(db, "select count(*) from incidents") == [(0,)]


async def test_a_body_that_another_holds_is_left_to_them(db: Database) -> None:
    message = await sent(db)
    await receive(db, event(message, "open"))
    async with db.transaction(Role.WORKER) as tx:
        assert len(await claim_deliveries(tx, rows_max=1, bytes_max=1)) == 1
        assert await apply_events(db) == 0
    assert await apply_events(db) == 1


async def test_the_number_of_statements_does_not_grow_with_the_events(db: Database) -> None:
    campaign = await make_campaign(db)
    counts = []
    for size in (1, 30):
        messages = [await make_sent(db, await enroll(db, campaign)) for _ in range(size)]
        await receive(db, *[e for message in messages for e in story_of(message)[:5]])
        with counted_statements() as seen:
            assert await apply_events(db) == 1
        counts.append(len(seen))
    assert counts[0] == counts[1]


async def test_a_batch_is_bounded_by_bytes_and_takes_at_least_one(db: Database) -> None:
    for _ in range(3):
        await receive(db, event(None, "open", padding="x" * 1_000))
    async with db.transaction(Role.WORKER) as tx:
        await set_actor(tx, Role.WORKER)
        assert len(await claim_deliveries(tx, rows_max=9, bytes_max=1)) == 1
        assert len(await claim_deliveries(tx, rows_max=9, bytes_max=1_500)) == 2
