"""Rows of `message_events` and `unmatched_events`, and what events do to their messages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from outreach import sql
from outreach.core.states import AttemptOutcome, Delivery, EventType
from outreach.sql import Tx
from outreach.store.reputation import SenderOutcomes

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class Reference:
    """One way to find the message of the event at `place` of a list."""

    place: int
    tenant_id: UUID | None
    message_id: UUID | None
    provider_id: str | None


@dataclass(frozen=True, slots=True)
class Owner:
    """A message that a reference leads to."""

    ref: int
    tenant_id: UUID
    message_id: UUID
    enrollment_id: UUID


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event of a known message, to be stored once."""

    provider: str
    id: str
    message_id: UUID
    enrollment_id: UUID
    type: EventType
    at: datetime
    is_machine: bool
    attempt: int | None
    reason: str | None
    detail: Mapping[str, str | int]
    machine_reason: str | None = None  # of a machine's


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One attempt at a message."""

    message_id: UUID
    attempt: int
    outcome: str


@dataclass(frozen=True, slots=True)
class Engagement:
    """A delivery, an open or a click, as far as a verdict on opens and clicks needs it."""

    id: UUID
    event_id: str
    message_id: UUID
    type: str
    at: datetime
    reason: str | None  # why it is marked as a machine's
    agent: str | None
    url: str | None


@dataclass(frozen=True, slots=True)
class Address:
    """Where a message went."""

    message_id: UUID
    address: str


@dataclass(frozen=True, slots=True)
class Unmatched:
    """An event that belongs to nobody, and why; `payload` is JSON."""

    provider: str
    id: str
    reason: str
    payload: str
    delivery_id: UUID | None


@dataclass(frozen=True, slots=True)
class OpenUnmatched:
    """One of them that may have found its message by now."""

    id: UUID
    provider: str
    provider_event_id: str
    payload: Any
    delivery_id: UUID | None
    received_at: datetime


async def resolve_messages(tx: Tx, references: Sequence[Reference]) -> list[Owner]:
    """The messages that the references lead to, whoever's they are."""
    return await sql.fetch_all(
        tx,
        SQL["resolve_messages"],
        Owner,
        refs=[reference.place for reference in references],
        tenant_ids=[reference.tenant_id for reference in references],
        message_ids=[reference.message_id for reference in references],
        provider_ids=[reference.provider_id for reference in references],
    )


async def tenants_of_messages(tx: Tx, message_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """The tenant of each message that exists."""
    params = {"message_ids": list(message_ids)}
    cursor = await tx.execute(SQL["tenants_of_messages"], params)
    return dict(await cursor.fetchall())


async def insert_events(
    tx: Tx, tenant_id: UUID, events: Sequence[NewEvent]
) -> set[tuple[str, str]]:
    """Store those that are not stored yet; their providers and ids. None may occur twice."""
    cursor = await tx.execute(
        SQL["insert_events"],
        {
            "tenant_id": tenant_id,
            "providers": [event.provider for event in events],
            "event_ids": [event.id for event in events],
            "message_ids": [event.message_id for event in events],
            "enrollment_ids": [event.enrollment_id for event in events],
            "types": [event.type.value for event in events],
            "ats": [event.at for event in events],
            "machines": [event.is_machine for event in events],
            "machine_reasons": [event.machine_reason for event in events],
            "attempts": [event.attempt for event in events],
            "reasons": [event.reason for event in events],
            "details": Jsonb([event.detail for event in events]),
        },
    )
    return {(provider, event_id) for provider, event_id in await cursor.fetchall()}


async def list_engagement(
    tx: Tx, tenant_id: UUID, message_ids: Collection[UUID], since: datetime, until: datetime
) -> list[Engagement]:
    """Deliveries, opens and clicks of these messages in a period, where there is one of the latter.

    In no order.
    """
    return await sql.fetch_planned(
        tx,
        SQL["list_engagement"],
        Engagement,
        tenant_id=tenant_id,
        message_ids=list(message_ids),
        since=since,
        until=until,
    )


async def set_grades(
    tx: Tx, tenant_id: UUID, grades: Sequence[tuple[Engagement, str | None]]
) -> None:
    """Mark each as a machine's for that reason, or as a person's."""
    await sql.execute_planned(
        tx,
        SQL["set_grades"],
        tenant_id=tenant_id,
        ids=[event.id for event, _ in grades],
        ats=[event.at for event, _ in grades],
        reasons=[reason for _, reason in grades],
    )


async def list_attempts(
    tx: Tx, tenant_id: UUID, message_ids: Collection[UUID]
) -> dict[UUID, dict[int, AttemptOutcome]]:
    """What became of every attempt at these messages, by message and number."""
    rows = await sql.fetch_planned(
        tx, SQL["list_attempts"], AttemptRow, tenant_id=tenant_id, message_ids=list(message_ids)
    )
    found: dict[UUID, dict[int, AttemptOutcome]] = {}
    for row in rows:
        found.setdefault(row.message_id, {})[row.attempt] = AttemptOutcome(row.outcome)
    return found


async def raise_deliveries(
    tx: Tx, tenant_id: UUID, deliveries: Mapping[UUID, Delivery]
) -> list[SenderOutcomes]:
    """Raise what became of each message; a lower rank changes nothing. What that is by sender."""
    return await sql.fetch_planned(
        tx,
        SQL["raise_deliveries"],
        SenderOutcomes,
        tenant_id=tenant_id,
        message_ids=list(deliveries),
        deliveries=[delivery.value for delivery in deliveries.values()],
    )


async def list_addresses(tx: Tx, tenant_id: UUID, message_ids: Collection[UUID]) -> dict[UUID, str]:
    """To which address each message went."""
    rows = await sql.fetch_planned(
        tx, SQL["list_addresses"], Address, tenant_id=tenant_id, message_ids=list(message_ids)
    )
    return {row.message_id: row.address for row in rows}


async def insert_unmatched(tx: Tx, events: Sequence[Unmatched]) -> set[tuple[str, str]]:
    """Keep those that are not kept yet; their providers and ids."""
    cursor = await tx.execute(
        SQL["insert_unmatched"],
        {
            "providers": [event.provider for event in events],
            "event_ids": [event.id for event in events],
            "reasons": [event.reason for event in events],
            "payloads": [event.payload for event in events],
            "delivery_ids": [event.delivery_id for event in events],
        },
    )
    return {(provider, event_id) for provider, event_id in await cursor.fetchall()}


async def claim_unmatched(tx: Tx, *, rows_max: int) -> list[OpenUnmatched]:
    """Those whose message may be looked for again, held to the transaction's end."""
    return await sql.fetch_all(tx, SQL["claim_unmatched"], OpenUnmatched, rows_max=rows_max)


async def close_unmatched(tx: Tx, adopted: Mapping[UUID, bool]) -> None:
    """Mark the adopted, put off the others."""
    await sql.execute(tx, SQL["close_unmatched"], ids=list(adopted), adopted=list(adopted.values()))
