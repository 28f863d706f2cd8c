"""Alarms that people look at and close."""

from __future__ import annotations

from uuid import UUID

from outreach.core.errors import NotFound
from outreach.db import Database, Role, set_actor
from outreach.services import audit
from outreach.services.tenants import find_tenant_id
from outreach.store import incidents as store
from outreach.store.incidents import IncidentRow


async def list_incidents(
    db: Database, tenant: str | None, *, with_closed: bool, rows_max: int
) -> list[IncidentRow]:
    """Alarms of one tenant, or of all, newest first; raises NotFound for a slug of nobody's."""
    if tenant is not None and await find_tenant_id(db, tenant) is None:
        raise NotFound("tenant", tenant)
    async with db.transaction(Role.OPERATOR) as tx:
        return await store.list_incidents(tx, tenant, with_closed=with_closed, rows_max=rows_max)


async def close_incident(db: Database, incident_id: UUID, *, reason: str, actor: str) -> bool:
    """Say that an alarm has been seen to; whether it was open. Raised again, it is open again.

    Raises NotFound, and Invalid without a reason.
    """
    audit.require_reason(reason)
    async with db.transaction(Role.OPERATOR) as tx:
        tenant_id = await store.find_tenant_of_incident(tx, incident_id)
        if tenant_id is None:
            raise NotFound("incident", incident_id)
        await set_actor(tx, Role.APP, tenant_id)
        closed = await store.close_incident(tx, tenant_id, incident_id)
        if closed is not None:
            await audit.record(
                tx,
                tenant_id,
                actor=actor,
                act="incident_closed",
                subject=str(incident_id),
                reason=reason,
                code=closed.code,
                about=closed.subject,
            )
    return closed is not None
