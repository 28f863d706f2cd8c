"""Rows of `contacts` and `leads`, by the batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a batch."""

    created: int
    updated: int
    distinct_rows: int


@dataclass(frozen=True, slots=True)
class ContactRow:
    """A contact as it is exported."""

    email_key: str
    email: str
    first_name: str | None
    last_name: str | None
    title: str | None
    company: str | None
    lead_url: str | None
    phone: str | None
    timezone: str | None
    locale: str | None
    country: str | None
    consent_basis: str | None
    consent_source: str | None
    attributes: dict[str, object]


async def insert_leads(tx: Tx, tenant_id: UUID, columns: Mapping[str, str]) -> int:
    """Make the leads that a batch names and that are not there; how many."""
    return await sql.execute(
        tx,
        SQL["insert_leads"],
        tenant_id=tenant_id,
        company=columns["company"],
        lead_url=columns["lead_url"],
    )


async def upsert_contacts(tx: Tx, tenant_id: UUID, columns: Mapping[str, str]) -> Stored:
    """Make or update a batch; `columns` hold each field's values between unit separators."""
    row = await sql.find(tx, SQL["upsert_contacts"], Stored, tenant_id=tenant_id, **columns)
    assert row is not None, "counts are one row"
    return row


async def list_attribute_names(tx: Tx, tenant_id: UUID, *, rows_max: int) -> list[str]:
    """The names of attributes in use."""
    params = {"tenant_id": tenant_id, "rows_max": rows_max}
    cursor = await tx.execute(SQL["list_attribute_names"], params)
    return [name for (name,) in await cursor.fetchall()]


async def list_contacts(tx: Tx, tenant_id: UUID, *, after: str, rows_max: int) -> list[ContactRow]:
    """The page after an address."""
    query = SQL["list_contacts"]
    return await sql.fetch_all(
        tx, query, ContactRow, tenant_id=tenant_id, after=after, rows_max=rows_max
    )
