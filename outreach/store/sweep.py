"""The questions of the sweep, and the keeping of procrastinate's tables and our partitions.

Nothing here trusts a job: what is due is read from our own tables, over all tenants.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outreach import sql
from outreach.sql import Tx
from outreach.store.wakeups import QUEUES

SQL = sql.load(__file__)

TENANTS_MAX = 10_000
JOBS_MAX = 5_000


@dataclass(frozen=True, slots=True)
class DueWork:
    """A task that has something to do, for one tenant or, without one, for all."""

    task: str
    tenant_id: UUID | None


async def list_due_work(tx: Tx) -> list[DueWork]:
    """What could be done at this moment."""
    return await sql.fetch_all(tx, SQL["list_due_work"], DueWork, tenants_max=TENANTS_MAX)


async def is_idle(tx: Tx, *, paced_seconds: float, queues: Collection[str]) -> bool:
    """Whether nothing could be done at this moment, and nobody waits for the provider.

    Who is parked for no longer than this waits for a place, which the provider's answer gives.
    Sends in other queues than these are left out: workers of their own serve them.
    """
    return bool(
        await sql.value(
            tx,
            SQL["is_idle"],
            paced_seconds=paced_seconds,
            queues=list(queues),
            sends=QUEUES["send_due"],
        )
    )


async def delete_stalled_jobs(tx: Tx, *, silent_seconds: float, running_seconds: float) -> int:
    """Delete jobs whose worker is gone, silent for so long, or past its time; how many."""
    return await sql.execute(
        tx,
        SQL["delete_stalled_jobs"],
        silent_seconds=silent_seconds,
        running_seconds=running_seconds,
        rows_max=JOBS_MAX,
    )


async def delete_ended_jobs(tx: Tx, *, days: int) -> int:
    """Delete jobs that failed or were aborted so many days ago; how many, bounded."""
    return await sql.execute(tx, SQL["delete_ended_jobs"], days=days, rows_max=JOBS_MAX)


async def forget_parking(tx: Tx) -> int:
    """Take away old parking hints, as the operator; how many."""
    return await sql.execute(tx, SQL["forget_parking"])


async def look_below_floors(tx: Tx, *, margin_seconds: float) -> int:
    """Find what a floor hides, over all tenants; in how many lanes something was hidden.

    Floors stay so many seconds behind, where transactions under way may still date their rows.
    """
    query = SQL["look_below_floors"]
    return int(await sql.value(tx, query, margin_seconds=margin_seconds))


async def make_partitions(tx: Tx, *, months: int) -> int:
    """Make the months ahead; how many were missing."""
    return int(await sql.value(tx, SQL["make_partitions"], months=months))


async def read_clock(tx: Tx) -> datetime:
    """What time the database says it is."""
    moment: datetime = await sql.value(tx, SQL["read_clock"])
    return moment


async def learn_statistics(tx: Tx) -> None:
    """Let the planner know of tables that have doubled; in a transaction of its own."""
    await tx.execute(SQL["learn_statistics"])
