"""Messages as people look at them: a list of the unsettled, and one with all that is known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from outreach import sql
from outreach.core.states import MessageState
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class UnsettledRow:
    """A message with an attempt of which nobody knows."""

    id: UUID
    state: str  # MessageState
    to_address: str
    campaign: str
    node_id: str
    attempt: int
    armed_at: datetime
    look_at: datetime | None
    policy: str  # UnknownPolicy


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One message."""

    id: UUID
    state: str  # MessageState
    delivery: str  # Delivery
    to_address: str
    subject: str
    campaign: str
    enrollment_id: UUID
    action_id: UUID
    node_id: str
    visit: int
    created_at: datetime
    sent_at: datetime | None
    look_at: datetime | None
    failure_code: str | None
    policy: str  # UnknownPolicy
    unknown_attempt: int | None
    unknown_armed_at: datetime | None
    now: datetime  # of the transaction


@dataclass(frozen=True, slots=True)
class TryRow:
    """One attempt at a message."""

    attempt: int
    outcome: str  # AttemptOutcome
    armed_at: datetime
    settled_at: datetime | None
    settled_by: str | None
    http_status: int | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """What one source said of an attempt."""

    attempt: int
    source: str
    says: str
    times: int
    detail: dict[str, Any]
    at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """An alarm about a message."""

    code: str
    subject: str
    detail: dict[str, Any]
    at: datetime
    closed_at: datetime | None


async def list_unsettled(
    tx: Tx, tenant_id: UUID, state: MessageState, *, rows_max: int
) -> list[UnsettledRow]:
    """Messages in this state with an attempt of unknown outcome, oldest first."""
    return await sql.fetch_all(
        tx,
        SQL["list_unsettled"],
        UnsettledRow,
        tenant_id=tenant_id,
        state=state.value,
        rows_max=rows_max,
    )


async def find_message(tx: Tx, tenant_id: UUID, message_id: UUID) -> MessageRow | None:
    """The message with this id."""
    return await sql.find(tx, SQL["find_message"], MessageRow, tenant_id=tenant_id, id=message_id)


async def list_tries(tx: Tx, tenant_id: UUID, message_id: UUID) -> list[TryRow]:
    """Every attempt at it."""
    return await sql.fetch_all(tx, SQL["list_tries"], TryRow, tenant_id=tenant_id, id=message_id)


async def list_evidence(tx: Tx, tenant_id: UUID, message_id: UUID) -> list[EvidenceRow]:
    """What anybody said of its attempts."""
    return await sql.fetch_all(
        tx, SQL["list_evidence"], EvidenceRow, tenant_id=tenant_id, id=message_id
    )


async def list_message_incidents(tx: Tx, tenant_id: UUID, message_id: UUID) -> list[IncidentRow]:
    """The alarms about it."""
    return await sql.fetch_all(
        tx, SQL["list_message_incidents"], IncidentRow, tenant_id=tenant_id, id=str(message_id)
    )
