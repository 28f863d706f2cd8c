"""Late evidence of a machine takes back what it led to, so the order of arrival does not matter."""

from __future__ import annotations

import hashlib
import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outreach.db import Database
from outreach.services.apply_events import apply_events
from outreach.services.explain import explain
from outreach.services.fire_timers import fire_timers
from tests.support.factories import (
    Message,
    enroll,
    event,
    make_campaign,
    make_message,
    make_sent,
    position_of,
    receive,
    run,
)
from tests.support.stories import drain, sent

NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=20)
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"

PLAN: dict[str, Any] = {
    "version": "1.0",
    "timezone": "UTC",
    "start_node_id": "intro",
    "nodes": [
        {
            "id": "intro",
            "action": "send",
            "subject": "A question",
            "body": "Hello.",
            "transitions": [
                {"on": "opened", "to": "read", "within": "PT72H"},
                {"on": "no_open", "to": "bump", "after": "PT72H"},
            ],
        },
        {
            "id": "read",
            "action": "wait",
            "transitions": [
                {"on": "clicked", "to": "talk", "within": "PT24H"},
                {"on": "no_click", "to": "bump", "after": "PT24H"},
            ],
        },
        {"id": "bump", "action": "send", "subject": "Once more", "body": "Hello again."},
        {"id": "talk", "action": "send", "subject": "You looked", "body": "Shall we talk?"},
    ],
}


def click(message: Message, link: str, seconds: float) -> dict[str, Any]:
    at = NOW + timedelta(seconds=seconds)
    return event(message, "click", at=at, url=f"https://a.example/{link}")


def opened(message: Message, seconds: float, **fields: object) -> dict[str, Any]:
    return event(message, "open", at=NOW + timedelta(seconds=seconds), **fields)


async def pending(db: Database, message: Message) -> list[tuple[Any, ...]]:
    return await run(
        db,
        "select node_id, kind::text, trigger from scheduled_actions"
        " where enrollment_id = %(e)s and state = 'pending' order by node_id, trigger",
        e=message.enrollment.id,
    )


async def hash_of(db: Database, message: Message) -> str:
    """Of all that events leave, but for numbers of visits, which count every entry."""
    events = await run(
        db,
        "select event_type::text, event_at::text, is_machine, machine_reason, detail ->> 'url'"
        " from message_events where outbound_message_id = %(m)s"
        " order by event_at, event_type, detail ->> 'url'",
        m=message.id,
    )
    state = [await position_of(db, message.enrollment), await pending(db, message), events]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()


def scanned(message: Message) -> list[dict[str, Any]]:
    """A scanner at delivery and again later, and no person."""
    return [
        event(message, "delivered", at=NOW),
        opened(message, 1, useragent=GMAIL),
        click(message, "1", -3),
        click(message, "2", 100),
        click(message, "3", 101),
        opened(message, 101),
    ]


def read(message: Message) -> list[dict[str, Any]]:
    return [*scanned(message), opened(message, 300)]


def followed(message: Message) -> list[dict[str, Any]]:
    return [*read(message), click(message, "2", 400)]


@pytest.mark.parametrize(
    ("story", "node_id"), [(scanned, "intro"), (read, "read"), (followed, "talk")]
)
async def test_shuffled_and_split_deliveries_leave_the_same(
    db: Database, story: Any, node_id: str
) -> None:
    campaign = await make_campaign(db, plan=PLAN)
    messages = [await make_sent(db, await enroll(db, campaign)) for _ in range(9)]
    shuffler = random.Random(11)
    queues = [story(messages[0])]
    queues += [shuffler.sample(story(m), len(story(m))) for m in messages[1:]]
    await receive(db, *queues[0])  # the first at once and in order
    left = queues[1:]
    while any(left):
        sizes = [shuffler.randint(1, 3) for _ in left]
        for queue, size in zip(left, sizes, strict=True):
            if queue:
                await receive(db, *queue[:size])
        left = [queue[size:] for queue, size in zip(left, sizes, strict=True)]
        await apply_events(db, deliveries_max=20)
    await receive(db, *[one for queue in queues for one in queue])  # and all of it once more
    await drain(db)
    assert {(await position_of(db, m.enrollment))[1] for m in messages} == {node_id}
    assert len({await hash_of(db, message) for message in messages}) == 1


async def test_what_a_machine_led_to_is_taken_back_and_told(db: Database) -> None:
    message = await sent(db, PLAN)
    await receive(db, click(message, "1", 0))
    await apply_events(db)
    assert await pending(db, message) == [("talk", "send", None)]
    await receive(db, click(message, "2", 1))
    await apply_events(db)
    assert await position_of(db, message.enrollment) == ("active", "intro", None)
    assert await pending(db, message) == [("intro", "timeout", "no_open")]
    story = await explain(db, message.tenant_id, message.enrollment.email)
    assert [entry.summary for entry in story.entries if entry.code == "step_of_a_machine"] == [
        "What “clicked” led to was a machine's doing, as it turned out;"
        " the step was taken back to intro."
    ]


async def test_a_step_that_was_claimed_stands(db: Database) -> None:
    message = await sent(db, PLAN)
    await receive(db, click(message, "1", 0))
    await apply_events(db)
    await make_message(db, message.enrollment)
    await receive(db, click(message, "2", 1))
    await apply_events(db)
    assert await position_of(db, message.enrollment) == ("active", "talk", None)


async def test_an_end_stands_and_its_event_is_marked(db: Database) -> None:
    intro = {**PLAN["nodes"][0], "transitions": [{"on": "clicked", "to": "stop"}]}
    message = await sent(db, {**PLAN, "nodes": [intro]})
    await receive(db, click(message, "1", 0))
    await apply_events(db)
    await receive(db, click(message, "2", 1))
    await apply_events(db)
    assert (await position_of(db, message.enrollment))[0] == "stopped"
    marks = await run(db, "select distinct machine_reason from message_events")
    assert marks == [("links_at_once",)]


async def test_a_plan_that_counts_machines_takes_nothing_back(db: Database) -> None:
    message = await sent(db, {**PLAN, "count_machine_events": True})
    for link, second in (("1", 0), ("2", 1)):
        await receive(db, click(message, link, second))
        await apply_events(db)
    assert await position_of(db, message.enrollment) == ("active", "talk", None)


async def test_a_timer_that_a_machine_kept_from_firing_fires(db: Database) -> None:
    intro = {
        **PLAN["nodes"][0],
        "transitions": [
            {"on": "no_open", "to": "bump", "after": "PT72H"},
            {"on": "replied", "to": "stop"},
        ],
    }
    message = await sent(db, {**PLAN, "nodes": [intro, PLAN["nodes"][2]]}, age=timedelta(hours=73))
    await receive(db, click(message, "1", -7200))
    await apply_events(db)
    await fire_timers(db, message.tenant_id)
    assert await position_of(db, message.enrollment) == ("active", "intro", None)
    await receive(db, click(message, "2", -7200))
    await apply_events(db)
    await fire_timers(db, message.tenant_id)
    assert (await position_of(db, message.enrollment))[1] == "bump"
