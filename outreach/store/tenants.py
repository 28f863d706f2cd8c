"""Rows of `tenants` and `installation`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as operators see it."""

    id: UUID
    slug: str
    name: str
    state: str
    timezone: str
    postal_address: str | None
    paused_at: datetime | None
    paused_by: str | None
    pause_reason: str | None
    created_at: datetime
    weight: int
    has_own_queue: bool


@dataclass(frozen=True, slots=True)
class Installation:
    """Whether everybody is paused, and why."""

    state: str
    paused_at: datetime | None
    paused_by: str | None
    pause_reason: str | None


async def find_tenant_id(tx: Tx, slug: str) -> UUID | None:
    """The tenant of a slug, whoever asks."""
    found: UUID | None = await sql.value(tx, SQL["find_tenant_id"], slug=slug)
    return found


async def insert_tenant(
    tx: Tx,
    *,
    slug: str,
    name: str,
    timezone: str,
    postal_address: str | None,
    weight: int,
    has_own_queue: bool,
) -> UUID | None:
    """The new tenant's id, or None where the slug is taken."""
    made: UUID | None = await sql.value(
        tx,
        SQL["insert_tenant"],
        slug=slug,
        name=name,
        timezone=timezone,
        postal_address=postal_address,
        weight=weight,
        has_own_queue=has_own_queue,
    )
    return made


async def set_postal_address_if_missing(tx: Tx, slug: str, postal_address: str) -> UUID | None:
    """The id of the tenant that had none until now."""
    query = SQL["set_postal_address_if_missing"]
    filled: UUID | None = await sql.value(tx, query, slug=slug, postal_address=postal_address)
    return filled


async def set_tenant_share(
    tx: Tx, tenant_id: UUID, *, weight: int | None, has_own_queue: bool | None
) -> bool:
    """Whether that changed anything; None leaves a value as it is."""
    query = SQL["set_tenant_share"]
    given = {"tenant_id": tenant_id, "weight": weight, "has_own_queue": has_own_queue}
    return bool(await sql.execute(tx, query, **given))


async def find_tenant(tx: Tx, slug: str) -> Tenant | None:
    """The tenant of a slug, whole."""
    return await sql.find(tx, SQL["find_tenant"], Tenant, slug=slug)


async def list_tenants(tx: Tx, *, after: str, rows_max: int) -> list[Tenant]:
    """The page after a slug."""
    return await sql.fetch_all(tx, SQL["list_tenants"], Tenant, after=after, rows_max=rows_max)


async def set_tenant_paused_if_active(tx: Tx, tenant_id: UUID, *, actor: str, reason: str) -> bool:
    """Whether it was active until now."""
    query = SQL["set_tenant_paused_if_active"]
    return bool(await sql.execute(tx, query, tenant_id=tenant_id, actor=actor, reason=reason))


async def set_tenant_active_if_paused(tx: Tx, tenant_id: UUID) -> bool:
    """Whether it was paused until now."""
    return bool(await sql.execute(tx, SQL["set_tenant_active_if_paused"], tenant_id=tenant_id))


async def get_installation(tx: Tx) -> Installation:
    """Whether everybody is paused now."""
    found = await sql.find(tx, SQL["get_installation"], Installation)
    assert found is not None, "the migration made the one row"
    return found


async def set_installation_paused_if_active(tx: Tx, *, actor: str, reason: str) -> bool:
    """Whether it was active until now."""
    query = SQL["set_installation_paused_if_active"]
    return bool(await sql.execute(tx, query, actor=actor, reason=reason))


async def set_installation_active_if_paused(tx: Tx) -> bool:
    """Whether it was paused until now."""
    return bool(await sql.execute(tx, SQL["set_installation_active_if_paused"]))
