"""Replay: what is stored stays as it is, what was lost comes back, twice is the same as once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from outreach.db import Database
from outreach.services.apply_events import apply_events
from outreach.services.replay import replay
from tests.support.factories import event, position_of, receive, run
from tests.support.stories import drain, sent, state_of, story_of

SINCE = datetime.now(UTC) - timedelta(days=1)
UNTIL = datetime.now(UTC) + timedelta(days=1)


async def test_a_replay_changes_nothing_and_may_be_repeated(db: Database) -> None:
    message = await sent(db)
    for item in story_of(message):
        await receive(db, item, event(None, "open", sg_message_id="Xnobody.0"))
    await receive(db, raw=b"garbage")
    await drain(db)
    before = await state_of(db)
    closed = (
        "select id, state, applied_at, problem, events_count from webhook_deliveries order by id"
    )
    deliveries = await run(db, closed)
    assert await replay(db, SINCE, UNTIL) == 8
    assert await state_of(db) == before
    assert await replay(db, SINCE, UNTIL) == 8
    assert await state_of(db) == before
    assert await run(db, closed) == deliveries


async def test_what_was_lost_comes_back(db: Database) -> None:
    message = await sent(db)
    await receive(db, event(message, "open"), event(message, "unsubscribe"))
    # As if a fault had marked the body applied without applying it.
    await run(
        db, "update webhook_deliveries set state = 'applied', applied_at = now(), events_count = 2"
    )
    assert await apply_events(db) == 0
    assert await replay(db, SINCE, UNTIL) == 1
    assert (await position_of(db, message.enrollment))[0] == "stopped"
    assert len(await run(db, "select 1 from suppressions")) == 1


async def test_what_is_received_but_not_applied_is_applied(db: Database) -> None:
    message = await sent(db)
    await receive(db, event(message, "open"))
    assert await replay(db, SINCE, UNTIL) == 1
    assert await position_of(db, message.enrollment) == ("active", "wait_click", None)
    assert await apply_events(db) == 0


async def test_a_lifted_suppression_stays_lifted(db: Database) -> None:
    message = await sent(db)
    await receive(db, event(message, "unsubscribe"))
    await apply_events(db)
    await run(db, "update suppressions set lifted_at = now(), lifted_by = 'ana'")
    await replay(db, SINCE, UNTIL)
    assert await run(db, "select count(*) from suppressions where lifted_at is null") == [(0,)]


async def test_only_the_period_asked_for_is_replayed(db: Database) -> None:
    message = await sent(db)
    for item in story_of(message)[:3]:
        await receive(db, item)
    assert await replay(db, SINCE, SINCE + timedelta(hours=1)) == 0
    assert await run(db, "select count(*) from message_events") == [(0,)]


async def test_a_replay_of_many_pages_sees_each_body_once(db: Database) -> None:
    message = await sent(db)
    for number in range(25):
        await receive(db, event(message, "deferred", attempt=str(number)))
    # The same moment for all: pages go on by id then.
    await run(db, "update webhook_deliveries set received_at = now()")
    assert await replay(db, SINCE, UNTIL) == 25
    assert await run(db, "select count(*) from message_events") == [(25,)]
