"""Events without a message, the steps they may belong to, and ledger rows made anew from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)

# What a row says whose mail's own words were lost with the database.
LOST_WORDS = "The words of this mail were lost with the database."


@dataclass(frozen=True, slots=True)
class StrayRow:
    """A kept event whose message is unknown."""

    id: UUID
    received_at: datetime
    payload: Any


@dataclass(frozen=True, slots=True)
class StepRow:
    """An enrollment of an address."""

    enrollment_id: UUID
    campaign_id: UUID
    plan_version: int
    sender_id: UUID


@dataclass(frozen=True, slots=True)
class DueStep:
    """A send that is due, and whom it is for."""

    enrollment_id: UUID
    sender_id: UUID
    node_id: str
    visit: int
    address: str


@dataclass(frozen=True, slots=True)
class Proven:
    """One mail that an event proves, and the step that it was of."""

    message_id: UUID
    enrollment_id: UUID
    sender_id: UUID
    node_id: str
    visit: int
    dedupe_key: str
    attempt: int
    address: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Intended:
    """What became of a message."""

    id: UUID
    state: str
    sent_at: datetime | None
    failure_code: str | None


@dataclass(frozen=True, slots=True)
class LostTime:
    """Between these moments the database has forgotten."""

    lost_from: datetime | None
    lost_until: datetime


@dataclass(frozen=True, slots=True)
class _Id:
    id: UUID


async def list_strays(
    tx: Tx, *, after_at: datetime, after_id: UUID, rows_max: int
) -> list[StrayRow]:
    """The page after an event, in the order of arrival."""
    return await sql.fetch_all(
        tx, SQL["list_strays"], StrayRow, after_at=after_at, after_id=after_id, rows_max=rows_max
    )


async def find_lost_time(tx: Tx) -> LostTime | None:
    """Of what is held; None while nothing is."""
    return await sql.find(tx, SQL["read_lost_time"], LostTime)


async def list_known_tenants(tx: Tx, ids: Collection[UUID]) -> set[UUID]:
    """Those that are tenants here."""
    rows = await sql.fetch_all(tx, SQL["list_known_tenants"], _Id, ids=list(ids))
    return {row.id for row in rows}


async def list_steps(tx: Tx, tenant_id: UUID, email_keys: Collection[str]) -> list[StepRow]:
    """The enrollments of these addresses."""
    return await sql.fetch_all(
        tx, SQL["list_steps"], StepRow, tenant_id=tenant_id, email_keys=list(email_keys)
    )


async def list_due_steps(tx: Tx, tenant_id: UUID, *, rows_max: int) -> list[DueStep]:
    """Steps that are due and not in the ledger."""
    return await sql.fetch_all(
        tx, SQL["list_due_steps"], DueStep, tenant_id=tenant_id, rows_max=rows_max
    )


async def insert_proven(tx: Tx, tenant_id: UUID, proven: Sequence[Proven]) -> set[UUID]:
    """Make the ledger's rows; the ids of those that are new."""
    rows = await sql.fetch_all(
        tx,
        SQL["insert_proven"],
        _Id,
        tenant_id=tenant_id,
        message_ids=[p.message_id for p in proven],
        enrollment_ids=[p.enrollment_id for p in proven],
        sender_ids=[p.sender_id for p in proven],
        node_ids=[p.node_id for p in proven],
        visits=[p.visit for p in proven],
        dedupe_keys=[p.dedupe_key for p in proven],
        attempts=[p.attempt for p in proven],
        addresses=[p.address for p in proven],
        ats=[p.at for p in proven],
        words=LOST_WORDS,
    )
    return {row.id for row in rows}


async def look_now(tx: Tx, ids: Collection[UUID]) -> None:
    """Have these kept events looked at by whoever applies events next."""
    await sql.execute(tx, SQL["look_now"], ids=list(ids))


async def list_intended(
    tx: Tx, tenant_id: UUID, message_ids: Collection[UUID]
) -> Mapping[UUID, Intended]:
    """What became of these messages."""
    rows = await sql.fetch_all(
        tx, SQL["list_intended"], Intended, tenant_id=tenant_id, ids=list(message_ids)
    )
    return {row.id: row for row in rows}
