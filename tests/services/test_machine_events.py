"""Machines' opens and clicks: marked with their reason, in whatever order and company they come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from outreach.db import Database
from outreach.services.apply_events import apply_events
from outreach.services.explain import explain
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
from tests.support.statements import counted_statements
from tests.support.stories import drain, sent

NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"


def click(message: Message, link: str, seconds: float = 0, **fields: object) -> dict[str, Any]:
    at = NOW + timedelta(seconds=seconds)
    return event(message, "click", at=at, url=f"https://a.example/{link}", **fields)


async def reasons(db: Database) -> list[tuple[Any, ...]]:
    return await run(
        db,
        "select event_type::text, machine_reason from message_events"
        " where event_type in ('opened', 'clicked') and is_machine = (machine_reason is not null)"
        " order by event_at, event_type::text, detail ->> 'url'",
    )


async def test_the_reason_is_stored_beside_the_event_and_told(db: Database) -> None:
    message = await sent(db)
    await receive(
        db,
        event(message, "delivered", at=NOW),
        event(message, "open", at=NOW, useragent=GMAIL),
        event(message, "open", at=NOW + timedelta(seconds=9), sg_machine_open=True),
        click(message, "1", 20, useragent="Barracuda Sentinel (EE)"),
        click(message, "1", 40),
        click(message, "2", 41),
        event(message, "open", at=NOW + timedelta(seconds=41)),
    )
    await apply_events(db)
    assert await reasons(db) == [
        ("opened", "with_delivery"),
        ("opened", "provider_says_so"),
        ("clicked", "scanner_agent"),
        ("clicked", "links_at_once"),
        ("clicked", "links_at_once"),
        ("opened", "beside_scanner"),
    ]
    assert await position_of(db, message.enrollment) == ("active", "intro", None)
    story = await explain(db, message.tenant_id, message.enrollment.email)
    told = [entry for entry in story.entries if entry.code == "machine_event"]
    assert told[2].detail["machine_reason"] == "scanner_agent"
    assert told[2].summary == (
        "It was clicked by a machine, not a person (a program that looks at links did it):"
        " recorded, does not move the plan."
    )


async def test_grading_takes_two_statements_at_most_whatever_comes(db: Database) -> None:
    campaign = await make_campaign(db)
    counts = []
    for size in (1, 20):
        messages = [await make_sent(db, await enroll(db, campaign)) for _ in range(size)]
        events = [e for m in messages for e in (click(m, "1"), click(m, "2"))]
        await receive(db, *events)
        with counted_statements() as seen:
            assert await apply_events(db) == 1
        counts.append((len(seen), sum("message_events" in str(one) for one in seen)))
    assert counts[0] == counts[1]


async def test_a_click_far_from_what_comes_now_keeps_its_mark(db: Database) -> None:
    message = await sent(db)
    await receive(db, click(message, "1"), click(message, "2", 1))
    await receive(db, event(message, "open", at=NOW + timedelta(minutes=8)))
    assert await drain(db) == 2
    assert [reason for _, reason in await reasons(db)] == ["links_at_once"] * 2 + [None]
