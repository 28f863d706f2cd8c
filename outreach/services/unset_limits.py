"""Limits taken back: a rule is gone, and the wider rule or the default holds again.

The opposite of a rule is no rule. `--off` is one: it says that nothing binds.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from outreach.core.limits import Scope
from outreach.db import Database, Role, lock_tenant
from outreach.services import audit
from outreach.services.limits import as_audited, find_key, look_again_everywhere, note_change
from outreach.store import limits as store
from outreach.store.limits import LimitRow


async def unset_for_tenant(
    db: Database, tenant_id: UUID, scope: Scope, *, name: str = "", actor: str
) -> LimitRow | None:
    """Take back the rule of one sender, pool or domain, or without a name that of all of them.

    Returns the rule as it was; None, and nothing changed, when none was set. Raises Invalid,
    NotFound for an unknown sender or pool.
    """
    assert scope is not Scope.INSTALLATION, "that one belongs to no tenant"
    async with db.transaction(Role.APP, tenant_id) as tx:
        key, shown = await find_key(tx, tenant_id, scope, name)
        await lock_tenant(tx, tenant_id)
        row = await store.unset_limit(tx, tenant_id, scope.value, key)
        if row is None:
            return None
        return await note_change(
            tx, tenant_id, "limits_unset", replace(row, key=shown), actor=actor
        )


async def unset_for_installation(db: Database, *, actor: str) -> LimitRow | None:
    """Take back what is set for all tenants; what that was, or None when nothing was set."""
    async with db.transaction(Role.OPERATOR) as tx:
        row = await store.unset_installation_limit(tx)
        if row is None:
            return None
        await audit.record(
            tx,
            None,
            actor=actor,
            act="limits_unset",
            subject="installation",
            limits=as_audited(row),
        )
    await look_again_everywhere(db)
    return row
