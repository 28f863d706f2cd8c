"""Attempts of which nobody knows, the mails of the account beside them, and logs to order."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import timedelta
from typing import Any
from uuid import UUID

from outreach.core.errors import OutreachError
from outreach.db import Database
from tests.support.factories import Enrollment, Message, enroll, make_campaign, make_message, run

HOUR = timedelta(hours=1)


async def unknown(
    db: Database,
    age: timedelta,
    *,
    policy: str = "at_most_once",
    plan: dict[str, Any] | None = None,
) -> Message:
    """A message whose attempt was armed so long ago and never answered, to be looked at now."""
    campaign = await make_campaign(db, plan=plan)
    await run(
        db,
        "update campaigns set unknown_policy = %(p)s::unknown_policy where id = %(c)s",
        p=policy,
        c=campaign.id,
    )
    return await make_message(db, await enroll(db, campaign), outcome="unknown", age=age)


async def make_due(db: Database) -> None:
    """Whatever is unknown is looked at again now."""
    await run(db, "update outbound_messages set wake_at = now() where state = 'unknown'")


async def other_sends(
    db: Database, enrollment: Enrollment, count: int, *, age: timedelta, told: int | None = None
) -> None:
    """Mails of the account that were accepted so long ago, and how many an event spoke of."""
    await run(
        db,
        """
        with message as (
          insert into outbound_messages (tenant_id, id, enrollment_id, campaign_id, contact_id,
            sender_id, action_id, node_id, visit, dedupe_key, to_address, to_domain, from_address,
            from_name, subject, body_text, body_html, wake_at, created_at)
          select %(t)s, new_id(), %(e)s, %(c)s, %(k)s, %(s)s, new_id(), 'other', n, n::text,
            'a@b.example', 'b.example', 'c@d.example', 'C', 'S', 'B', 'B', now(), now() - %(age)s
          from generate_series(1, %(count)s::int) as n
          returning tenant_id, id, enrollment_id, visit
        ), attempt as (
          insert into send_attempts (tenant_id, message_id, attempt, outcome, armed_at, deadline_at,
            settled_at, settled_by)
          select tenant_id, id, 1, 'accepted', now() - %(age)s, now() - %(age)s, now(), 'answer'
          from message
        )
        insert into message_events (tenant_id, provider, provider_event_id, outbound_message_id,
          enrollment_id, event_type, event_at)
        select tenant_id, 'sendgrid', id::text, id, enrollment_id, 'processed', now() - %(age)s
        from message where visit <= %(told)s::int
        """,
        t=enrollment.tenant_id,
        e=enrollment.id,
        c=enrollment.campaign.id,
        k=enrollment.contact_id,
        s=enrollment.campaign.sender_id,
        count=count,
        told=count if told is None else told,
        age=age,
    )


async def evidence_of(db: Database, message: Message) -> list[tuple[Any, ...]]:
    """Who said what of the message's attempts, and how often."""
    return await run(
        db,
        "select attempt, source, says, times from outcome_evidence where message_id = %(m)s"
        " order by attempt, source, says",
        m=message.id,
    )


class Logs:
    """A provider's log that shows these messages, answers with an error, or never."""

    def __init__(
        self,
        shown: Collection[UUID] = (),
        error: OutreachError | None = None,
        *,
        hangs: bool = False,
    ) -> None:
        self.shown = set(shown)
        self.error = error
        self.hangs = hangs
        self.is_asked = asyncio.Event()
        self.asked: list[tuple[UUID, int, str]] = []

    async def knows(self, message_id: UUID, attempt: int, to_address: str) -> bool:
        self.asked.append((message_id, attempt, to_address))
        self.is_asked.set()
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return message_id in self.shown
