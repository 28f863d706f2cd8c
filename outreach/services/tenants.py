"""Tenants: who shares the installation, each by its slug."""

from __future__ import annotations

from uuid import UUID

from outreach.db import Database, Role
from outreach.store import tenants as store


async def find_tenant_id(db: Database, slug: str) -> UUID | None:
    """The id of the tenant with this slug."""
    async with db.transaction(Role.APP) as tx:
        return await store.find_tenant_id(tx, slug)
