"""What every table remembers of one contact, as one list."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class Person:
    """Whose story it is."""

    id: UUID
    email: str
    name: str


@dataclass(frozen=True, slots=True)
class StoryRow:
    """One thing that happened or will, in codes."""

    at: datetime
    rank: int  # of two things at one moment the cause has the lower
    kind: str
    code: str
    detail: dict[str, Any]


async def find_contact_by_key(tx: Tx, tenant_id: UUID, key: str) -> Person | None:
    """The contact of an address."""
    return await sql.find(tx, SQL["find_contact_by_key"], Person, tenant_id=tenant_id, key=key)


async def list_plan_story(
    tx: Tx, tenant_id: UUID, contact_id: UUID, campaign_id: UUID | None, *, rows_max: int
) -> list[StoryRow]:
    """What happened to a contact but for its mails, in all campaigns or one; newest first."""
    return await sql.fetch_all(
        tx,
        SQL["list_plan_story"],
        StoryRow,
        tenant_id=tenant_id,
        contact_id=contact_id,
        campaign_id=campaign_id,
        rows_max=rows_max,
    )


async def list_mail_story(
    tx: Tx, tenant_id: UUID, contact_id: UUID, campaign_id: UUID | None, *, rows_max: int
) -> list[StoryRow]:
    """What became of a contact's mails, of all its campaigns or of one; newest first."""
    return await sql.fetch_all(
        tx,
        SQL["list_mail_story"],
        StoryRow,
        tenant_id=tenant_id,
        contact_id=contact_id,
        campaign_id=campaign_id,
        rows_max=rows_max,
    )
