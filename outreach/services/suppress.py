"""Suppressing: from the commit on, nothing is sent to that address or domain.

An address's contact carries the fact in its own row, which a claim locks before it reads it; a
domain is carried by no single row, so adding one takes the tenant's lock, as a claim does.
Adders share a lock that lifts and imports take alone: neither can decide from a list to which
somebody is just adding.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from uuid import UUID

from outreach.core.address import normalize_suppression
from outreach.core.errors import NotFound
from outreach.core.states import SuppressionReason
from outreach.db import Database, Role, lock_tenant
from outreach.services import audit
from outreach.sql import Tx
from outreach.store import suppressions as store
from outreach.store.suppressions import InForce, Suppression, SuppressionEntry

__all__ = ["SuppressionEntry", "add", "lift", "list_all", "suppress"]

PAGE_ROWS = 5_000


async def suppress(tx: Tx, tenant_id: UUID, entries: Sequence[SuppressionEntry]) -> int:
    """Add entries in the caller's transaction; the number that were not in force before.

    Idempotent. Raises Invalid for a value that is neither an address nor an @domain. Locks: with a
    domain among them the tenant's, then the list's (shared), then contacts in id order.
    """
    if not entries:
        return 0
    normal = [replace(entry, value=normalize_suppression(entry.value)) for entry in entries]
    addresses = [entry.value for entry in normal if not entry.value.startswith("@")]
    if len(addresses) < len(normal):
        await lock_tenant(tx, tenant_id)
    await store.share_suppressions(tx, tenant_id)
    added = await store.insert_suppressions(tx, tenant_id, normal)
    if addresses:
        await store.refresh_contact_flags(tx, tenant_id, addresses)
    return added


async def add(
    db: Database, tenant_id: UUID, entries: Sequence[SuppressionEntry], *, actor: str
) -> int:
    """A person's additions, in one transaction with their record."""
    async with db.transaction(Role.APP, tenant_id) as tx:
        added = await suppress(tx, tenant_id, entries)
        if added:
            subject = entries[0].value if len(entries) == 1 else f"{len(entries)} values"
            await audit.record(
                tx,
                tenant_id,
                actor=actor,
                act="suppressions_added",
                subject=subject,
                reason=entries[0].note,
                added=added,
            )
        return added


async def lift(
    db: Database,
    tenant_id: UUID,
    value: str,
    *,
    reason: SuppressionReason | None = None,
    actor: str,
    why: str | None = None,
) -> list[str]:
    """End the suppressions of a value (of one reason, or all); raises NotFound where none is.

    What is in force for it under another reason keeps its contact suppressed.
    """
    normal = normalize_suppression(value)
    async with db.transaction(Role.APP, tenant_id) as tx:
        await store.lock_suppressions(tx, tenant_id)
        lifted = await store.lift_suppressions(
            tx, tenant_id, normal, reason=reason, lifted_by=actor, lift_reason=why
        )
        if not lifted:
            raise NotFound("suppression of", normal)
        if not normal.startswith("@"):
            await store.refresh_contact_flags(tx, tenant_id, [normal])
        await audit.record(
            tx,
            tenant_id,
            actor=actor,
            act="suppression_lifted",
            subject=normal,
            reason=why,
            reasons=lifted,
        )
        return lifted


async def list_all(
    db: Database,
    tenant_id: UUID,
    *,
    value: str | None = None,
    with_lifted: bool = False,
    rows_max: int = 200,
) -> list[Suppression]:
    """The first `rows_max` of the list by value, or what is known of one value."""
    wanted = None if value is None else normalize_suppression(value)
    async with db.transaction(Role.APP, tenant_id) as tx:
        return await store.list_suppressions(
            tx, tenant_id, value=wanted, with_lifted=with_lifted, rows_max=rows_max
        )


async def pages_in_force(db: Database, tenant_id: UUID) -> AsyncIterator[list[InForce]]:
    """Everything in force, a page at a time, each in its own transaction."""
    last: InForce | None = None
    while True:
        async with db.transaction(Role.APP, tenant_id) as tx:
            page = await store.list_suppressions_in_force(
                tx, tenant_id, after=last, rows_max=PAGE_ROWS
            )
        if page:
            yield page
        if len(page) < PAGE_ROWS:
            return
        last = page[-1]
