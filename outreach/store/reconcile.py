"""What our books say of one campaign, for whoever compares them with the provider's."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class Position:
    """How many contacts have this state at this step."""

    state: str
    node: str | None
    count: int


@dataclass(frozen=True, slots=True)
class EventCount:
    """How many events of a kind."""

    event: str
    is_machine: bool
    count: int


@dataclass(frozen=True, slots=True)
class End:
    """How many enrollments ended so, and why."""

    code: str
    reason: str | None
    count: int


@dataclass(frozen=True, slots=True)
class NodeCount:
    """How many messages a step has sent."""

    node: str
    count: int


@dataclass(frozen=True, slots=True)
class Wave:
    """Mails that went out together, and how long that took."""

    count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Bodies:
    """Webhook bodies by what became of them, and events that belong to nobody known."""

    received: int
    applied: int
    quarantined: int
    unmatched: int


@dataclass(frozen=True, slots=True)
class _Sent:
    id: UUID


async def count_positions(tx: Tx, tenant_id: UUID, campaign_id: UUID) -> list[Position]:
    """Where everybody is."""
    return await sql.fetch_all(
        tx, SQL["count_positions"], Position, tenant_id=tenant_id, campaign_id=campaign_id
    )


async def count_events(tx: Tx, tenant_id: UUID, campaign_id: UUID) -> list[EventCount]:
    """What came back, by kind."""
    return await sql.fetch_all(
        tx, SQL["count_events"], EventCount, tenant_id=tenant_id, campaign_id=campaign_id
    )


async def count_ends(tx: Tx, tenant_id: UUID, campaign_id: UUID) -> list[End]:
    """How it ended, the most frequent first."""
    return await sql.fetch_all(
        tx, SQL["count_ends"], End, tenant_id=tenant_id, campaign_id=campaign_id
    )


async def count_sent_by_node(tx: Tx, tenant_id: UUID, campaign_id: UUID) -> list[NodeCount]:
    """What each step has sent."""
    return await sql.fetch_all(
        tx, SQL["count_sent_by_node"], NodeCount, tenant_id=tenant_id, campaign_id=campaign_id
    )


async def list_sent(
    tx: Tx, tenant_id: UUID, campaign_id: UUID, *, after: UUID, rows_max: int
) -> list[UUID]:
    """A page of the ids of sent messages, in their order."""
    rows = await sql.fetch_all(
        tx,
        SQL["list_sent"],
        _Sent,
        tenant_id=tenant_id,
        campaign_id=campaign_id,
        after=after,
        rows_max=rows_max,
    )
    return [row.id for row in rows]


async def count_sent_after_suppression(
    tx: Tx, tenant_id: UUID, campaign_id: UUID, *, grace_seconds: float
) -> int:
    """Requests that should not have been made."""
    return int(
        await sql.value(
            tx,
            SQL["count_sent_after_suppression"],
            tenant_id=tenant_id,
            campaign_id=campaign_id,
            grace_seconds=grace_seconds,
        )
    )


async def measure_first_wave(tx: Tx, tenant_id: UUID, campaign_id: UUID, node: str) -> Wave:
    """The accepted mails of a step."""
    found = await sql.find(
        tx,
        SQL["measure_first_wave"],
        Wave,
        tenant_id=tenant_id,
        campaign_id=campaign_id,
        node=node,
    )
    assert found is not None, "an aggregate is one row"
    return found


async def count_bodies(tx: Tx) -> Bodies:
    """Of the whole installation: a body may speak of many tenants."""
    found = await sql.find(tx, SQL["count_bodies"], Bodies)
    assert found is not None, "counts are one row"
    return found


async def find_eventful_contact(tx: Tx, tenant_id: UUID, campaign_id: UUID) -> str | None:
    """Somebody whose story is worth telling."""
    found: str | None = await sql.value(
        tx, SQL["find_eventful_contact"], tenant_id=tenant_id, campaign_id=campaign_id
    )
    return found
