"""Tenants, contacts and senders for tests that need some to be there."""

from __future__ import annotations

from typing import Any, LiteralString
from uuid import UUID

from outreach.db import Database, Role
from outreach.services.tenants import NewTenant, create

ACTOR = "test"


async def new_tenant(db: Database, slug: str = "acme") -> UUID:
    """A tenant with all that a launch asks of it."""
    new = NewTenant(slug=slug, name=slug.title(), postal_address="1 Main St, Springfield")
    return (await create(db, new, actor=ACTOR)).id


async def new_contact(db: Database, tenant_id: UUID, email: str) -> UUID:
    """A contact with nothing but an address."""
    async with db.transaction(Role.APP, tenant_id) as tx:
        query: LiteralString = (
            "insert into contacts (tenant_id, email) values (%(t)s, %(e)s) returning id"
        )
        row = await (await tx.execute(query, {"t": tenant_id, "e": email})).fetchone()
    assert row is not None
    contact_id: UUID = row[0]
    return contact_id


async def ask(
    db: Database, tenant_id: UUID | None, query: LiteralString, **params: object
) -> list[Any]:
    """Rows of a question asked as the tenant (or, without one, as the operator)."""
    role = Role.OPERATOR if tenant_id is None else Role.APP
    async with db.transaction(role, tenant_id) as tx:
        return await (await tx.execute(query, params)).fetchall()
