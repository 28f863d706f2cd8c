"""Timers wait for what was received before them, and for nothing that comes in later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from outreach.db import Database
from outreach.services.apply_events import apply_events
from outreach.services.fire_timers import fire_timers
from tests.support.factories import (
    Message,
    enroll,
    event,
    make_campaign,
    make_sent,
    position_of,
    receive,
    run,
)


async def with_a_timer_due(db: Database) -> Message:
    """A message whose `no_open`, 72 hours after it was accepted, came due an hour ago."""
    campaign = await make_campaign(db)
    return await make_sent(db, await enroll(db, campaign), age=timedelta(hours=73))


async def received_ago(db: Database, ago: timedelta) -> None:
    await run(db, "update webhook_deliveries set received_at = now() - %(ago)s", ago=ago)


@pytest.mark.parametrize("kind", ["open", "bounce", "unsubscribe"])
async def test_what_people_did_while_no_worker_ran_comes_first(db: Database, kind: str) -> None:
    message = await with_a_timer_due(db)
    at = datetime.now(UTC) - timedelta(minutes=90)
    await receive(db, event(message, kind, at=at, type="bounce"))
    await received_ago(db, timedelta(minutes=90))
    assert await fire_timers(db, message.tenant_id) == 0
    await apply_events(db)
    await fire_timers(db, message.tenant_id)
    _, node, _ = await position_of(db, message.enrollment)
    assert node != "bump"


async def test_an_unsubscribe_after_the_moment_comes_first_too(db: Database) -> None:
    message = await with_a_timer_due(db)
    at = datetime.now(UTC) - timedelta(minutes=5)
    await receive(db, event(message, "unsubscribe", at=at))
    await received_ago(db, timedelta(minutes=5))
    assert await fire_timers(db, message.tenant_id) == 0


async def test_what_only_just_came_in_holds_no_earlier_timer_back(db: Database) -> None:
    message = await with_a_timer_due(db)
    other = await make_sent(db, await enroll(db, await make_campaign(db)))
    await receive(db, event(other, "delivered"))
    assert await fire_timers(db, message.tenant_id) == 1
