"""Rows of `tenants` and `installation`."""

from __future__ import annotations

from uuid import UUID

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


async def find_tenant_id(tx: Tx, slug: str) -> UUID | None:
    """The tenant of a slug, whoever asks."""
    found: UUID | None = await sql.value(tx, SQL["find_tenant_id"], slug=slug)
    return found
