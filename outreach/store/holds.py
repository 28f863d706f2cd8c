"""Noes: of one action, and of a whole set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from psycopg.types.json import Jsonb

from outreach import sql
from outreach.core.states import Verdict
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class No:
    """A hold or a refusal of one action."""

    enrollment_id: UUID
    action_id: UUID
    verdict: Verdict
    reason: str
    until: datetime | None = None
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SetHold:
    """A hold of everything in a set; `scope` is installation, tenant, campaign or sender."""

    scope: str
    subject_id: UUID
    reason: str
    until: datetime | None = None
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Postponement:
    """When an action is due again, or what holds it."""

    action_id: UUID
    due_at: datetime | None = None
    held_by: str | None = None


async def insert_refusals(tx: Tx, tenant_id: UUID, noes: Sequence[No]) -> int:
    """Write the noes that are news; how many were."""
    return await sql.execute(
        tx,
        SQL["insert_refusals"],
        tenant_id=tenant_id,
        enrollment_ids=[no.enrollment_id for no in noes],
        action_ids=[no.action_id for no in noes],
        verdicts=[no.verdict.value for no in noes],
        reasons=[no.reason for no in noes],
        details=[Jsonb(dict(no.detail)) for no in noes],
        untils=[no.until for no in noes],
    )


async def postpone_actions(tx: Tx, tenant_id: UUID, items: Sequence[Postponement]) -> int:
    """Make pending actions due later, or hold them."""
    return await sql.execute(
        tx,
        SQL["postpone_actions"],
        tenant_id=tenant_id,
        action_ids=[item.action_id for item in items],
        due_ats=[item.due_at for item in items],
        held_bys=[item.held_by for item in items],
    )


async def cancel_actions(tx: Tx, tenant_id: UUID, action_ids: Sequence[UUID]) -> None:
    """Cancel pending actions; a message that waited for another try at one fails."""
    await sql.execute(tx, SQL["cancel_actions"], tenant_id=tenant_id, action_ids=list(action_ids))


async def open_holds(tx: Tx, tenant_id: UUID, holds: Sequence[SetHold]) -> int:
    """Begin holds, or move the end of those in force; each (scope, subject, reason) once."""
    return await sql.execute(
        tx,
        SQL["open_holds"],
        tenant_id=tenant_id,
        scopes=[hold.scope for hold in holds],
        subject_ids=[hold.subject_id for hold in holds],
        reasons=[hold.reason for hold in holds],
        details=[Jsonb(dict(hold.detail)) for hold in holds],
        untils=[hold.until for hold in holds],
    )


async def end_limit_holds(tx: Tx, tenant_id: UUID, sets: Sequence[tuple[str, UUID]]) -> int:
    """End the holds by limits of (scope, subject) pairs."""
    return await sql.execute(
        tx,
        SQL["end_limit_holds"],
        tenant_id=tenant_id,
        scopes=[scope for scope, _ in sets],
        subject_ids=[subject for _, subject in sets],
    )


async def park_tenant(tx: Tx, tenant_id: UUID, until: datetime | None) -> int:
    """Tell the sweep to leave the tenant alone until then."""
    return await sql.execute(tx, SQL["park_tenant"], tenant_id=tenant_id, until=until)
