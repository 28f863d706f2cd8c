"""Rows of `enrollments` with what depends on them: their open step, their history, their moves."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from outreach import sql
from outreach.core.states import ActionKind, EnrollmentState
from outreach.sql import Tx

SQL = sql.load(__file__)

HISTORY_EVENTS_MAX = 50


@dataclass(frozen=True, slots=True)
class StandingRow:
    """One enrollment as stored, joined with what its next step depends on."""

    enrollment_id: UUID
    campaign_id: UUID
    contact_id: UUID
    sender_id: UUID
    plan_version: int
    state: str
    current_node_id: str | None
    visits: dict[str, int]
    entered_at: datetime | None
    came_by: str | None
    latest_message_id: UUID | None
    message_node_id: str | None
    accepted_at: datetime | None
    previous: dict[str, Any] | None
    campaign_state: str
    contact_zone: str | None
    step_action_state: str | None
    is_step_attempted: bool


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One stored event of a message."""

    message_id: UUID
    provider_event_id: str
    event_type: str
    event_at: datetime
    is_machine: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class StepTakenRow:
    """One step of an enrollment's history."""

    enrollment_id: UUID
    from_node_id: str | None
    to_node_id: str | None
    trigger: str | None
    code: str
    event_id: str | None
    created_at: datetime
    sent_at: datetime | None  # of the enrollment's latest message


@dataclass(frozen=True, slots=True)
class Move:
    """What an enrollment becomes; `end_reason` exactly for the three ends."""

    enrollment_id: UUID
    state: EnrollmentState
    node_id: str
    visits: str  # JSON
    entered_at: datetime
    came_by: str | None
    accepted_at: datetime | None
    latest_message_id: UUID | None
    message_node_id: str | None
    previous: str | None  # JSON
    end_reason: str | None


@dataclass(frozen=True, slots=True)
class NewAction:
    """A send or a timer for the timetable."""

    enrollment_id: UUID
    campaign_id: UUID
    sender_id: UUID
    node_id: str
    visit: int
    kind: ActionKind
    trigger: str | None
    due_at: datetime


@dataclass(frozen=True, slots=True)
class NewStep:
    """One row of the history of steps."""

    id: UUID
    enrollment_id: UUID
    from_node_id: str | None
    to_node_id: str | None
    visit: int
    trigger: str | None
    code: str
    reason: str | None
    event_id: str | None
    at: datetime


async def lock_enrollments(
    tx: Tx, tenant_id: UUID, ids: Collection[UUID], *, skip_locked: bool = False
) -> list[UUID]:
    """Hold the enrollments' rows to the transaction's end; those that exist (and were free)."""
    query = SQL["lock_free_enrollments" if skip_locked else "lock_enrollments"]
    params = {"tenant_id": tenant_id, "ids": list(ids)}
    cursor = await tx.execute(query, params)
    return [row[0] for row in await cursor.fetchall()]


async def list_standings(tx: Tx, tenant_id: UUID, ids: Collection[UUID]) -> list[StandingRow]:
    """The enrollments among `ids`, in no order."""
    return await sql.fetch_planned(
        tx, SQL["list_standings"], StandingRow, tenant_id=tenant_id, ids=list(ids)
    )


async def list_history(tx: Tx, tenant_id: UUID, message_ids: Collection[UUID]) -> list[HistoryRow]:
    """The events that may matter to a plan, oldest first within each message."""
    return await sql.fetch_planned(
        tx,
        SQL["list_history"],
        HistoryRow,
        tenant_id=tenant_id,
        message_ids=list(message_ids),
        events_max=HISTORY_EVENTS_MAX,
    )


async def list_steps(
    tx: Tx, tenant_id: UUID, enrollment_ids: Collection[UUID]
) -> list[StepTakenRow]:
    """Every step that these enrollments have taken, each one's in order."""
    return await sql.fetch_planned(
        tx, SQL["list_steps"], StepTakenRow, tenant_id=tenant_id, ids=list(enrollment_ids)
    )


async def move_enrollments(tx: Tx, tenant_id: UUID, moves: Sequence[Move]) -> int:
    """Write where they stand now; the number of those that had not ended."""
    return await sql.execute_planned(
        tx,
        SQL["move_enrollments"],
        tenant_id=tenant_id,
        ids=[move.enrollment_id for move in moves],
        states=[move.state.value for move in moves],
        node_ids=[move.node_id for move in moves],
        visits=[move.visits for move in moves],
        entered_ats=[move.entered_at for move in moves],
        came_bys=[move.came_by for move in moves],
        accepted_ats=[move.accepted_at for move in moves],
        message_ids=[move.latest_message_id for move in moves],
        message_node_ids=[move.message_node_id for move in moves],
        previous=[move.previous for move in moves],
        end_reasons=[move.end_reason for move in moves],
    )


async def cancel_actions(tx: Tx, tenant_id: UUID, enrollment_ids: Collection[UUID]) -> None:
    """Take back everything pending of these enrollments, whose rows the caller holds."""
    await sql.execute_planned(
        tx, SQL["cancel_actions"], tenant_id=tenant_id, enrollment_ids=list(enrollment_ids)
    )


async def insert_actions(tx: Tx, tenant_id: UUID, actions: Sequence[NewAction]) -> None:
    """Put them on the timetable."""
    await sql.execute(
        tx,
        SQL["insert_actions"],
        tenant_id=tenant_id,
        enrollment_ids=[action.enrollment_id for action in actions],
        campaign_ids=[action.campaign_id for action in actions],
        sender_ids=[action.sender_id for action in actions],
        node_ids=[action.node_id for action in actions],
        visits=[action.visit for action in actions],
        kinds=[action.kind.value for action in actions],
        triggers=[action.trigger for action in actions],
        due_ats=[action.due_at for action in actions],
    )


async def insert_steps(tx: Tx, tenant_id: UUID, steps: Sequence[NewStep]) -> None:
    """Add them to the histories."""
    await sql.execute(
        tx,
        SQL["insert_steps"],
        tenant_id=tenant_id,
        ids=[step.id for step in steps],
        enrollment_ids=[step.enrollment_id for step in steps],
        from_node_ids=[step.from_node_id for step in steps],
        to_node_ids=[step.to_node_id for step in steps],
        visits=[step.visit for step in steps],
        triggers=[step.trigger for step in steps],
        codes=[step.code for step in steps],
        reasons=[step.reason for step in steps],
        event_ids=[step.event_id for step in steps],
        ats=[step.at for step in steps],
    )


async def complete_campaigns(tx: Tx, tenant_id: UUID, campaign_ids: Collection[UUID]) -> int:
    """Mark those completed whose last live enrollment has ended; how many that were.

    Exact under concurrency: whoever ends the last one sees it, whatever the order of commits.
    """
    params = {"tenant_id": tenant_id, "ids": sorted(campaign_ids)}
    cursor = await tx.execute(SQL["lock_ending_campaigns"], params)
    ending = [row[0] for row in await cursor.fetchall()]
    if not ending:
        return 0
    return await sql.execute_planned(tx, SQL["complete_campaigns"], tenant_id=tenant_id, ids=ending)
