"""The kill switches: a tenant's pause, and everybody's.

A claim holds its tenant's lock from reading the state to its commit. A pause takes that lock too,
so once it returns nothing more is armed. The holds that explain it to each waiting send are written
with it (a tenant's) or after it (the installation's, tenant by tenant; a run that was killed in
between is completed by the next). A pause takes nothing out of the timetable: a resume ends the
holds and wakes the workers, and what waited goes out in its old order, as the limits let it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

from outreach.core.errors import NotFound
from outreach.core.provider_events import ACCOUNT_FORBIDDEN
from outreach.core.states import PauseState
from outreach.db import Database, Role, lock_tenant, set_actor
from outreach.services import audit
from outreach.sql import Tx
from outreach.store import pauses
from outreach.store import tenants as store
from outreach.store.holds import SetHold, open_holds
from outreach.store.incidents import close_incidents
from outreach.store.tenants import Tenant
from outreach.store.wakeups import wake

PAGE_ROWS = 500
TENANT_HOLD = "tenant_paused"
INSTALLATION_HOLD = "installation_paused"


async def pause_tenant(db: Database, slug: str, *, reason: str, actor: str) -> Tenant:
    """Nothing of this tenant is sent from now on; a second pause keeps the first one's reason."""
    audit.require_reason(reason)
    async with db.transaction(Role.OPERATOR) as tx:
        tenant = await _tenant(tx, slug)
        await lock_tenant(tx, tenant.id)
        if await store.set_tenant_paused_if_active(tx, tenant.id, actor=actor, reason=reason):
            await audit.record(
                tx, tenant.id, actor=actor, act="tenant_paused", subject=slug, reason=reason
            )
            await set_actor(tx, Role.APP, tenant.id)
            detail = {"who": actor, "reason": reason}
            hold = SetHold("tenant", tenant.id, TENANT_HOLD, detail=detail)
            await open_holds(tx, tenant.id, [hold])
            await set_actor(tx, Role.OPERATOR)
        return await _tenant(tx, slug)


async def resume_tenant(
    db: Database, slug: str, *, actor: str, reason: str | None = None
) -> Tenant:
    """End the pause; what waited goes out within the limits. Active already: nothing changes."""
    async with db.transaction(Role.OPERATOR) as tx:
        tenant = await _tenant(tx, slug)
        await lock_tenant(tx, tenant.id)
        if await store.set_tenant_active_if_paused(tx, tenant.id):
            await audit.record(
                tx, tenant.id, actor=actor, act="tenant_resumed", subject=slug, reason=reason
            )
            await set_actor(tx, Role.APP, tenant.id)
            await _end_hold(tx, tenant.id, scope="tenant", reason=TENANT_HOLD)
            await set_actor(tx, Role.OPERATOR)
        return await _tenant(tx, slug)


async def pause_installation(db: Database, *, reason: str, actor: str) -> PauseState:
    """Nothing of anybody is sent from now on."""
    audit.require_reason(reason)
    async with db.transaction(Role.OPERATOR) as tx:
        if await store.set_installation_paused_if_active(tx, actor=actor, reason=reason):
            await audit.record(
                tx,
                None,
                actor=actor,
                act="installation_paused",
                subject="installation",
                reason=reason,
            )
    async for tenant in every_tenant(db):
        async with db.transaction(Role.APP, tenant.id) as tx:
            await lock_tenant(tx, tenant.id)  # also: a resume comes wholly before or wholly after
            await hold_if_installation_paused(tx, tenant.id)
    return PauseState.PAUSED


async def resume_installation(db: Database, *, actor: str, reason: str | None = None) -> PauseState:
    """End everybody's pause, the provider's refusal of the account too; tenants keep their own."""
    async with db.transaction(Role.OPERATOR) as tx:
        if await store.set_installation_active_if_paused(tx):
            await audit.record(
                tx,
                None,
                actor=actor,
                act="installation_resumed",
                subject="installation",
                reason=reason,
            )
    async for tenant in every_tenant(db):
        async with db.transaction(Role.APP, tenant.id) as tx:
            await lock_tenant(tx, tenant.id)
            await close_incidents(tx, tenant.id, "sendgrid", [ACCOUNT_FORBIDDEN])
            await _end_hold(tx, tenant.id, scope="installation", reason=INSTALLATION_HOLD)
    return PauseState.ACTIVE


async def hold_if_installation_paused(tx: Tx, tenant_id: UUID) -> None:
    """Give a tenant the installation's hold while that is paused; for old tenants and new ones."""
    installation = await store.get_installation(tx)
    if installation.state == PauseState.PAUSED:
        detail = {"who": installation.paused_by, "reason": installation.pause_reason}
        hold = SetHold("installation", tenant_id, INSTALLATION_HOLD, detail=detail)
        await open_holds(tx, tenant_id, [hold])


async def _end_hold(tx: Tx, tenant_id: UUID, *, scope: str, reason: str) -> None:
    await pauses.end_holds(tx, tenant_id, scope=scope, subject_id=tenant_id, reasons=[reason])
    await wake(tx, "send_due", tenant_id=tenant_id)
    await wake(tx, "fire_timers", tenant_id=tenant_id)


async def every_tenant(db: Database) -> AsyncIterator[Tenant]:
    """All tenants by slug, a page at a time; those made meanwhile may be missed."""
    after = ""
    while True:
        async with db.transaction(Role.OPERATOR) as tx:
            page = await store.list_tenants(tx, after=after, rows_max=PAGE_ROWS)
        for tenant in page:
            yield tenant
        if len(page) < PAGE_ROWS:
            return
        after = page[-1].slug


async def _tenant(tx: Tx, slug: str) -> Tenant:
    tenant = await store.find_tenant(tx, slug)
    if tenant is None:
        raise NotFound("tenant", slug)
    return tenant
