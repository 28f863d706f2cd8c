"""Acts upon the ledger, as the worker and as the owner of the tables, and what refuses them."""

from __future__ import annotations

from typing import LiteralString

import psycopg
import pytest

from outreach.db import Database, Role
from tests.support.factories import Message, enroll, make_campaign, make_message

OWNER = "owner"
ACTORS = (OWNER, Role.WORKER)

ATTEMPT: LiteralString = (
    "insert into send_attempts (tenant_id, message_id, attempt, armed_at, deadline_at)"
    " values (%(t)s, %(m)s, %(n)s, now(), now())"
)
SETTLE: LiteralString = (
    "update send_attempts set outcome = %(outcome)s::attempt_outcome, settled_at = now()"
    " where tenant_id = %(t)s and message_id = %(m)s and attempt = 1"
)
MOVE: LiteralString = (
    "update outbound_messages set state = %(to)s::message_state,"
    " accepted_attempt = case when %(to)s = 'sent' then 1 end,"
    " sent_at = case when %(to)s = 'sent' then now() end,"
    " wake_at = now()"
    " where tenant_id = %(t)s and id = %(m)s"
)


async def act(
    db: Database, actor: str, message: Message, query: LiteralString, **params: object
) -> int:
    """One statement about the message, as the owner or the worker; the rows it touched."""
    given = {"t": message.tenant_id, "m": message.id} | params
    if actor == OWNER:
        async with db.connection() as connection:
            return (await connection.execute(query, given)).rowcount
    async with db.transaction(Role(actor), message.tenant_id) as tx:
        return (await tx.execute(query, given)).rowcount


async def attack(
    db: Database, actor: str, message: Message, query: LiteralString, **params: object
) -> str | None:
    """The constraint that refuses it."""
    with pytest.raises(psycopg.errors.IntegrityError) as refused:
        await act(db, actor, message, query, **params)
    return refused.value.diag.constraint_name


async def a_message(db: Database, outcome: str = "armed") -> Message:
    return await make_message(db, await enroll(db, await make_campaign(db)), outcome=outcome)
