"""The sweep: whatever is due gets its wake-up, whether or not somebody woke it before.

Wake-ups may be lost: a commit that comes just after a task looked, a job table that was emptied, a
moment that nobody wakes anyone at because it is only a time. Our tables say what is due, so asking
them each second makes an emptied queue whole again.

Stalled jobs are deleted and not tried again. A job only says that there is work: if there still is,
the sweep says so again within its second, and if there is none, running it would do nothing. So a
job carries no count of its runs either: what must not be tried for ever is a message, and its
attempts are counted in the ledger; a task that fails is rested by the worker (`tasks/flights.py`).
"""

from __future__ import annotations

from collections.abc import Collection

from outreach import log
from outreach.db import Database, Role
from outreach.services.claim_bounds import PACED_LOOK_SECONDS
from outreach.services.refuse import fail_stale_values
from outreach.services.retention import Policy, keep_by_policy
from outreach.store import sweep, wakeups
from outreach.store.fence import prune_pulses_before

# Longer than a worker's silence while it drains (its graceful stop), several heartbeats long.
SILENT_SECONDS = 90.0
# Longer than the hard timeout of any task.
RUNNING_SECONDS = 600.0
# A floor stays so far behind: transactions of ours are shorter, and those that are not (a launch)
# lower the floors by which they were overtaken.
FLOOR_MARGIN_SECONDS = 10.0
MONTHS_AHEAD = 3
KEPT_DAYS = 7
KEPT = Policy()
PULSE_KEPT_DAYS = 40  # of workers that are gone; longer than their marks speak (fence_marks)

_log = log.get("sweep")


async def sweep_once(db: Database) -> int:
    """Wake the tasks that have something to do; how many were not waiting already."""
    async with db.transaction(Role.WORKER) as tx:
        due = await sweep.list_due_work(tx)
        return await wakeups.wake_all(tx, [(w.task, w.tenant_id) for w in due]) if due else 0


async def is_idle(db: Database, queues: Collection[str] = wakeups.SHARED_QUEUES) -> bool:
    """Whether a worker of these queues can do nothing before a moment comes or somebody acts.

    Nothing that a floor may hide either: who says that all is done looks below them first.
    """
    async with db.transaction(Role.WORKER) as tx:
        if not await sweep.is_idle(tx, paced_seconds=PACED_LOOK_SECONDS, queues=queues):
            return False
        await sweep.look_below_floors(tx, margin_seconds=FLOOR_MARGIN_SECONDS)
        return await sweep.is_idle(tx, paced_seconds=PACED_LOOK_SECONDS, queues=queues)


async def look_below_floors(db: Database) -> int:
    """Find what was dated below a floor; in how many lanes there was something. For each minute."""
    async with db.transaction(Role.WORKER) as tx:
        hidden = await sweep.look_below_floors(tx, margin_seconds=FLOOR_MARGIN_SECONDS)
    if hidden:
        _log.info("sends below their floors", lanes=hidden)
    return hidden


async def delete_stalled_jobs(db: Database) -> int:
    """Delete the jobs of workers that died; how many."""
    async with db.transaction(Role.WORKER) as tx:
        return await sweep.delete_stalled_jobs(
            tx, silent_seconds=SILENT_SECONDS, running_seconds=RUNNING_SECONDS
        )


async def keep_house(db: Database, policy: Policy = KEPT) -> None:
    """What a minute asks for: months ahead, statistics of what grew, no wait without an end."""
    async with db.transaction(Role.WORKER) as tx:
        await sweep.make_partitions(tx, months=MONTHS_AHEAD)
    await keep_by_policy(db, policy, months_ahead=MONTHS_AHEAD)
    async with db.transaction(Role.WORKER) as tx:
        await sweep.delete_ended_jobs(tx, days=KEPT_DAYS)
        await prune_pulses_before(tx, days=PULSE_KEPT_DAYS)
        await wakeups.move_waiting_sends(tx)
    async with db.transaction(Role.OPERATOR) as tx:
        await sweep.forget_parking(tx)
    await look_below_floors(db)
    async with db.transaction(Role.WORKER) as tx:
        await sweep.learn_statistics(tx)
    await delete_stalled_jobs(db)
    await fail_stale_values(db)
