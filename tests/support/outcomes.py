"""Attempts on their way, what they came to, and what is then to be seen of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from outreach.core.outcome import Because, Outcome, Rejected
from outreach.db import Database, Role
from outreach.services.claim import Claim, claim_batch
from outreach.services.compose import Terms
from outreach.services.outcomes import Freed, Result, record_outcomes
from tests.support.factories import (
    Enrollment,
    Message,
    enroll,
    make_campaign,
    make_message,
    run,
)

TERMS = Terms("http://127.0.0.1:8000", ("a secret that is long enough",))
LATER = Rejected(Because.LATER, 429, "429 too many requests")


async def settle(
    db: Database,
    message: Message,
    outcome: Outcome,
    *,
    settled_by: str = "answer",
    at: datetime | None = None,
    attempt: int = 1,
) -> list[Freed]:
    result = Result(message.id, attempt, outcome, settled_by, at)
    async with db.transaction(Role.WORKER, message.tenant_id) as tx:
        return await record_outcomes(tx, message.tenant_id, [result])


async def attempted(db: Database, **changes: Any) -> Message:
    """A message that is on its way."""
    return await make_message(db, await enroll(db, await make_campaign(db, **changes)))


async def message_of(db: Database, message: Message) -> tuple[Any, ...]:
    """State, provider's id, counted attempts and failure."""
    (row,) = await run(
        db,
        "select state::text, provider_message_id, counted_attempts, failure_code"
        " from outbound_messages where id = %(m)s",
        m=message.id,
    )
    return row


async def attempt_of(db: Database, message: Message, attempt: int = 1) -> tuple[Any, ...]:
    (row,) = await run(
        db,
        "select outcome::text, settled_by, http_status from send_attempts"
        " where message_id = %(m)s and attempt = %(n)s",
        m=message.id,
        n=attempt,
    )
    return row


async def actions_of(db: Database, enrollment: Enrollment) -> list[tuple[Any, ...]]:
    return await run(
        db,
        "select kind::text, trigger, node_id, state::text from scheduled_actions"
        " where enrollment_id = %(e)s order by kind, created_at, node_id",
        e=enrollment.id,
    )


async def noes_of(db: Database, enrollment: Enrollment) -> list[tuple[Any, ...]]:
    return await run(
        db,
        "select verdict, reason, until is not null from send_refusals"
        " where enrollment_id = %(e)s order by created_at",
        e=enrollment.id,
    )


async def incidents(db: Database) -> list[tuple[Any, ...]]:
    return await run(db, "select code, subject from incidents order by code")


async def claimed_now(db: Database, message: Message) -> Claim:
    """What a claim takes with everything due and nothing parked."""
    await run(db, "update scheduled_actions set due_at = now() where state = 'pending'")
    await run(db, "update tenants set parked_until = null")
    await run(db, "update installation set provider_later_until = null")
    return await claim_batch(db, message.tenant_id, size_max=10, terms=TERMS, deadline_seconds=10.0)
