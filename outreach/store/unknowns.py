"""Attempts of unknown outcome, the evidence about attempts, and the budget of questions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.types.json import Jsonb

from outreach import sql
from outreach.core.states import MessageState, UnknownPolicy
from outreach.sql import Tx

SQL = sql.load(__file__)

SENDS_MAX = 1_000  # of which the account's facts are a count


@dataclass(frozen=True, slots=True)
class UnknownAttempt:
    """An attempt to be looked at."""

    tenant_id: UUID
    message_id: UUID
    attempt: int
    to_address: str
    armed_at: datetime
    deadline_at: datetime
    policy: str  # UnknownPolicy
    looked_at: datetime | None  # when the provider's logs last had nothing of it
    now: datetime  # of the transaction

    @property
    def campaign_policy(self) -> UnknownPolicy:
        return UnknownPolicy(self.policy)


@dataclass(frozen=True, slots=True)
class FactsRow:
    """How the account fared before and after a moment (`core.unknowns.AccountFacts`)."""

    since: datetime
    accepted_after: int
    told_after: int
    accepted_before: int
    told_before: int
    webhooks_late: int
    webhooks_quarantined: int
    waiting_since: datetime | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What somebody says of an attempt."""

    message_id: UUID
    attempt: int
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contested:
    """An attempt recorded as refused that was accepted, as somebody said, and since when."""

    message_id: UUID
    attempt: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Abandoned:
    """A message that was given up, and the step that it belongs to."""

    message_id: UUID
    enrollment_id: UUID
    action_id: UUID
    node_id: str
    visit: int


async def list_unknowns_due(tx: Tx, *, rows_max: int) -> list[UnknownAttempt]:
    """Attempts over all tenants to be looked at now, oldest first."""
    return await sql.fetch_all(tx, SQL["list_unknowns_due"], UnknownAttempt, rows_max=rows_max)


async def list_account_facts(
    tx: Tx,
    sinces: Collection[datetime],
    *,
    event_patience: timedelta,
    webhook_patience: timedelta,
) -> list[FactsRow]:
    """How the account fared before and after each moment."""
    return await sql.fetch_planned(
        tx,
        SQL["list_account_facts"],
        FactsRow,
        sinces=list(sinces),
        event_patience=event_patience,
        webhook_patience=webhook_patience,
        sends_max=SENDS_MAX,
    )


async def take_log_slots(tx: Tx, wanted: int, *, window_seconds: float) -> int:
    """How many questions to the provider's logs may be asked now, at most `wanted`."""
    query = SQL["take_log_slots"]
    return await sql.execute(tx, query, wanted=wanted, window_seconds=window_seconds)


async def insert_evidence(
    tx: Tx, tenant_id: UUID, source: str, says: str, items: Sequence[Evidence]
) -> None:
    """Keep what `source` says of these attempts, each named once; a repeat counts."""
    await sql.execute(
        tx,
        SQL["insert_evidence"],
        tenant_id=tenant_id,
        source=source,
        says=says,
        message_ids=[item.message_id for item in items],
        attempts=[item.attempt for item in items],
        details=[Jsonb(dict(item.detail)) for item in items],
    )


async def list_contested(tx: Tx, tenant_id: UUID, message_ids: Collection[UUID]) -> list[Contested]:
    """Attempts of these messages that were refused, and accepted as somebody said."""
    return await sql.fetch_all(
        tx, SQL["list_contested"], Contested, tenant_id=tenant_id, message_ids=list(message_ids)
    )


async def set_next_looks(tx: Tx, tenant_id: UUID, looks: Mapping[UUID, datetime]) -> None:
    """When each message that is still unknown is looked at again."""
    await sql.execute(
        tx,
        SQL["set_next_looks"],
        tenant_id=tenant_id,
        message_ids=list(looks),
        ats=list(looks.values()),
    )


async def lock_unknowns(
    tx: Tx, tenant_id: UUID, message_ids: Collection[UUID], states: Collection[MessageState]
) -> set[UUID]:
    """Hold those of the messages that are in one of these states; the enrollments are held."""
    cursor = await tx.execute(
        SQL["lock_unknowns"],
        {
            "tenant_id": tenant_id,
            "message_ids": list(message_ids),
            "states": [state.value for state in states],
        },
    )
    return {row[0] for row in await cursor.fetchall()}


async def abandon_messages(
    tx: Tx, tenant_id: UUID, message_ids: Collection[UUID]
) -> list[Abandoned]:
    """Give up those that are still unknown; which they were."""
    return await sql.fetch_all(
        tx, SQL["abandon_messages"], Abandoned, tenant_id=tenant_id, message_ids=list(message_ids)
    )
