"""Waking a task from inside the transaction that makes work for it.

The job becomes visible, and the notification leaves, when the caller's transaction commits. Tasks
are known by name, since services never import tasks. A wake-up that finds one waiting already adds
none; if that one started too early to see our rows, the sweep finds them within its second.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from uuid import UUID

from psycopg.types.json import Jsonb

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)

QUEUES: Mapping[str, str] = MappingProxyType(
    {
        "send_due": "sends",
        "fire_timers": "timers",
        "apply_events": "webhooks",
        "apply_replies": "webhooks",
    }
)
"""The queue of each task that can be woken."""

MAINTENANCE = "maintenance"
"""The queue of the tasks that nobody wakes: they come by the clock."""

SHARED_QUEUES = tuple(sorted({*QUEUES.values(), MAINTENANCE}))
"""What a worker serves that is told nothing. A tenant's own queue of sends is not among them."""

PRIORITIES: Mapping[str, int] = MappingProxyType(
    {"apply_events": 10, "apply_replies": 10, "fire_timers": 5}
)
"""Higher goes first where one worker serves several queues: an unsubscribe before the next send."""


async def wake(tx: Tx, task: str, *, tenant_id: UUID | None = None) -> None:
    """Have `task` run after this commit, once for all that ask before it starts.

    Call it last: it may wait for another transaction that wakes the same.
    """
    await wake_all(tx, [(task, tenant_id)])


async def wake_all(tx: Tx, works: Collection[tuple[str, UUID | None]]) -> int:
    """`wake` for each (task, tenant), in one statement; how many were not waiting already."""
    tasks = [task for task, _ in works]
    args = [{} if tenant is None else {"tenant_id": str(tenant)} for _, tenant in works]
    return await sql.execute(
        tx,
        SQL["wake"],
        queues=[QUEUES[task] for task in tasks],
        tasks=tasks,
        priorities=[PRIORITIES.get(task, 0) for task in tasks],
        queueing_locks=[":".join([task, *a.values()]) for task, a in zip(tasks, args, strict=True)],
        args=[Jsonb(a) for a in args],
    )


async def move_waiting_sends(tx: Tx) -> int:
    """Put wake-ups where those who send for their tenant look, as the worker; how many."""
    return await sql.execute(tx, SQL["move_waiting_sends"], queue=QUEUES["send_due"])
