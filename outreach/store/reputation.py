"""What became of senders' mail by the hour, and the reputation that it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outreach import sql
from outreach.core.reputation import WINDOW_HOURS, Regard, Tally, Thresholds
from outreach.core.states import Reputation
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class SenderOutcomes:
    """What some events add to a sender's outcomes."""

    sender_id: UUID
    settled: int
    bounced: int
    complained: int


@dataclass(frozen=True, slots=True)
class SenderToJudge:
    """A sender with its reputation, the outcomes of the window, and what was set for it."""

    tenant_id: UUID
    sender_id: UUID
    from_email: str
    reputation: str
    since: datetime
    calm_at: datetime | None
    settled: int
    bounced: int
    complained: int
    bounce_percents: list[float | None]
    complaint_percents: list[float | None]
    now: datetime

    def regard(self) -> Regard:
        """In core's words."""
        return Regard(Reputation(self.reputation), self.since, self.calm_at)

    def tally(self) -> Tally:
        """In core's words."""
        return Tally(self.settled, self.bounced, self.complained)

    def thresholds(self) -> Thresholds:
        """The most particular word about each, else the default."""
        return Thresholds.of(self.bounce_percents, self.complaint_percents)


async def add_outcomes(tx: Tx, tenant_id: UUID, outcomes: Sequence[SenderOutcomes]) -> None:
    """Add to the present hour; those that say nothing are left out."""
    news = [o for o in outcomes if o.settled or o.bounced or o.complained]
    if news:
        await sql.execute(
            tx,
            SQL["add_outcomes"],
            tenant_id=tenant_id,
            sender_ids=[o.sender_id for o in news],
            settled=[o.settled for o in news],
            bounced=[o.bounced for o in news],
            complained=[o.complained for o in news],
        )


async def list_senders_to_judge(tx: Tx, *, lately_seconds: float) -> list[SenderToJudge]:
    """Over all tenants; as the worker."""
    params = {"hours": WINDOW_HOURS, "lately_seconds": lately_seconds}
    return await sql.fetch_all(tx, SQL["list_senders_to_judge"], SenderToJudge, **params)


async def set_reputation_if_same(tx: Tx, sender: SenderToJudge, regard: Regard) -> bool:
    """Whether the judgement is in force: nobody came before."""
    return bool(
        await sql.execute(
            tx,
            SQL["set_reputation_if_same"],
            tenant_id=sender.tenant_id,
            sender_id=sender.sender_id,
            reputation=regard.reputation.value,
            since=regard.since,
            calm_at=regard.calm_at,
            was=sender.reputation,
            was_since=sender.since,
        )
    )


async def forgive_sender(tx: Tx, tenant_id: UUID, sender_id: UUID) -> bool:
    """Whether its reputation was lowered until now."""
    query = SQL["forgive_sender"]
    return bool(await sql.execute(tx, query, tenant_id=tenant_id, sender_id=sender_id))


async def delete_outcomes(tx: Tx, tenant_id: UUID, sender_id: UUID) -> int:
    """Forget what became of the sender's mail."""
    return await sql.execute(tx, SQL["delete_outcomes"], tenant_id=tenant_id, sender_id=sender_id)


async def prune_outcomes(tx: Tx, *, hours: int) -> int:
    """Delete the hours before; how many."""
    count: int = await sql.value(tx, SQL["prune_outcomes"], hours=hours)
    return count


async def end_reputation_holds(tx: Tx, tenant_id: UUID, sender_id: UUID) -> int:
    """End the sender's holds by limits and reputation."""
    query = SQL["end_reputation_holds"]
    return await sql.execute(tx, query, tenant_id=tenant_id, sender_id=sender_id)
