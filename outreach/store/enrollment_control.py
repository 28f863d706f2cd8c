"""A person's acts on the enrollments of one contact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class ContactEnrollment:
    """One enrollment of a contact, by its campaign's name."""

    id: UUID
    campaign_id: UUID
    campaign: str
    state: str


async def lock_contact_enrollments(
    tx: Tx, tenant_id: UUID, contact_id: UUID, *, campaign_id: UUID | None
) -> list[ContactEnrollment]:
    """The contact's enrollments, of all campaigns or of one, locked to the transaction's end."""
    return await sql.fetch_all(
        tx,
        SQL["lock_contact_enrollments"],
        ContactEnrollment,
        tenant_id=tenant_id,
        contact_id=contact_id,
        campaign_id=campaign_id,
    )


async def pause_enrollments(
    tx: Tx, tenant_id: UUID, ids: Sequence[UUID], *, actor: str, reason: str
) -> int:
    """Pause those that are active, with the holds that say so; how many were."""
    return await sql.execute(
        tx,
        SQL["pause_enrollments"],
        tenant_id=tenant_id,
        ids=list(ids),
        actor=actor,
        reason=reason,
    )


async def resume_enrollments(tx: Tx, tenant_id: UUID, ids: Sequence[UUID]) -> int:
    """Let those that are paused go on; how many were."""
    query = SQL["resume_enrollments"]
    return await sql.execute(tx, query, tenant_id=tenant_id, ids=list(ids))
