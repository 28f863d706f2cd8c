"""A tenant's past as a simulation reads it: counts over bounded samples."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class History:
    """What became of the mails of a sample; the last three count enrollments."""

    mails: int
    delivered: int
    blocked: int
    opened: int
    clicked: int
    replied: int
    unsubscribed: int
    complained: int
    enrollments: int
    bounced: int
    machine_opened: int


@dataclass(frozen=True, slots=True)
class Part:
    """How many contacts of a sample have this zone, or this domain."""

    name: str | None
    contacts: int


async def get_history(tx: Tx, tenant_id: UUID, *, days: int, rows_max: int) -> History:
    """What became of the mails that were heard of last."""
    params = {"tenant_id": tenant_id, "days": days, "rows_max": rows_max}
    found = await sql.find(tx, SQL["get_history"], History, **params)
    assert found is not None, "counts are a row, whatever they are"
    return found


async def list_zones(tx: Tx, tenant_id: UUID, *, rows_max: int) -> list[Part]:
    """The zones of the newest contacts, the most frequent first."""
    query = SQL["list_zones"]
    return await sql.fetch_all(tx, query, Part, tenant_id=tenant_id, rows_max=rows_max)


async def list_domains(tx: Tx, tenant_id: UUID, *, rows_max: int, contacts_min: int) -> list[Part]:
    """The big domains of the newest contacts, the biggest first."""
    params = {"tenant_id": tenant_id, "rows_max": rows_max, "contacts_min": contacts_min}
    return await sql.fetch_all(tx, SQL["list_domains"], Part, **params)
