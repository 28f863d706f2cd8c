"""Ending pauses: their holds, and the actions that they kept back.

A pause of a campaign or of an enrollment takes actions out of the timetable as they come due
(`held_by`); a pause of a sender, a tenant or the installation leaves them where they are, since a
claim asks for those before it reads any.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from outreach import sql
from outreach.core.limits import DEFAULTS, Scope
from outreach.sql import Tx

SQL = sql.load(__file__)


async def end_holds(
    tx: Tx, tenant_id: UUID, *, scope: str, subject_id: UUID, reasons: Sequence[str]
) -> int:
    """End those that are in force; how many were."""
    return await sql.execute(
        tx,
        SQL["end_holds"],
        tenant_id=tenant_id,
        scope=scope,
        subject_id=subject_id,
        reasons=list(reasons),
    )


async def lock_held_actions(tx: Tx, tenant_id: UUID, campaign_id: UUID) -> int:
    """Wait for, and hold, what the campaign's pause took out; how many actions that are."""
    query = SQL["lock_held_actions"]
    held: int = await sql.value(tx, query, tenant_id=tenant_id, campaign_id=campaign_id)
    return held


async def release_campaign_actions(
    tx: Tx, tenant_id: UUID, campaign_id: UUID, *, pace: int, unmet_since: datetime | None
) -> int:
    """Put back what the pause took out, spread over time; how many actions that were.

    With `unmet_since`, when the pause began, also what came due in it and nobody took out.
    """
    return await sql.execute_planned(
        tx,
        SQL["release_campaign_actions"],
        tenant_id=tenant_id,
        campaign_id=campaign_id,
        pace=pace,
        unmet_since=unmet_since,
        minute_default=DEFAULTS[Scope.SENDER].per_minute,
    )


async def release_enrollment_actions(
    tx: Tx, tenant_id: UUID, enrollment_ids: Sequence[UUID]
) -> int:
    """Put back what the pauses took out; how many actions that were."""
    return await sql.execute(
        tx,
        SQL["release_enrollment_actions"],
        tenant_id=tenant_id,
        enrollment_ids=list(enrollment_ids),
    )
