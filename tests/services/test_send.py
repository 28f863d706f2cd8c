"""Due mail goes out once, in batches, with the ledger as the lock."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import replace
from uuid import UUID

import pytest

from outreach.db import Database
from outreach.dev.sandbox import Act, FaultOrder, SandboxSettings, When
from outreach.providers.sendgrid import SendGrid
from outreach.services.apply_events import apply_events
from outreach.services.claim import claim_batch
from outreach.services.send import rescue, send_due
from tests.support.factories import Campaign, make_campaign, receive, run
from tests.support.sending import (
    accepted_by_message,
    drain,
    due_again,
    due_campaign,
    message_states,
    sending,
    settings_for,
    smaller,
)


async def test_due_mail_is_sent_once_and_its_timers_begin(db: Database) -> None:
    campaign = await due_campaign(db, 250)

    async with sending(db) as (context, sandbox):
        await drain(context, campaign.tenant_id)

        assert await message_states(db) == {"sent": 250}
        counts = accepted_by_message(sandbox)
        assert len(counts) == 250
        assert set(counts.values()) == {1}
    rows = await run(
        db,
        "select kind::text, trigger, state::text, count(*) from scheduled_actions group by 1, 2, 3"
        " order by 1",
    )
    assert rows == [("send", None, "done", 250), ("timeout", "no_open", "pending", 250)]
    rows = await run(
        db,
        "select count(*) from enrollments where accepted_at is not null"
        " and latest_message_id is not null and message_node_id = 'intro'",
    )
    assert rows == [(250,)]
    rows = await run(db, "select verdict, reason, count(*) from send_decisions group by 1, 2")
    assert rows == [("send", None, 250)]


async def test_the_provider_gets_what_the_ledger_says(db: Database) -> None:
    campaign = await due_campaign(db, 1)

    async with sending(db) as (context, sandbox):
        await drain(context, campaign.tenant_id)
        (record,) = sandbox.accepted
        body = sandbox.body(record.message_id)
    assert body is not None
    rows = await run(
        db,
        "select id::text, subject, body_text, body_html, to_address, from_address,"
        " provider_message_id from outbound_messages",
    )
    ((message_id, subject, text, html, to_address, from_address, provider_id),) = rows
    assert provider_id == record.message_id
    assert body["subject"] == subject
    assert [part["value"] for part in body["content"]] == [text, html]
    assert body["personalizations"] == [{"to": [{"email": to_address}]}]
    assert body["from"]["email"] == from_address
    assert body["custom_args"] == {
        "outreach_message_id": message_id,
        "outreach_attempt": "1",
        "outreach_tenant": str(campaign.tenant_id),
    }
    assert body["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert body["headers"]["List-Unsubscribe"].startswith("<http://127.0.0.1:8000/u/")
    assert "1 Main St" in text
    assert "http://127.0.0.1:8000/u/" in text


async def test_two_senders_share_the_work_and_nothing_goes_twice(db: Database) -> None:
    campaign = await due_campaign(db, 400)

    async with sending(db) as (context, sandbox):
        one, other = smaller(context, 17), smaller(context, 23)
        await asyncio.gather(*(drain(c, campaign.tenant_id) for c in (one, other, one, other)))

        assert set(accepted_by_message(sandbox).values()) == {1}
    assert await message_states(db) == {"sent": 400}


@pytest.mark.parametrize(
    ("order", "states", "accepted"),
    [
        (FaultOrder(status=400), {"failed": 1}, 0),
        (FaultOrder(status=422), {"failed": 1}, 0),
        (FaultOrder(status=500), {"unknown": 1}, 0),
        (FaultOrder(status=503, when=When.AFTER_ACCEPT), {"unknown": 1}, 1),
        (FaultOrder(status=302), {"unknown": 1}, 0),
        (FaultOrder(status=200), {"unknown": 1}, 0),
        (FaultOrder(act=Act.RESET, when=When.AFTER_ACCEPT), {"unknown": 1}, 1),
        (FaultOrder(act=Act.RESET, when=When.BEFORE_ACCEPT), {"unknown": 1}, 0),
        (FaultOrder(status=429, reset_seconds=600), {"waiting_retry": 1}, 0),
        (FaultOrder(status=401), {"waiting_retry": 1}, 0),
        (FaultOrder(status=403), {"waiting_retry": 1}, 0),
    ],
    ids=str,
)
async def test_each_answer_has_its_outcome(
    db: Database, order: FaultOrder, states: dict[str, int], accepted: int
) -> None:
    campaign = await due_campaign(db, 1)

    async with sending(db) as (context, sandbox):
        sandbox.order(order)
        await drain(context, campaign.tenant_id)
        await drain(context, campaign.tenant_id)

        assert await message_states(db) == states
        assert len(sandbox.accepted) == accepted


async def test_a_hanging_provider_leaves_an_unknown_outcome(db: Database) -> None:
    campaign = await due_campaign(db, 1)

    async with sending(db, send_deadline_seconds=1.0) as (context, sandbox):
        sandbox.order(FaultOrder(act=Act.HANG, when=When.AFTER_ACCEPT))
        await drain(context, campaign.tenant_id)

    assert await message_states(db) == {"unknown": 1}


async def test_a_refused_connection_is_tried_again(db: Database) -> None:
    campaign = await due_campaign(db, 3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = f"http://127.0.0.1:{server.getsockname()[1]}"

    async with sending(db) as (context, sandbox):
        settings = settings_for(sandbox).model_copy(update={"sendgrid_base_url": nobody})
        async with SendGrid(settings) as provider:
            await drain(replace(context, provider=provider), campaign.tenant_id)
        assert await message_states(db) == {"waiting_retry": 3}
        await run(db, "update scheduled_actions set due_at = now() where state = 'pending'")
        await drain(context, campaign.tenant_id)
        assert sandbox.accepted == [], "nobody tries for some seconds"
        await run(db, "update installation set provider_later_until = now()")
        await run(db, "update tenants set parked_until = null")
        await drain(context, campaign.tenant_id)

        assert await message_states(db) == {"sent": 3}
        rows = await run(
            db,
            "select attempt, outcome::text, count(*) from send_attempts group by 1, 2 order by 1",
        )
        assert rows == [(1, "not_sent", 3), (2, "accepted", 3)]
        assert set(accepted_by_message(sandbox).values()) == {1}


async def test_a_dead_workers_attempts_become_unknown_and_stay(db: Database) -> None:
    campaign = await due_campaign(db, 5)
    async with sending(db) as (context, sandbox):
        claim = await claim_batch(
            db, campaign.tenant_id, size_max=3, terms=context.terms, deadline_seconds=10.0
        )
        assert len(claim.mails) == 3
        assert await rescue(db) == 0
        await run(db, "update send_attempts set deadline_at = now() - interval '1 second'")

        assert await rescue(db) == 3
        assert await rescue(db) == 0
        await drain(context, campaign.tenant_id)

        assert await message_states(db) == {"unknown": 3, "sent": 2}
        assert len(sandbox.accepted) == 2


async def test_a_stop_leaves_nothing_half_done(db: Database) -> None:
    campaign = await due_campaign(db, 300)
    stop = asyncio.Event()
    async with sending(db) as (context, _):
        stop.set()
        assert await send_due(context, campaign.tenant_id, stop=stop, slice_seconds=5.0)
        assert await message_states(db) == {}
        stop.clear()
        assert not await send_due(context, campaign.tenant_id, stop=stop, slice_seconds=30.0)
    assert await message_states(db) == {"sent": 300}


async def test_a_missing_value_holds_one_mail_and_no_other(db: Database) -> None:
    plan = {
        "version": "1.0",
        "timezone": "UTC",
        "start_node_id": "intro",
        "nodes": [
            {
                "id": "intro",
                "action": "send",
                "subject": "For {{ contact.title }}",
                "body": "Hello {{ contact.first_name }}.",
            }
        ],
    }
    campaign = await due_campaign(db, 2, plan=plan)
    await run(db, "update contacts set title = 'CTO' where first_name = 'Person 1'")

    async with sending(db) as (context, sandbox):
        await drain(context, campaign.tenant_id)
        assert [one.subject for one in sandbox.accepted] == ["For CTO"]
    rows = await run(
        db, "select verdict, reason, detail from send_decisions where verdict <> 'send'"
    )
    assert rows == [("hold", "value_missing", {"field": "contact.title"})]


async def test_a_suppressed_contact_is_refused_and_its_enrollment_stops(db: Database) -> None:
    campaign = await due_campaign(db, 2)
    await run(
        db,
        "insert into suppressions (tenant_id, value, reason) select tenant_id, email, 'complaint'"
        " from contacts where first_name = 'Person 1'",
    )
    await run(
        db,
        "insert into suppressions (tenant_id, value, reason)"
        " select id, '@elsewhere.example', 'manual' from tenants",
    )

    async with sending(db) as (context, sandbox):
        await drain(context, campaign.tenant_id)
        assert len(sandbox.accepted) == 1
    rows = await run(
        db, "select state::text, end_reason, count(*) from enrollments group by 1, 2 order by 1"
    )
    assert rows == [("active", None, 1), ("stopped", "suppressed_complaint", 1)]
    rows = await run(db, "select verdict, reason from send_decisions order by verdict")
    assert rows == [("refuse", "suppressed_complaint"), ("send", None)]


async def test_outside_the_hours_a_mail_waits_for_them(db: Database) -> None:
    plan = json.loads(json.dumps((await make_campaign(db)).plan.model_dump(mode="json")))
    plan["quiet_hours"] = {"start": "00:00", "end": "23:59"}
    campaign = await due_campaign(db, 1, plan=plan)

    async with sending(db) as (context, sandbox):
        await drain(context, campaign.tenant_id)
        assert sandbox.accepted == []
    rows = await run(db, "select reason, until > now() from send_decisions")
    assert rows == [("outside_hours", True)]


async def test_an_enrollment_that_ended_cannot_be_sent_to(db: Database) -> None:
    campaign = await due_campaign(db, 1)
    await run(
        db,
        "update enrollments set state = 'stopped', ended_at = now(), end_reason = 'replied'",
    )
    async with sending(db) as (context, sandbox):
        await drain(context, campaign.tenant_id)
        assert sandbox.accepted == []


async def test_nothing_goes_out_before_webhooks_that_wait_are_applied(db: Database) -> None:
    campaign = await due_campaign(db, 2)
    ((message, attempt),) = await _first_of_two(db, campaign)
    await receive(
        db,
        {
            "event": "unsubscribe",
            "timestamp": 1_700_000_000,
            "sg_event_id": "leave",
            "outreach_tenant": str(campaign.tenant_id),
            "outreach_message_id": str(message),
            "outreach_attempt": str(attempt),
        },
    )
    await run(db, "update webhook_deliveries set received_at = now() - interval '3 seconds'")
    # The same person is due once more.
    await due_again(db)

    async with sending(db) as (context, sandbox):
        await drain(context, campaign.tenant_id)
        assert sandbox.accepted == [], "the unsubscribe is stored and not applied"
        while await apply_events(db):
            pass
        await run(db, "update tenants set parked_until = null")
        await drain(context, campaign.tenant_id)

        assert len(sandbox.accepted) == 1, "the other person's mail goes out, and no more"


async def _first_of_two(db: Database, campaign: Campaign) -> list[tuple[UUID, int]]:
    """Send one of two due mails; its message and attempt."""
    await run(
        db,
        "update scheduled_actions set due_at = now() + interval '1 hour'"
        " where id = (select max(id::text)::uuid from scheduled_actions)",
    )
    async with sending(db) as (context, _):
        await drain(context, campaign.tenant_id)
    await run(db, "update scheduled_actions set due_at = now() where state = 'pending'")
    rows = await run(db, "select message_id, attempt from send_attempts")
    return [(message, attempt) for message, attempt in rows]


async def test_an_outage_costs_few_mails_and_one_finds_its_end(db: Database) -> None:
    campaign = await due_campaign(db, 60)

    async with sending(db) as (context, sandbox):
        context = smaller(context, 5, batches_in_flight=1)
        sandbox.order(FaultOrder(status=503, times=None))
        await drain(context, campaign.tenant_id)
        assert await message_states(db) == {"unknown": 5}, "then nobody sends"
        rows = await run(
            db, "select distinct reason, until > now() from send_decisions where verdict = 'hold'"
        )
        assert rows == [("provider_later", True)]

        await _let_the_wait_end(db)
        await drain(context, campaign.tenant_id)
        assert await message_states(db) == {"unknown": 6}, "one more tried"

        sandbox.clear_faults()
        await _let_the_wait_end(db)
        await drain(context, campaign.tenant_id)
        assert await message_states(db) == {"unknown": 6, "sent": 54}
    assert await run(db, "select provider_later_until from installation") == [(None,)]
    assert await run(db, "select code from incidents") == [("provider_outage",)]
    assert await run(db, "select count(*) from send_decisions where verdict = 'hold'") == [(0,)]


async def _let_the_wait_end(db: Database) -> None:
    await run(db, "update installation set provider_later_until = now()")
    await run(db, "update tenants set parked_until = null")


async def test_a_slow_provider_gets_no_more_than_can_begin_in_time(db: Database) -> None:
    campaigns = [await due_campaign(db, 12) for _ in range(3)]
    settings = SandboxSettings(latency_ms=900)
    async with sending(db, settings=settings, send_connections=8) as (context, sandbox):
        await asyncio.gather(*(drain(context, campaign.tenant_id) for campaign in campaigns))
        assert len(sandbox.accepted) == 36
    outcomes = await run(db, "select outcome::text, count(*) from send_attempts group by 1")
    assert dict(outcomes) == {"accepted": 36}, "no request waited for a connection in vain"


async def test_what_somebody_holds_is_still_left(db: Database) -> None:
    """As the sender's row, while another batch writes down that its first mail was accepted."""
    campaign = await due_campaign(db, 2)
    stop = asyncio.Event()
    async with sending(db) as (context, sandbox):
        async with db.connection() as other, other.transaction():
            await other.execute("select from sender_identities for no key update")
            assert await send_due(context, campaign.tenant_id, stop=stop, slice_seconds=5.0)
        assert sandbox.accepted == []
        await drain(context, campaign.tenant_id)
    assert await message_states(db) == {"sent": 2}
