"""The statements of one claim: budget, lanes, due actions, grant and tokens.

The idea: a claim reads no more rows than it may grant. It asks first what bounds the batch (pauses,
tokens of tenant and installation), then what each sender that has something due may still send,
and only then takes actions, by the sender. How much else is waiting does not matter.

Source: the measured alternatives in docs/performance.md (a due-first claim starves).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outreach import sql
from outreach.core.gates import DueSend
from outreach.core.limits import DAY, DEFAULTS, HOUR, MINUTE, Scope
from outreach.core.states import PauseState, Reputation
from outreach.sql import Tx

SQL = sql.load(__file__)

NO_CAP = 2_147_483_647


@dataclass(frozen=True, slots=True)
class Budget:
    """What bounds a batch as a whole; caps are those that were set, None where none was."""

    granted_at: datetime
    tenant_state: PauseState
    tenant_name: str
    postal_address: str | None
    allows_risky_addresses: bool
    is_tracking_opens: bool
    is_tracking_clicks: bool
    weight: int
    installation_state: PauseState
    is_fenced: bool  # a loss of data is held, or nobody has looked at this run of the server
    provider_paused_at: datetime | None
    provider_later_until: datetime | None
    installation_caps: list[int | None]
    installation_concurrent: int | None
    installation_is_off: bool
    tenant_caps: list[int | None]
    tenant_concurrent: int | None
    tenant_is_off: bool
    tenant_live: list[int]
    installation_live: list[int]
    tenant_armed: int
    installation_armed: int
    is_behind: bool  # webhooks wait unapplied, and one of them may be an unsubscribe
    is_held_by_limit: bool


@dataclass(frozen=True, slots=True)
class Lane:
    """A sender that has something due, and the tokens it has left."""

    sender_id: UUID
    is_verified: bool
    is_paused: bool
    minute_cap: int
    hour_cap: int
    day_cap: int
    concurrent_max: int | None
    free: int
    is_held_by_limit: bool
    armed: int
    reputation: str = Reputation.GOOD
    is_warming: bool = False  # the day cap is that of its warm-up
    warm_seconds: float = 0.0
    ip_pool: str | None = None
    is_new: bool = False  # nothing of it was accepted yet
    is_floor_low: bool = False  # its floor has been left behind

    @property
    def is_ready(self) -> bool:
        """Whether nothing but tokens stands against sending."""
        is_stopped = self.reputation == Reputation.STOPPED
        return self.is_verified and not self.is_paused and not is_stopped

    def caps(self) -> list[tuple[int, int]]:
        """(window, cap) of the windows that have one."""
        return _caps(self.minute_cap, self.hour_cap, self.day_cap)


@dataclass(frozen=True, slots=True)
class DomainTokens:
    """The tokens that a recipient domain has left."""

    domain: str
    minute_cap: int
    hour_cap: int
    day_cap: int
    free: int

    def caps(self) -> list[tuple[int, int]]:
        """(window, cap) of the windows that have one."""
        return _caps(self.minute_cap, self.hour_cap, self.day_cap)


@dataclass(slots=True)  # frozen takes ten times as long to make
class Grant:
    """One message to arm: a new one, or the next attempt at one that waits."""

    action_id: UUID
    message_id: UUID
    attempt: int
    dedupe_key: str
    variant_id: str | None
    subject: str
    body_text: str
    body_html: str


def _caps(minute: int, hour: int, day: int) -> list[tuple[int, int]]:
    pairs = ((MINUTE, minute), (HOUR, hour), (DAY, day))
    return [(window, cap) for window, cap in pairs if cap != NO_CAP]


def _defaults(scope: Scope) -> dict[str, int | None]:
    limits = DEFAULTS[scope]
    return {
        "minute_default": limits.per_minute,
        "hour_default": limits.per_hour,
        "day_default": limits.per_day,
    }


async def begin_claim(tx: Tx, tenant_id: UUID) -> None:
    """Act as a worker for the tenant and hold its lock."""
    await tx.execute(SQL["begin_claim"], {"tenant_id": str(tenant_id)})


async def read_budget(tx: Tx, tenant_id: UUID, *, unheard_seconds: float) -> Budget | None:
    """What bounds the batch, under the tenant's lock; None when there is no such tenant."""
    return await sql.find(
        tx, SQL["read_budget"], Budget, tenant_id=tenant_id, unheard_seconds=unheard_seconds
    )


async def list_lanes(tx: Tx, tenant_id: UUID) -> list[Lane]:
    """The senders with something due, the longest waiting first."""
    params = {"tenant_id": tenant_id, **_defaults(Scope.SENDER)}
    params["warmup_default"] = DEFAULTS[Scope.SENDER].warm_up
    return await sql.fetch_all(tx, SQL["list_lanes"], Lane, **params)


async def raise_floors(tx: Tx, tenant_id: UUID) -> int:
    """Let the next claims begin where this one found something; how many lanes."""
    return await sql.execute(tx, SQL["raise_floors"], tenant_id=tenant_id)


async def claim_sends(tx: Tx, tenant_id: UUID, takes: Mapping[UUID, int]) -> list[DueSend]:
    """Lock and read due actions, at most `takes[sender]` of each sender, in no order."""
    return await sql.fetch_all(
        tx,
        SQL["claim_sends"],
        DueSend,
        tenant_id=tenant_id,
        sender_ids=list(takes),
        takes=list(takes.values()),
    )


async def list_domain_tokens(tx: Tx, tenant_id: UUID, domains: Sequence[str]) -> list[DomainTokens]:
    """The tokens left of each of the domains."""
    params = {
        "tenant_id": tenant_id,
        "domains": list(domains),
        **_defaults(Scope.DOMAIN),
    }
    return await sql.fetch_all(tx, SQL["list_domain_tokens"], DomainTokens, **params)


async def arm_sends(
    tx: Tx,
    tenant_id: UUID,
    grants: Sequence[Grant],
    *,
    granted_at: datetime,
    deadline_at: datetime,
) -> set[UUID]:
    """Write ledger rows and attempts and claim their actions; the messages that were armed."""
    cursor = await tx.execute(
        SQL["arm_sends"],
        {
            "tenant_id": tenant_id,
            "action_ids": [g.action_id for g in grants],
            "message_ids": [g.message_id for g in grants],
            "attempts": [g.attempt for g in grants],
            "has_retries": any(g.attempt > 1 for g in grants),
            "dedupe_keys": [g.dedupe_key for g in grants],
            "variant_ids": [g.variant_id for g in grants],
            "subjects": [g.subject for g in grants],
            "texts": [g.body_text for g in grants],
            "htmls": [g.body_html for g in grants],
            "granted_at": granted_at,
            "deadline_at": deadline_at,
        },
    )
    return {row[0] for row in await cursor.fetchall()}
