"""Alarms for people: raised by whoever sees what must not happen, closed by a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class Incident:
    """An alarm; one for each code and subject of a tenant."""

    code: str  # in the catalogue of `core.reasons`
    subject: str  # a message, an attempt as `message:number`, a sender's address, the provider
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """An alarm as people look at it."""

    id: UUID
    tenant: str
    code: str
    subject: str
    detail: dict[str, Any]
    raised_at: datetime
    told_at: datetime  # when the same was raised last, or it was closed
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class ClosedRow:
    """What was closed."""

    code: str
    subject: str


async def raise_incidents(tx: Tx, tenant_id: UUID, incidents: Sequence[Incident]) -> None:
    """Tell people; each subject once, and one that was closed is open again."""
    if incidents:
        await sql.execute(
            tx,
            SQL["raise_incidents"],
            tenant_id=tenant_id,
            codes=[one.code for one in incidents],
            subjects=[one.subject for one in incidents],
            details=[Jsonb(one.detail) for one in incidents],
        )


async def raise_account_incident(tx: Tx, incident: Incident) -> int:
    """Tell every tenant whose campaigns are not over; how many. As the worker, of no tenant."""
    told: int = await sql.value(
        tx,
        SQL["raise_account_incident"],
        code=incident.code,
        subject=incident.subject,
        detail=Jsonb(incident.detail),
    )
    return told


async def list_incidents(
    tx: Tx, tenant: str | None, *, with_closed: bool, rows_max: int
) -> list[IncidentRow]:
    """Of the tenant with this slug, or of all; the newest first. As the operator."""
    return await sql.fetch_all(
        tx,
        SQL["list_incidents"],
        IncidentRow,
        tenant=tenant,
        with_closed=with_closed,
        rows_max=rows_max,
    )


async def find_tenant_of_incident(tx: Tx, incident_id: UUID) -> UUID | None:
    """Whose alarm it is; None for one that there is not. As the operator."""
    found: UUID | None = await sql.value(
        tx, SQL["find_tenant_of_incident"], incident_id=incident_id
    )
    return found


async def close_incident(tx: Tx, tenant_id: UUID, incident_id: UUID) -> ClosedRow | None:
    """Close it; None where it is closed already."""
    return await sql.find(
        tx, SQL["close_incident"], ClosedRow, tenant_id=tenant_id, incident_id=incident_id
    )


async def close_incidents(tx: Tx, tenant_id: UUID, subject: str, codes: Sequence[str]) -> int:
    """Close the alarms of these codes about one subject; how many there were."""
    return await sql.execute(
        tx, SQL["close_incidents"], tenant_id=tenant_id, subject=subject, codes=list(codes)
    )
