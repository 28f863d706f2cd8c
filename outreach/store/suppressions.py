"""Rows of `suppressions`, and the flag of them on `contacts`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outreach import sql
from outreach.core.states import SuppressionReason
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class SuppressionEntry:
    """What to add: an address, or a domain written `@example.com`, and why.

    `source` is who or what brought it (an event's id, `import`), `by` who answers for it.
    """

    value: str
    reason: SuppressionReason
    source: str
    note: str | None = None
    by: str = "system"


@dataclass(frozen=True, slots=True)
class Suppression:
    """A stored one, as people see it."""

    id: UUID
    value: str
    reason: str
    source: str
    note: str | None
    created_at: datetime
    created_by: str
    lifted_at: datetime | None
    lifted_by: str | None
    lift_reason: str | None


@dataclass(frozen=True, slots=True)
class InForce:
    """One in force, as it is exported."""

    value: str
    value_key: str
    reason: str
    source: str
    note: str | None
    created_at: datetime
    created_by: str


async def share_suppressions(tx: Tx, tenant_id: UUID) -> None:
    """Announce additions: whoever must know all of them waits for our commit."""
    await sql.execute(tx, SQL["share_suppressions"], tenant_id=tenant_id)


async def lock_suppressions(tx: Tx, tenant_id: UUID) -> None:
    """Wait until nobody is adding, and keep it so to the transaction's end."""
    await sql.execute(tx, SQL["lock_suppressions"], tenant_id=tenant_id)


async def insert_suppressions(tx: Tx, tenant_id: UUID, entries: Sequence[SuppressionEntry]) -> int:
    """Add them; the number that were not in force before."""
    added: int = await sql.value(
        tx,
        SQL["insert_suppressions"],
        tenant_id=tenant_id,
        entry_values=[entry.value for entry in entries],
        reasons=[entry.reason.value for entry in entries],
        sources=[entry.source for entry in entries],
        notes=[entry.note for entry in entries],
        actors=[entry.by for entry in entries],
    )
    return added


async def lift_suppressions(
    tx: Tx,
    tenant_id: UUID,
    value: str,
    *,
    reason: SuppressionReason | None,
    lifted_by: str,
    lift_reason: str | None,
) -> list[str]:
    """End what is in force for `value`; the reasons that ended."""
    cursor = await tx.execute(
        SQL["lift_suppressions"],
        {
            "tenant_id": tenant_id,
            "value": value,
            "reason": None if reason is None else reason.value,
            "lifted_by": lifted_by,
            "lift_reason": lift_reason,
        },
    )
    return [ended for (ended,) in await cursor.fetchall()]


async def refresh_contact_flags(tx: Tx, tenant_id: UUID, addresses: Sequence[str]) -> int:
    """Set the flag of these addresses' contacts right; the number of contacts that changed."""
    return await sql.execute(
        tx, SQL["refresh_contact_flags"], tenant_id=tenant_id, addresses=list(addresses)
    )


async def list_suppressions(
    tx: Tx, tenant_id: UUID, *, value: str | None, with_lifted: bool, rows_max: int
) -> list[Suppression]:
    """The first `rows_max` by value."""
    return await sql.fetch_all(
        tx,
        SQL["list_suppressions"],
        Suppression,
        tenant_id=tenant_id,
        value=value,
        with_lifted=with_lifted,
        rows_max=rows_max,
    )


async def list_suppressions_in_force(
    tx: Tx, tenant_id: UUID, *, after: InForce | None, rows_max: int
) -> list[InForce]:
    """The page after one, by value and reason."""
    return await sql.fetch_all(
        tx,
        SQL["list_suppressions_in_force"],
        InForce,
        tenant_id=tenant_id,
        after_key="" if after is None else after.value_key,
        after_reason="" if after is None else after.reason,
        rows_max=rows_max,
    )
