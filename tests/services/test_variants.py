"""A/B variants: drawn once for each enrollment and step, and never again, whatever is tried."""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from uuid import UUID

from outreach.core.outcome import NotSent
from outreach.core.render import choose_variant
from outreach.db import Database
from tests.support.factories import Message, enroll, make_campaign, run
from tests.support.outcomes import LATER, claimed_now, settle
from tests.support.sending import lift_limits

PLAN: dict[str, Any] = {
    "version": "1.0",
    "timezone": "UTC",
    "start_node_id": "intro",
    "nodes": [
        {
            "id": "intro",
            "action": "send",
            "variants": [
                {"id": f"v{n}", "weight": n, "subject": f"Variant {n}", "body": "Hello."}
                for n in (1, 2, 3)
            ],
        }
    ],
}


async def test_every_attempt_says_what_the_first_one_drew(db: Database) -> None:
    campaign = await make_campaign(db, plan=PLAN)
    first, *_ = [await enroll(db, campaign) for _ in range(8)]
    any_message = Message(first, campaign.id, 1, None)
    await lift_limits(db, campaign.tenant_id)
    told: dict[UUID, list[str]] = defaultdict(list)
    for outcome in (NotSent("no connection"), LATER, NotSent("no connection")):
        for mail in (await claimed_now(db, any_message)).mails:
            told[mail.message_id].append(mail.subject)
            message = Message(first, mail.message_id, mail.attempt, None)
            await settle(db, message, outcome, attempt=mail.attempt)

    rows = await run(db, "select id, enrollment_id, variant_id, subject from outbound_messages")
    assert len(rows) == 8
    for message_id, enrollment_id, variant_id, subject in rows:
        drawn = choose_variant(campaign.plan.nodes[0], campaign.tenant_id, enrollment_id)
        assert drawn is not None
        assert (variant_id, subject) == (drawn.id, drawn.subject)
        assert told[message_id] == [subject] * 3
