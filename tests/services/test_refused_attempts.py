"""What was refused for now: when it is tried again, how often, and who has to wait meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from outreach.core.outcome import COUNTED_ATTEMPTS_MAX, Because, NotSent, Outcome, Rejected
from outreach.db import Database
from outreach.services.claim import claim_batch
from tests.support.factories import enroll, make_campaign, make_message, position_of, run
from tests.support.outcomes import (
    LATER,
    TERMS,
    attempted,
    claimed_now,
    incidents,
    message_of,
    noes_of,
    settle,
)
from tests.support.sending import due_campaign


async def test_the_sixth_counted_refusal_is_the_last(db: Database) -> None:
    message = await attempted(db)
    answers: list[Outcome] = [
        LATER,
        LATER,
        NotSent("no connection"),
        *[LATER] * (COUNTED_ATTEMPTS_MAX - 2),
    ]
    for attempt, answer in enumerate(answers, 1):
        await settle(db, message, answer, attempt=attempt)
        state, _, counted, _ = await message_of(db, message)
        assert counted == answers[:attempt].count(LATER), "what never left is not counted"
        if attempt < len(answers):
            assert state == "waiting_retry"
            assert [mail.attempt for mail in (await claimed_now(db, message)).mails] == [
                attempt + 1
            ]

    assert (await message_of(db, message))[0] == "failed"
    expected = ("failed", "intro", "provider_refused")
    assert await position_of(db, message.enrollment) == expected
    noes = await noes_of(db, message.enrollment)
    assert noes == [("hold", "provider_later", True), ("refuse", "provider_refused", False)]


async def test_what_never_leaves_is_tried_on_and_on(db: Database) -> None:
    """Past the fiftieth try, too: an outage of the provider must not end in a fault."""
    message = await attempted(db)
    await run(db, "update send_attempts set attempt = 60")
    await run(db, "update outbound_messages set attempts = 60")
    await settle(db, message, NotSent("no connection"), attempt=60)
    rows = await run(db, "select due_at - now() > interval '50 seconds' from scheduled_actions")
    assert rows == [(True,)], "about once a minute by then"

    (mail,) = (await claimed_now(db, message)).mails

    assert mail.attempt == 61


@pytest.mark.parametrize(
    ("outcome", "low", "high"),
    [
        (NotSent("no connection"), 0, 2),
        (LATER, 1195, 1201),
        (Rejected(Because.ACCOUNT, 401, "401"), -5, 1),
        (Rejected(Because.SENDER, 403, "403"), -5, 1),
    ],
    ids=str,
)
async def test_the_action_is_due_again_when_core_says(
    db: Database, outcome: Outcome, low: float, high: float
) -> None:
    message = await attempted(db)

    await settle(db, message, outcome)

    ((seconds, state),) = await run(
        db,
        "select extract(epoch from due_at - now())::float8, state::text from scheduled_actions"
        " where kind = 'send'",
    )
    assert state == "pending"
    assert low <= seconds <= high


async def test_a_429_stops_everybody_until_its_moment(db: Database) -> None:
    first, other = await attempted(db), await due_campaign(db, 1)
    asked = datetime.now(UTC) + timedelta(seconds=90)

    await settle(db, first, Rejected(Because.LATER, 429, "429", asked))

    (row,) = await run(db, "select provider_later_until from installation")
    assert abs((row[0] - asked).total_seconds()) < 1
    claim = await claim_batch(db, other.tenant_id, size_max=10, terms=TERMS, deadline_seconds=10.0)
    assert claim.seen == 0
    rows = await run(db, "select parked_until from tenants where id = %(t)s", t=other.tenant_id)
    assert rows == [row], "and the sweep leaves the tenant alone till then"


async def test_a_401_pauses_the_account_and_nobody_claims(db: Database) -> None:
    message, other = await attempted(db), await due_campaign(db, 1)

    await settle(db, message, Rejected(Because.ACCOUNT, 401, "401 the key is wrong"))

    (row,) = await run(
        db, "select provider_paused_at is not null, provider_pause_reason from installation"
    )
    assert row == (True, "401 the key is wrong")
    assert await incidents(db) == [("provider_paused", str(message.id))]
    for tenant_id in (message.tenant_id, other.tenant_id):
        claim = await claim_batch(db, tenant_id, size_max=10, terms=TERMS, deadline_seconds=10.0)
        assert claim.seen == 0
    await run(db, "update installation set provider_paused_at = null")
    claim = await claimed_now(db, message)
    assert [mail.attempt for mail in claim.mails] == [2], "not counted, and due at once"


async def test_a_403_pauses_that_sender_alone(db: Database) -> None:
    message = await attempted(db)
    other = await make_message(db, await enroll(db, await make_campaign(db, message.tenant_id)))
    await settle(db, other, NotSent("no connection"))

    await settle(db, message, Rejected(Because.SENDER, 403, "403 not verified"))

    rows = await run(
        db,
        "select id, pause_reason from sender_identities where paused_at is not null",
    )
    assert rows == [(message.enrollment.campaign.sender_id, "403 not verified")]
    claim = await claimed_now(db, message)
    assert [mail.message_id for mail in claim.mails] == [other.id]
    (row,) = await run(db, "select provider_paused_at from installation")
    assert row == (None,)
