"""The applier: what an event does, whose it is taken for, and what it proves."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outreach.db import Database
from outreach.services.apply_events import apply_events
from outreach.services.unsubscribe import unsubscribe
from tests.support.factories import (
    PLAN,
    enroll,
    event,
    make_campaign,
    make_message,
    position_of,
    receive,
    run,
)
from tests.support.stories import (
    delivery_of,
    drain,
    sent,
    state_of,
    stored,
    suppressed,
)

NOW = datetime.now(UTC)


# What an event does


async def test_an_open_moves_the_plan_and_a_repeat_changes_nothing(db: Database) -> None:
    message = await sent(db)
    opened = event(message, "open")
    await receive(db, opened)
    assert await apply_events(db) == 1
    assert await position_of(db, message.enrollment) == ("active", "wait_click", None)
    before = await state_of(db)
    await receive(db, opened, opened)
    await receive(db, opened)
    assert await drain(db) == 2
    assert await state_of(db) == before
    assert await stored(db, message) == [("opened", False)]
    assert await apply_events(db) == 0


async def test_an_applied_body_says_so(db: Database) -> None:
    message = await sent(db)
    delivery_id = await receive(db, event(message, "processed"), event(message, "delivered"))
    await apply_events(db)
    query = (
        "select state::text, events_count, problem, applied_at is not null"
        " from webhook_deliveries where id = %(id)s"
    )
    assert await run(db, query, id=delivery_id) == [("applied", 2, None, True)]


@pytest.mark.parametrize(
    ("name", "fields", "delivery", "reason", "end"),
    [
        ("bounce", {"type": "bounce"}, "bounced", "bounce", ("stopped", "intro")),
        ("spamreport", {}, "complained", "complaint", ("stopped", "intro")),
        ("unsubscribe", {}, "none", "unsubscribe", ("stopped", "intro")),
        ("group_unsubscribe", {}, "none", "unsubscribe", ("stopped", "intro")),
        ("dropped", {"reason": "Invalid"}, "dropped", "invalid", ("failed", "intro")),
        ("dropped", {"reason": "Bounced Address"}, "dropped", None, ("stopped", "intro")),
        ("dropped", {"reason": "Spam Content"}, "dropped", None, ("failed", "intro")),
        ("bounce", {"type": "blocked"}, "blocked", None, ("active", "intro")),
        ("deferred", {}, "deferred", None, ("active", "intro")),
        ("delivered", {}, "delivered", None, ("active", "intro")),
        ("group_resubscribe", {}, "none", None, ("active", "intro")),
        ("processed", {}, "none", None, ("active", "intro")),
    ],
)
async def test_an_event_raises_suppresses_and_ends_as_the_tables_say(
    db: Database,
    name: str,
    fields: dict[str, Any],
    delivery: str,
    reason: str | None,
    end: tuple[str, str],
) -> None:
    message = await sent(db)
    await receive(db, event(message, name, **fields))
    await apply_events(db)
    assert await delivery_of(db, message) == delivery
    email = message.enrollment.email
    assert await suppressed(db, message) == ([(email, reason, reason)] if reason else [])
    assert (await position_of(db, message.enrollment))[:2] == end


async def test_delivery_only_rises(db: Database) -> None:
    message = await sent(db)
    for name in ("delivered", "deferred", "processed"):
        await receive(db, event(message, name))
        await apply_events(db)
    assert await delivery_of(db, message) == "delivered"


async def test_an_ended_enrollment_stays_and_its_address_is_suppressed(db: Database) -> None:
    message = await sent(db)
    await receive(db, event(message, "bounce", type="bounce"))
    await apply_events(db)
    before = await position_of(db, message.enrollment)
    await receive(db, event(message, "open"), event(message, "unsubscribe"))
    await apply_events(db)
    assert await position_of(db, message.enrollment) == before
    reasons = [reason for _, reason, _ in await suppressed(db, message)]
    assert reasons == ["unsubscribe", "bounce"]
    assert len(await stored(db, message)) == 3


async def test_an_erased_persons_event_is_kept_and_suppresses_nobody(db: Database) -> None:
    message = await sent(db)
    await run(db, "update outbound_messages set to_address = '' where id = %(m)s", m=message.id)
    await receive(db, event(message, "unsubscribe"))
    await apply_events(db)
    assert await stored(db, message) == [("unsubscribed", False)]
    assert await suppressed(db, message) == []


async def test_our_own_link_ends_a_plan_like_the_providers_word(db: Database) -> None:
    message = await sent(db)
    for _ in range(2):
        await unsubscribe(db, message.tenant_id, message.id)
        await drain(db)
    assert (await position_of(db, message.enrollment))[0] == "stopped"
    rows = await run(db, "select provider, event_type::text from message_events")
    assert rows == [("outreach", "unsubscribed")]
    assert [reason for _, reason, _ in await suppressed(db, message)] == ["unsubscribe"]


async def test_what_is_due_at_once_wakes_the_senders(db: Database) -> None:
    intro = {**PLAN["nodes"][0], "transitions": [{"on": "opened", "to": "bump"}]}
    plan = {**PLAN, "nodes": [intro, PLAN["nodes"][2]]}
    message = await sent(db, plan)
    await receive(db, event(message, "open"))
    await apply_events(db)
    locks = await run(db, "select queueing_lock from procrastinate_jobs where status = 'todo'")
    assert (f"send_due:{message.tenant_id}",) in locks


# Machines


async def test_a_machines_open_is_recorded_and_moves_nothing(db: Database) -> None:
    message = await sent(db)
    await receive(db, event(message, "open", sg_machine_open=True))
    await apply_events(db)
    assert await stored(db, message) == [("opened", True)]
    assert await position_of(db, message.enrollment) == ("active", "intro", None)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_clicks_of_a_scanner_are_marked_in_whatever_order_they_come(
    db: Database, order: tuple[int, ...]
) -> None:
    message = await sent(db)
    story = [
        event(message, "delivered", at=NOW - timedelta(seconds=60)),
        event(message, "click", at=NOW - timedelta(seconds=59), url="https://a.example/1"),
        event(message, "click", at=NOW, url="https://a.example/1"),
    ]
    for place in order:
        await receive(db, story[place])
        await apply_events(db)
    assert await stored(db, message) == [
        ("delivered", False),
        ("clicked", True),
        ("clicked", False),
    ]


async def test_many_links_within_a_second_are_a_scanners(db: Database) -> None:
    message = await sent(db)
    clicks = [event(message, "click", at=NOW, url=f"https://a.example/{n}") for n in range(3)]
    await receive(db, *clicks)
    await apply_events(db)
    assert await stored(db, message) == [("clicked", True)] * 3
    assert await position_of(db, message.enrollment) == ("active", "intro", None)


async def test_a_quick_click_after_a_persons_open_is_a_persons(db: Database) -> None:
    message = await sent(db)
    at = NOW - timedelta(seconds=10)
    await receive(
        db,
        event(message, "click", at=at, url="https://a.example/"),
        event(message, "delivered", at=at),
    )
    await apply_events(db)
    assert ("clicked", True) in await stored(db, message)
    assert await position_of(db, message.enrollment) == ("active", "intro", None)
    await receive(db, event(message, "open", at=at))
    await apply_events(db)
    assert ("clicked", False) in await stored(db, message)
    assert (await position_of(db, message.enrollment))[:2] == ("stopped", "wait_click")


# Acceptance


@pytest.mark.parametrize("outcome", ["armed", "unknown"])
async def test_an_event_proves_that_its_attempt_was_accepted(db: Database, outcome: str) -> None:
    enrollment = await enroll(db, await make_campaign(db))
    message = await make_message(db, enrollment, outcome=outcome, age=timedelta(minutes=5))
    await receive(
        db,
        event(message, "open"),
        event(message, "delivered", **{"smtp-id": "<Xproof@geopod>"}),
    )
    await apply_events(db)
    rows = await run(
        db,
        "select m.state::text, a.outcome::text, a.settled_by from outbound_messages m"
        " join send_attempts a on a.message_id = m.id where m.id = %(m)s",
        m=message.id,
    )
    assert rows == [("sent", "accepted", "event")]
    assert await position_of(db, enrollment) == ("active", "wait_click", None)


KINDS = (
    *("processed", "deferred", "delivered", "bounce", "blocked", "dropped", "open", "click"),
    *("spamreport", "unsubscribe", "group_unsubscribe", "group_resubscribe"),
)


@pytest.mark.parametrize("outcome", ["armed", "unknown"])
@pytest.mark.parametrize("kind", KINDS)
async def test_an_event_of_any_kind_proves_that_the_provider_had_accepted_it(
    db: Database, kind: str, outcome: str
) -> None:
    enrollment = await enroll(db, await make_campaign(db))
    message = await make_message(db, enrollment, outcome=outcome, age=timedelta(minutes=5))
    await receive(db, event(message, kind))
    await apply_events(db)
    rows = await run(
        db,
        "select m.state::text, a.outcome::text, a.settled_by from outbound_messages m"
        " join send_attempts a on a.message_id = m.id where m.id = %(m)s",
        m=message.id,
    )
    assert rows == [("sent", "accepted", "event")]


async def test_evidence_against_what_is_recorded_is_an_alarm_and_wins(db: Database) -> None:
    enrollment = await enroll(db, await make_campaign(db))
    message = await make_message(db, enrollment, outcome="rejected")
    await receive(db, event(message, "delivered"))
    await receive(db, event(message, "processed"), event(message, "open", outreach_attempt="7"))
    await drain(db)
    rows = await run(db, "select code, subject from incidents order by code")
    assert rows == [
        ("accepted_without_attempt", f"{message.id}:7"),
        ("contradiction", f"{message.id}:1"),
    ]
    assert await delivery_of(db, message) == "delivered"
    query = "select outcome::text from send_attempts where message_id = %(m)s"
    assert await run(db, query, m=message.id) == [("accepted",)]
