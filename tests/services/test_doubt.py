"""After data loss, what is due may count as unknown instead of being sent."""

from __future__ import annotations

import pytest

from outreach.core.errors import Refused
from outreach.db import Database
from outreach.services import fence
from outreach.services.apply_events import apply_events
from outreach.services.doubt import doubt_due
from outreach.services.regain import reconcile
from outreach.store.regain import LOST_WORDS
from tests.services.test_regain import forgotten
from tests.support.factories import enroll, event, receive, run
from tests.support.sending import drain, due_campaign, message_states, sending


async def test_what_is_due_becomes_unknown_and_is_not_sent(db: Database) -> None:
    async with sending(db) as (context, sandbox):
        campaign = await due_campaign(db, 5)
        later = await enroll(db, campaign)
        await run(
            db,
            "update scheduled_actions set due_at = now() + interval '1 hour'"
            " where enrollment_id = %(e)s",
            e=later.id,
        )
        await fence.hold(db, "system_changed")

        assert await doubt_due(db, actor="ops") == 5
        assert await doubt_due(db, actor="ops") == 0
        assert await message_states(db) == {"unknown": 5}
        await fence.approve(db, reason="looked", actor="ops")
        await run(db, "update tenants set parked_until = null")
        await run(db, "update scheduled_actions set due_at = now() where state = 'pending'")
        await drain(context, campaign.tenant_id)

        assert len(sandbox.accepted) == 1, "what was not due then cannot have gone"
        assert await message_states(db) == {"unknown": 5, "sent": 1}


async def test_a_late_event_settles_it(db: Database) -> None:
    campaign = await due_campaign(db, 0)
    message = forgotten(await enroll(db, campaign))
    await fence.hold(db, "system_changed")
    await doubt_due(db, actor="ops")

    await receive(db, event(message, "delivered"))
    await apply_events(db)

    rows = await run(db, "select state::text, delivery::text from outbound_messages")
    assert rows == [("sent", "delivered")]


async def test_what_events_prove_is_not_doubted(db: Database) -> None:
    campaign = await due_campaign(db, 1)
    message = forgotten(await enroll(db, campaign))
    await receive(db, event(message, "processed"))
    await apply_events(db)
    await fence.hold(db, "system_changed")

    await reconcile(db, actor="ops")
    assert await doubt_due(db, actor="ops") == 1
    assert await message_states(db) == {"sent": 1, "unknown": 1}


async def test_a_resend_has_words_of_its_own(db: Database) -> None:
    async with sending(db) as (context, sandbox):
        campaign = await due_campaign(db, 1)
        await fence.hold(db, "system_changed")
        await doubt_due(db, actor="ops")
        await fence.approve(db, reason="looked", actor="ops")
        await run(db, "update send_attempts set outcome = 'not_sent', settled_by = 'person'")
        await run(
            db,
            "with due as (update scheduled_actions set state = 'pending', due_at = now())"
            " update outbound_messages set state = 'waiting_retry'",
        )
        await drain(context, campaign.tenant_id)

        (accepted,) = sandbox.accepted
        body = sandbox.body(accepted.message_id)
        assert body is not None
        assert "Hello." in str(body["content"])
        assert LOST_WORDS not in str(body)
        assert await message_states(db) == {"sent": 1}
        assert await run(db, "select max(attempt) from send_attempts") == [(2,)]


async def test_nothing_is_doubted_while_sending_goes_on(db: Database) -> None:
    await due_campaign(db, 1)

    with pytest.raises(Refused, match="Nothing is held"):
        await doubt_due(db, actor="ops")
    assert await message_states(db) == {}
