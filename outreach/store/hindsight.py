"""A contact's enrollments as they were at a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class EnrollmentAt:
    """An enrollment that there was, and what held it."""

    id: UUID
    campaign: str
    held_by: list[str]  # codes, as in `send_holds`
    is_held: bool  # paused itself


@dataclass(frozen=True, slots=True)
class LastStep:
    """The step that had led to where it stood."""

    enrollment_id: UUID
    at: datetime
    code: str
    event_id: str | None
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PendingAt:
    """A send or a timer that was still to come."""

    enrollment_id: UUID
    kind: str
    node_id: str
    visit: int
    trigger: str | None
    due_at: datetime


@dataclass(frozen=True, slots=True)
class MailAt:
    """A message, its latest attempt, and the kinds of events that had come in."""

    enrollment_id: UUID
    message_id: UUID
    node_id: str
    visit: int
    attempt: int
    outcome: str
    event_types: list[str]


async def list_enrollments_at(
    tx: Tx, tenant_id: UUID, contact_id: UUID, campaign_id: UUID | None, at: datetime
) -> list[EnrollmentAt]:
    """The contact's enrollments that there were, of all campaigns or of one, oldest first."""
    return await sql.fetch_all(
        tx,
        SQL["list_enrollments_at"],
        EnrollmentAt,
        tenant_id=tenant_id,
        contact_id=contact_id,
        campaign_id=campaign_id,
        at=at,
    )


async def list_last_steps(
    tx: Tx, tenant_id: UUID, places: Sequence[tuple[UUID, str | None]], at: datetime
) -> list[LastStep]:
    """By which step each enrollment had come to its node; None: to its end."""
    return await sql.fetch_all(
        tx,
        SQL["list_last_steps"],
        LastStep,
        tenant_id=tenant_id,
        enrollment_ids=[enrollment_id for enrollment_id, _ in places],
        node_ids=[node_id for _, node_id in places],
        at=at,
    )


async def list_pending_at(
    tx: Tx, tenant_id: UUID, enrollment_ids: Sequence[UUID], at: datetime
) -> list[PendingAt]:
    """What was to come for these enrollments, the next first."""
    return await sql.fetch_all(
        tx,
        SQL["list_pending_at"],
        PendingAt,
        tenant_id=tenant_id,
        enrollment_ids=enrollment_ids,
        at=at,
    )


async def list_mails_at(
    tx: Tx, tenant_id: UUID, enrollment_ids: Sequence[UUID], at: datetime, *, rows_max: int
) -> list[MailAt]:
    """What had been mailed in these enrollments, newest first."""
    return await sql.fetch_all(
        tx,
        SQL["list_mails_at"],
        MailAt,
        tenant_id=tenant_id,
        enrollment_ids=enrollment_ids,
        at=at,
        rows_max=rows_max,
    )
