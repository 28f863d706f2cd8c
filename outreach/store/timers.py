"""Timeouts of `scheduled_actions`: due, parked, done."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outreach import sql
from outreach.core.states import ActionState
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class DueTimer:
    """A timer that is due, before its enrollment is locked."""

    id: UUID
    enrollment_id: UUID


@dataclass(frozen=True, slots=True)
class TimerRow:
    """A timer whose enrollment the transaction holds."""

    id: UUID
    enrollment_id: UUID
    node_id: str
    visit: int
    trigger: str
    due_at: datetime


async def is_running(tx: Tx, tenant_id: UUID) -> bool:
    """Whether neither the tenant nor the installation is paused."""
    return await sql.value(tx, SQL["is_running"], tenant_id=tenant_id) is True


async def list_due_timers(
    tx: Tx, tenant_id: UUID, *, unheard_seconds: float, rows_max: int
) -> list[DueTimer]:
    """The oldest that are due and not held; none while a delivery waits for longer than this."""
    return await sql.fetch_all(
        tx,
        SQL["list_due_timers"],
        DueTimer,
        tenant_id=tenant_id,
        unheard_seconds=unheard_seconds,
        rows_max=rows_max,
    )


async def list_timers(
    tx: Tx, tenant_id: UUID, ids: Collection[UUID], enrollment_ids: Collection[UUID]
) -> list[TimerRow]:
    """Of these timers the earliest of each of these enrollments that is still pending."""
    return await sql.fetch_planned(
        tx,
        SQL["list_timers"],
        TimerRow,
        tenant_id=tenant_id,
        ids=list(ids),
        enrollment_ids=list(enrollment_ids),
    )


async def share_paused_campaigns(tx: Tx, tenant_id: UUID, ids: Collection[UUID]) -> set[UUID]:
    """Those that are paused and stay so until the transaction ends."""
    params = {"tenant_id": tenant_id, "ids": list(ids)}
    cursor = await tx.execute(SQL["share_paused_campaigns"], params)
    return {row[0] for row in await cursor.fetchall()}


async def park_timers(tx: Tx, tenant_id: UUID, held_by: Mapping[UUID, str]) -> None:
    """Take them out of what comes due."""
    await sql.execute_planned(
        tx,
        SQL["park_timers"],
        tenant_id=tenant_id,
        ids=list(held_by),
        held_bys=list(held_by.values()),
    )


async def close_timers(tx: Tx, tenant_id: UUID, states: Mapping[UUID, ActionState]) -> None:
    """Write that they have fired, or never will."""
    await sql.execute_planned(
        tx,
        SQL["close_timers"],
        tenant_id=tenant_id,
        ids=list(states),
        states=[state.value for state in states.values()],
    )
