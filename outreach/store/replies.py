"""Rows of `inbound_messages`: mails that came in, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class NewInbound:
    """A mail to be kept; with a `problem` it is closed at once."""

    mail_hash: bytes
    raw: bytes
    raw_length: int
    envelope: Mapping[str, object]
    problem: str | None


@dataclass(frozen=True, slots=True)
class Inbound:
    """One mail as kept."""

    id: UUID
    received_at: datetime
    raw: bytes
    raw_length: int
    envelope: Any


async def insert_inbound(tx: Tx, mail: NewInbound) -> bool:
    """Keep a mail; whether it was not there yet."""
    return (
        await sql.execute(
            tx,
            SQL["insert_inbound"],
            mail_hash=mail.mail_hash,
            raw=mail.raw,
            raw_length=mail.raw_length,
            envelope=Jsonb(mail.envelope),
            problem=mail.problem,
        )
        == 1
    )


async def claim_inbound(tx: Tx, *, rows_max: int, bytes_max: int) -> list[Inbound]:
    """The oldest that wait, held to the transaction's end; one applier at a time."""
    return await sql.fetch_all(
        tx, SQL["claim_inbound"], Inbound, rows_max=rows_max, bytes_max=bytes_max
    )


@dataclass(frozen=True, slots=True)
class MailEvent:
    """An event that a mail is, as the body of a delivery."""

    payload_hash: bytes
    payload: bytes
    received_at: datetime


async def insert_mail_events(tx: Tx, provider: str, events: Sequence[MailEvent]) -> int:
    """Keep those that are not kept yet; how many that were."""
    return await sql.execute(
        tx,
        SQL["insert_mail_events"],
        provider=provider,
        hashes=[event.payload_hash for event in events],
        payloads=[event.payload for event in events],
        received_ats=[event.received_at for event in events],
    )


async def close_inbound(
    tx: Tx, tenant_id: UUID | None, closings: Sequence[Mapping[str, object]]
) -> None:
    """Write what became of each, by the columns' names; they are this tenant's from now on."""
    await sql.execute(tx, SQL["close_inbound"], tenant_id=tenant_id, closings=Jsonb(list(closings)))
