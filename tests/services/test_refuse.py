"""What will never go: the decision, the end of its enrollment, and no wait without end."""

from __future__ import annotations

from typing import Any

from outreach.db import Database
from outreach.services.claim import claim_batch
from outreach.services.refuse import fail_stale_values, refuse
from outreach.services.sweep import keep_house
from tests.support.factories import Campaign, run
from tests.support.outcomes import TERMS
from tests.support.sending import due_campaign

NEEDS_TITLE: dict[str, Any] = {
    "version": "1.0",
    "timezone": "UTC",
    "start_node_id": "intro",
    "idle_after": "P2D",
    "nodes": [
        {"id": "intro", "action": "send", "subject": "For {{ contact.title }}", "body": "Hello."}
    ],
}


async def claim_all(db: Database, campaign: Campaign) -> int:
    """Claim what is due, and refuse what will never go; how many mails were armed."""
    claim = await claim_batch(
        db, campaign.tenant_id, size_max=50, terms=TERMS, deadline_seconds=10.0
    )
    await refuse(db, campaign.tenant_id, claim.refused)
    return len(claim.mails)


async def waited(db: Database, days: float) -> None:
    """Let so many days go by for every no that has been written."""
    await run(
        db,
        "update send_refusals set created_at = created_at - make_interval(secs => %(s)s)",
        s=days * 86_400,
    )


async def ends(db: Database) -> list[tuple[Any, ...]]:
    return await run(
        db,
        "select state::text, end_reason, count(*) from enrollments group by 1, 2 order by 1::text",
    )


async def test_what_waits_too_long_for_a_value_fails(db: Database) -> None:
    campaign = await due_campaign(db, 3, plan=NEEDS_TITLE)
    assert await claim_all(db, campaign) == 0
    assert await fail_stale_values(db) == 0
    await waited(db, 1.9)
    assert await fail_stale_values(db) == 0, "not before its time"
    await waited(db, 0.2)

    await keep_house(db)

    assert await ends(db) == [("failed", "value_missing", 3)]
    assert await fail_stale_values(db) == 0
    rows = await run(db, "select state::text, count(*) from scheduled_actions group by 1")
    assert rows == [("canceled", 3)]
    rows = await run(
        db, "select verdict, reason, count(*) from send_refusals group by 1, 2 order by 1"
    )
    assert rows == [("hold", "value_missing", 3), ("refuse", "value_missing", 3)]


async def test_every_tenants_waits_end_and_only_those(db: Database) -> None:
    campaigns = [await due_campaign(db, 1, plan=NEEDS_TITLE) for _ in range(2)]
    await due_campaign(db, 1)
    for campaign in campaigns:
        await claim_all(db, campaign)
    await waited(db, 3)

    assert await fail_stale_values(db) == 2
    assert await ends(db) == [("active", None, 1), ("failed", "value_missing", 2)]


async def test_a_value_that_came_and_went_is_one_wait(db: Database) -> None:
    """Held for the value, then for the hours, then for the value again: one action, one end."""
    campaign = await due_campaign(db, 1, plan=NEEDS_TITLE)
    await claim_all(db, campaign)
    await waited(db, 1)
    await say(db, "outside_hours", hours=1)
    await waited(db, 1)
    await run(db, "update scheduled_actions set due_at = now()")
    await claim_all(db, campaign)
    rows = await run(db, "select reason from send_refusals order by created_at")
    assert rows == [("value_missing",), ("outside_hours",), ("value_missing",)]

    assert await fail_stale_values(db) == 1
    assert await ends(db) == [("failed", "value_missing", 1)]


async def test_what_waits_for_something_else_by_now_is_left(db: Database) -> None:
    campaign = await due_campaign(db, 1, plan=NEEDS_TITLE)
    await claim_all(db, campaign)
    await waited(db, 30)
    await say(db, "limit_domain")

    assert await fail_stale_values(db) == 0
    assert await ends(db) == [("active", None, 1)]


async def say(db: Database, reason: str, *, hours: int = 0) -> None:
    await run(
        db,
        "insert into send_refusals"
        " (tenant_id, enrollment_id, action_id, verdict, reason, created_at)"
        " select tenant_id, enrollment_id, id, 'hold', %(r)s, now() - make_interval(hours => %(h)s)"
        " from scheduled_actions",
        r=reason,
        h=hours,
    )


async def test_a_pause_stops_this_clock_too(db: Database) -> None:
    paused, held, theirs = [await due_campaign(db, 1, plan=NEEDS_TITLE) for _ in range(3)]
    for campaign in (paused, held, theirs):
        await claim_all(db, campaign)
    await waited(db, 30)
    await run(
        db, "update campaigns set state = 'paused', paused_at = now() where id = %(c)s", c=paused.id
    )
    await run(
        db,
        "update enrollments set state = 'paused', paused_at = now() where campaign_id = %(c)s",
        c=held.id,
    )

    await run(
        db,
        "update tenants set state = 'paused', paused_at = now() where id = %(t)s",
        t=theirs.tenant_id,
    )

    assert await fail_stale_values(db) == 0
    assert [state for state, _, _ in await ends(db)] == ["active", "paused"]


async def test_a_refused_retry_takes_its_message_with_it(db: Database) -> None:
    """The contact unsubscribed between two tries: nothing is left waiting for another."""
    campaign = await due_campaign(db, 1)
    assert await claim_all(db, campaign) == 1
    await run(
        db, "update send_attempts set outcome = 'not_sent', settled_at = now(), settled_by = 'x'"
    )
    await run(db, "update outbound_messages set state = 'waiting_retry'")
    await run(db, "update scheduled_actions set state = 'pending', due_at = now()")
    await run(db, "update contacts set suppressed_at = now(), suppressed_reason = 'unsubscribe'")

    assert await claim_all(db, campaign) == 0

    assert await ends(db) == [("stopped", "suppressed_unsubscribe", 1)]
    rows = await run(db, "select state::text, failure_code, wake_at from outbound_messages")
    assert rows == [("failed", "enrollment_ended", None)]
    rows = await run(db, "select state::text from scheduled_actions where kind = 'send'")
    assert rows == [("canceled",)]


async def test_a_refusal_that_comes_too_late_ends_nothing(db: Database) -> None:
    campaign = await due_campaign(db, 1)
    await run(db, "update contacts set suppressed_at = now(), suppressed_reason = 'manual'")
    claim = await claim_batch(
        db, campaign.tenant_id, size_max=50, terms=TERMS, deadline_seconds=10.0
    )
    await run(
        db, "update enrollments set state = 'stopped', ended_at = now(), end_reason = 'replied'"
    )

    assert await refuse(db, campaign.tenant_id, claim.refused) == 0
    assert await ends(db) == [("stopped", "replied", 1)]
    assert await run(db, "select count(*) from send_refusals") == [(0,)]


async def test_two_workers_that_refuse_the_same_end_it_once(db: Database) -> None:
    campaign = await due_campaign(db, 2)
    await run(db, "update contacts set suppressed_at = now(), suppressed_reason = 'manual'")
    claim = await claim_batch(
        db, campaign.tenant_id, size_max=50, terms=TERMS, deadline_seconds=10.0
    )

    assert await refuse(db, campaign.tenant_id, claim.refused) == 2
    assert await refuse(db, campaign.tenant_id, claim.refused) == 0
    assert await run(db, "select count(*) from send_refusals") == [(2,)]
    ends_of_two = "select count(*) from campaign_transitions where to_node_id is null"
    assert await run(db, ends_of_two) == [(2,)]
