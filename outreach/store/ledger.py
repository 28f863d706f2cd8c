"""The ledger after the provider has, or has not, answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outreach import sql
from outreach.core.states import ActionState, AttemptOutcome, MessageState
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class LockedMessage:
    """A message and the attempt that an outcome is about."""

    message_id: UUID
    attempt: int
    attempt_outcome: AttemptOutcome
    armed_at: datetime
    enrollment_id: UUID
    sender_id: UUID
    action_id: UUID
    node_id: str
    visit: int
    to_domain: str
    counted_attempts: int
    now: datetime  # of the transaction


@dataclass(frozen=True, slots=True)
class Settlement:
    """What one attempt came to, and what follows for its message and action."""

    message_id: UUID
    attempt: int
    outcome: AttemptOutcome
    http_status: int | None
    detail: str | None
    settled_by: str
    state: MessageState
    provider_id: str | None
    at: datetime
    count: int
    wake_at: datetime | None
    failure_code: str | None
    action_state: ActionState
    due_at: datetime | None
    is_step_current: bool  # the enrollment stands where this message was sent


@dataclass(frozen=True, slots=True)
class MessageTimer:
    """A timer that begins with the acceptance of a message."""

    enrollment_id: UUID
    message_id: UUID
    node_id: str
    visit: int
    trigger: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class OverdueAttempt:
    """An attempt that nobody has answered for."""

    tenant_id: UUID
    message_id: UUID
    attempt: int


@dataclass(slots=True)  # frozen takes ten times as long to make
class Acceptance:
    """A message that the provider took, at the step where it was claimed."""

    message_id: UUID
    attempt: int
    enrollment_id: UUID
    node_id: str
    visit: int
    plan_version: int
    http_status: int | None
    provider_id: str | None
    course: int  # which of the courses of timers begins


@dataclass(frozen=True, slots=True)
class CourseTimer:
    """A timer that begins for every message of a course."""

    course: int
    trigger: str
    due_at: datetime


async def settle_accepted(
    tx: Tx, tenant_id: UUID, items: Sequence[Acceptance], timers: Sequence[CourseTimer]
) -> set[UUID]:
    """Settle what needs nothing but timers; the messages for which that was so."""
    cursor = await tx.execute(
        SQL["settle_accepted"],
        {
            "tenant_id": tenant_id,
            "message_ids": [i.message_id for i in items],
            "attempts": [i.attempt for i in items],
            "enrollment_ids": [i.enrollment_id for i in items],
            "node_ids": [i.node_id for i in items],
            "visits": [i.visit for i in items],
            "plan_versions": [i.plan_version for i in items],
            "statuses": [i.http_status for i in items],
            "provider_ids": [i.provider_id for i in items],
            "courses": [i.course for i in items],
            "timer_courses": [t.course for t in timers],
            "timer_triggers": [t.trigger for t in timers],
            "timer_due_ats": [t.due_at for t in timers],
        },
    )
    return {row[0] for row in await cursor.fetchall()}


async def lock_messages(
    tx: Tx, tenant_id: UUID, attempts: Sequence[tuple[UUID, int]]
) -> list[LockedMessage]:
    """Lock the messages of (message, attempt) pairs in id order; unknown pairs are left out."""
    return await sql.fetch_all(
        tx,
        SQL["lock_messages"],
        LockedMessage,
        tenant_id=tenant_id,
        message_ids=[message_id for message_id, _ in attempts],
        attempts=[attempt for _, attempt in attempts],
    )


async def settle_attempts(
    tx: Tx, tenant_id: UUID, items: Sequence[Settlement], timers: Sequence[MessageTimer]
) -> None:
    """Write outcomes and start timers; an attempt that is settled already stays as it is."""
    await tx.execute(
        SQL["settle_attempts"],
        {
            "tenant_id": tenant_id,
            "message_ids": [i.message_id for i in items],
            "attempts": [i.attempt for i in items],
            "outcomes": [i.outcome.value for i in items],
            "statuses": [i.http_status for i in items],
            "details": [i.detail for i in items],
            "settled_bys": [i.settled_by for i in items],
            "states": [i.state.value for i in items],
            "provider_ids": [i.provider_id for i in items],
            "ats": [i.at for i in items],
            "counts": [i.count for i in items],
            "wake_ats": [i.wake_at for i in items],
            "failure_codes": [i.failure_code for i in items],
            "action_states": [i.action_state.value for i in items],
            "due_ats": [i.due_at for i in items],
            "currents": [i.is_step_current for i in items],
            "timer_enrollment_ids": [t.enrollment_id for t in timers],
            "timer_message_ids": [t.message_id for t in timers],
            "timer_node_ids": [t.node_id for t in timers],
            "timer_visits": [t.visit for t in timers],
            "timer_triggers": [t.trigger for t in timers],
            "timer_due_ats": [t.due_at for t in timers],
        },
    )


async def set_provider_ids(tx: Tx, tenant_id: UUID, provider_ids: Mapping[UUID, str]) -> int:
    """Give messages the provider's own ids of them; how many had another, or none."""
    return await sql.execute(
        tx,
        SQL["set_provider_ids"],
        tenant_id=tenant_id,
        message_ids=list(provider_ids),
        provider_ids=list(provider_ids.values()),
    )


async def pause_provider(tx: Tx, reason: str) -> bool:
    """Stop all sending through the account; False when it was stopped already."""
    return await sql.execute(tx, SQL["pause_provider"], reason=reason) > 0


async def delay_provider(tx: Tx, until: datetime) -> None:
    """Nobody sends before `until`."""
    await sql.execute(tx, SQL["delay_provider"], until=until)


async def resume_provider(tx: Tx) -> None:
    """The provider answers again."""
    await sql.execute(tx, SQL["resume_provider"])


async def pause_senders(tx: Tx, tenant_id: UUID, sender_ids: Sequence[UUID], reason: str) -> int:
    """Stop sending as these identities; how many were not stopped before."""
    return await sql.execute(
        tx, SQL["pause_senders"], tenant_id=tenant_id, sender_ids=list(sender_ids), reason=reason
    )


async def list_overdue_attempts(
    tx: Tx, *, grace_seconds: float, rows_max: int
) -> list[OverdueAttempt]:
    """Attempts of every tenant that are past their deadline."""
    return await sql.fetch_all(
        tx,
        SQL["list_overdue_attempts"],
        OverdueAttempt,
        grace_seconds=grace_seconds,
        rows_max=rows_max,
    )


async def list_attempt_enrollments(
    tx: Tx, tenant_id: UUID, message_ids: Sequence[UUID]
) -> dict[UUID, UUID]:
    """The enrollment of each message that exists."""
    cursor = await tx.execute(
        SQL["list_attempt_enrollments"], {"tenant_id": tenant_id, "message_ids": list(message_ids)}
    )
    return dict(await cursor.fetchall())
