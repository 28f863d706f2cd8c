"""Rows of `webhook_deliveries`: raw bodies, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outreach import sql
from outreach.core.states import DeliveryState
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One body as received."""

    id: UUID
    provider: str
    payload: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Closing:
    """What became of one body."""

    delivery_id: UUID
    state: DeliveryState
    problem: str | None
    events_count: int | None


async def claim_deliveries(tx: Tx, *, rows_max: int, bytes_max: int) -> list[Delivery]:
    """The oldest that nobody else is applying, held to the transaction's end."""
    return await sql.fetch_all(
        tx, SQL["claim_deliveries"], Delivery, rows_max=rows_max, bytes_max=bytes_max
    )


async def list_deliveries(
    tx: Tx,
    since: datetime,
    until: datetime,
    *,
    after_at: datetime,
    after_id: UUID,
    rows_max: int,
) -> list[Delivery]:
    """Those of `[since, until)` that follow `after`, oldest first, whatever became of them."""
    return await sql.fetch_all(
        tx,
        SQL["list_deliveries"],
        Delivery,
        since=since,
        until=until,
        after_at=after_at,
        after_id=after_id,
        rows_max=rows_max,
    )


async def close_deliveries(tx: Tx, closings: Sequence[Closing]) -> None:
    """Write what became of each."""
    await sql.execute(
        tx,
        SQL["close_deliveries"],
        ids=[closing.delivery_id for closing in closings],
        states=[closing.state.value for closing in closings],
        problems=[closing.problem for closing in closings],
        counts=[closing.events_count for closing in closings],
    )
