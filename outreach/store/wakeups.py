"""Waking a task from inside the transaction that makes work for it.

The job becomes visible, and the notification leaves, when the caller's transaction commits. Tasks
are known by name, since services never import tasks. A wake-up that finds one waiting already adds
none; if that one started too early to see our rows, the sweep finds them within its second.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from uuid import UUID

from psycopg.types.json import Jsonb

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)

QUEUES: Mapping[str, str] = MappingProxyType(
    {"send_due": "sends", "fire_timers": "timers", "apply_events": "webhooks"}
)
"""The queue of each task that can be woken."""


async def wake(tx: Tx, task: str, *, tenant_id: UUID | None = None) -> None:
    """Have `task` run after this commit, once for all that ask before it starts.

    Call it last: it may wait for another transaction that wakes the same.
    """
    args = {} if tenant_id is None else {"tenant_id": str(tenant_id)}
    await sql.execute(
        tx,
        SQL["wake"],
        queue=QUEUES[task],
        task=task,
        queueing_lock=":".join([task, *args.values()]),
        args=Jsonb(args),
    )
