"""What is stored beside what it is derived from, as `core.rebuilt` compares them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from outreach import sql
from outreach.core.rebuilt import (
    ContactRecord,
    Demand,
    EnrollmentRecord,
    MessageRecord,
    Moves,
    Unmet,
)
from outreach.sql import Tx

SQL = sql.load(__file__)


async def list_enrollments(
    tx: Tx, tenant_id: UUID, *, after: UUID, rows_max: int
) -> list[EnrollmentRecord]:
    """The page of enrollments after an id."""
    return await sql.fetch_planned(
        tx,
        SQL["list_enrollments"],
        EnrollmentRecord,
        tenant_id=tenant_id,
        after=after,
        rows_max=rows_max,
    )


async def list_moves(
    tx: Tx, tenant_id: UUID, enrollment_ids: Sequence[UUID], *, until: datetime | None = None
) -> list[Moves]:
    """The steps of these enrollments, in no order; those that had been taken `until` then."""
    return await sql.fetch_planned(
        tx,
        SQL["list_moves"],
        Moves,
        tenant_id=tenant_id,
        enrollment_ids=enrollment_ids,
        until=until,
    )


async def list_messages(
    tx: Tx, tenant_id: UUID, enrollment_ids: Sequence[UUID]
) -> list[MessageRecord]:
    """The messages of these enrollments; those of each oldest first."""
    return await sql.fetch_planned(
        tx, SQL["list_messages"], MessageRecord, tenant_id=tenant_id, enrollment_ids=enrollment_ids
    )


async def list_unmet(
    tx: Tx, tenant_id: UUID, enrollment_ids: Sequence[UUID], demands: Sequence[Demand]
) -> list[Unmet]:
    """The events about these enrollments that demand what did not follow."""
    return await sql.fetch_planned(
        tx,
        SQL["list_unmet"],
        Unmet,
        tenant_id=tenant_id,
        enrollment_ids=enrollment_ids,
        event_types=[demand.event_type.value for demand in demands],
        event_texts=sorted({demand.event_type.value for demand in demands}),
        drop_reasons=[demand.drop_reason for demand in demands],
        suppressions=[demand.suppression for demand in demands],
        steps=[demand.is_step for demand in demands],
    )


async def list_contacts(
    tx: Tx, tenant_id: UUID, *, after: UUID, rows_max: int
) -> list[ContactRecord]:
    """The page of contacts after an id."""
    return await sql.fetch_planned(
        tx, SQL["list_contacts"], ContactRecord, tenant_id=tenant_id, after=after, rows_max=rows_max
    )
