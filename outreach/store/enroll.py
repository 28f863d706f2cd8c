"""Rows of `enrollments` as they come into being, and what their first step writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import orjson
from psycopg.types.json import Jsonb

from outreach import sql
from outreach.core.audience import Condition
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class VerdictCount:
    """How many contacts were enrolled, or not for one reason."""

    verdict: str
    count: int


@dataclass(frozen=True, slots=True)
class DraftGroup:
    """Drafts that enter their plan alike: the same version, contacts in the same zone."""

    plan_version: int
    timezone: str | None
    entered_at: datetime


@dataclass(frozen=True, slots=True)
class StartAction:
    """A send or timeout that each enrollment of a group gets."""

    kind: str
    node_id: str
    visit: int
    trigger: str | None
    due_at: datetime
    sender_id: UUID | None  # where the node names its own


@dataclass(frozen=True, slots=True)
class StartStep:
    """A step that each enrollment of a group is recorded to have made."""

    from_node_id: str | None
    to_node_id: str | None
    visit: int
    trigger: str | None
    code: str
    reason: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Start:
    """What becomes of the drafts of one group."""

    plan_version: int
    timezone: str | None
    state: str
    node_id: str
    visits: dict[str, int]
    entered_at: datetime
    came_by: str | None
    end_reason: str | None
    actions: tuple[StartAction, ...] = field(default=())
    steps: tuple[StartStep, ...] = field(default=())


async def match_contacts(
    tx: Tx, tenant_id: UUID, conditions: Sequence[Condition], *, after: UUID, rows_max: int
) -> list[UUID]:
    """The next page of contacts, in id order, for whom every condition holds."""
    parameters = {
        "tenant_id": tenant_id,
        "after": after,
        "rows_max": rows_max,
        "conditions": Jsonb(
            [
                {"path": list(c.path), "values": list(c.values), "is_negated": c.is_negated}
                for c in conditions
            ]
        ),
    }
    cursor = await tx.execute(SQL["match_contacts"], parameters)
    return [row[0] for row in await cursor.fetchall()]


async def find_contacts_by_key(tx: Tx, tenant_id: UUID, keys: Sequence[str]) -> list[UUID]:
    """The contacts of those addresses that are known."""
    cursor = await tx.execute(
        SQL["find_contacts_by_key"], {"tenant_id": tenant_id, "keys": list(keys)}
    )
    return [row[0] for row in await cursor.fetchall()]


async def enroll_contacts(
    tx: Tx, tenant_id: UUID, campaign_id: UUID, contact_ids: Sequence[UUID]
) -> list[VerdictCount]:
    """Enroll those who may be, as drafts; how many were (`enrolled`), and the rest by reason."""
    return await sql.fetch_all(
        tx,
        SQL["enroll_contacts"],
        VerdictCount,
        tenant_id=tenant_id,
        campaign_id=campaign_id,
        contact_ids=list(contact_ids),
    )


async def list_draft_groups(tx: Tx, tenant_id: UUID, campaign_id: UUID) -> list[DraftGroup]:
    """The distinct ways in which the campaign's drafts enter their plan."""
    query = SQL["list_draft_groups"]
    return await sql.fetch_all(tx, query, DraftGroup, tenant_id=tenant_id, campaign_id=campaign_id)


async def activate_drafts(
    tx: Tx,
    tenant_id: UUID,
    campaign_id: UUID,
    starts: Sequence[Start],
    *,
    held_by: str | None,
) -> dict[str, int]:
    """Let every draft enter its plan as its group says; how many came to which state."""
    parameters: dict[str, object] = {
        "tenant_id": tenant_id,
        "campaign_id": campaign_id,
        "held_by": held_by,
        "plan_versions": [start.plan_version for start in starts],
        "timezones": [start.timezone or "" for start in starts],
        "states": [start.state for start in starts],
        "node_ids": [start.node_id for start in starts],
        "visits": [_json(start.visits) for start in starts],
        "entered_ats": [start.entered_at for start in starts],
        "came_bys": [start.came_by for start in starts],
        "end_reasons": [start.end_reason for start in starts],
        "actions": [_json(start.actions) for start in starts],
        "steps": [_json(start.steps) for start in starts],
    }
    cursor = await tx.execute(SQL["activate_drafts"], parameters)
    return dict(await cursor.fetchall())


async def forget_plans(tx: Tx) -> None:
    """Have this session's foreign key checks planned anew, for tables that have grown."""
    await tx.execute(SQL["forget_plans"])


async def lower_floors(tx: Tx, tenant_id: UUID) -> None:
    """Let claims find what this transaction dates at its beginning, however long it takes."""
    await sql.execute(tx, SQL["lower_floors"], tenant_id=tenant_id)


async def unpark_tenant(tx: Tx, tenant_id: UUID) -> None:
    """Let the sweep look at the tenant again."""
    await sql.execute(tx, SQL["unpark_tenant"], tenant_id=tenant_id)


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
