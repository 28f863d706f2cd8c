"""How long what we were told is kept: months of events, and the bodies that they came in.

Events lie in a partition a month, so that a month is dropped or detached at once and costs nothing
before. What lies outside its month (an event of long ago, workers away for months) is found in the
default partition and brought into a month of its own. Each step is a short transaction that gives
up where it would have to wait for a lock: the next minute comes.

The keys of events are kept when their month goes, so that no repeat of an old event is new.
"""

from __future__ import annotations

from dataclasses import dataclass

from outreach import log
from outreach.config import Settings
from outreach.db import Database, Role
from outreach.store import retention as store

_log = log.get("retention")


@dataclass(frozen=True, slots=True)
class Policy:
    """What is kept for how long."""

    event_months: int | None = None  # None: for ever
    is_dropped: bool = False  # else detached: a table beside, which nothing reads
    applied_days: int = 90
    quarantined_days: int = 365

    @classmethod
    def of(cls, settings: Settings) -> Policy:
        """As it is set from outside."""
        return cls(
            event_months=settings.event_retention_months,
            is_dropped=settings.event_retention == "drop",
            applied_days=settings.delivery_retention_days,
            quarantined_days=settings.quarantine_retention_days,
        )


async def keep_by_policy(db: Database, policy: Policy, *, months_ahead: int) -> None:
    """One bounded step of each kind: rows into their month, a month out, old bodies deleted."""
    async with db.transaction(Role.WORKER) as tx:
        moved = await store.place_default_events(tx, months_ahead=months_ahead)
    if moved:
        _log.warning("events lay outside their month", moved=moved)
    if policy.event_months is not None:
        async with db.transaction(Role.WORKER) as tx:
            month = await store.retire_event_month(
                tx, keep_months=policy.event_months, is_dropped=policy.is_dropped
            )
        if month is not None:
            _log.info("a month of events is over", partition=month, is_dropped=policy.is_dropped)
    async with db.transaction(Role.WORKER) as tx:
        await store.delete_deliveries(
            tx, applied_days=policy.applied_days, quarantined_days=policy.quarantined_days
        )
