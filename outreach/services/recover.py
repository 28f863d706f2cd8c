"""What dead processes of this machine knew of their requests, written down.

A worker that ends by kill -9 leaves a file that says how far each of its requests had come
(`outreach/recorder.py`). What it never let leave was not sent, and is due again; what was answered
is recorded by its answer; what may have been on the wire is left to the rescuer, who calls it
unknown. The same for what a living process let lapse when a claim or a record of its failed.

The tenant's lock is taken first: a claim holds it until it commits, so the last claim of a process
that died has come to its end one way or the other before anything is said of its attempts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

import psycopg

from outreach import log
from outreach.db import Database, Role, is_connection_lost, lock_tenant
from outreach.recorder import Recorder
from outreach.recorder_slots import Entry
from outreach.services.outcomes import Result, record_outcomes
from outreach.services.send import give_back

ATTEMPTS_MAX = 500  # in one transaction

_log = log.get("recover")


async def recover(db: Database, recorder: Recorder) -> int:
    """Settle what is known of attempts that nobody will record; how many there were.

    Safe to repeat and to do by several at once: each file has one reader, and only attempts that
    are still armed, or proved accepted, change.
    """
    lapsed = recorder.lapsed()
    try:
        count = await _settle(db, lapsed)
    except psycopg.DataError as error:
        # It would be the same at every look; the rescuer calls these unknown.
        _log.error("lapsed_set_aside", attempts=len(lapsed), error=type(error).__name__)
        count = 0
    recorder.release(entry.key for entry in lapsed)
    for grave in recorder.graves():
        try:
            settled = await _settle(db, grave.entries)
        except psycopg.Error as error:
            if is_connection_lost(error):
                raise
            # It would be the same the next time; the rescuer goes on without the file.
            _log.error("recorder_set_aside", file=grave.path.name, error=type(error).__name__)
            grave.set_aside()
            continue
        grave.bury()
        left = sum(entry.outcome is None for entry in grave.entries)
        _log.info("recorder_read", file=grave.path.name, settled=settled, in_doubt=left)
        count += settled
    return count


async def _settle(db: Database, entries: Sequence[Entry]) -> int:
    results: defaultdict[UUID, list[Result]] = defaultdict(list)
    for entry in entries:
        if entry.outcome is not None:
            results[entry.tenant_id].append(
                Result(
                    entry.message_id,
                    entry.attempt,
                    entry.outcome,
                    "recorder",
                    at=entry.answered_at,
                    armed_at=entry.armed_at,
                )
            )
    for tenant_id, theirs in sorted(results.items()):
        for start in range(0, len(theirs), ATTEMPTS_MAX):
            await _settle_some(db, tenant_id, theirs[start : start + ATTEMPTS_MAX])
    return sum(map(len, results.values()))


async def _settle_some(db: Database, tenant_id: UUID, results: Sequence[Result]) -> None:
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        await lock_tenant(tx, tenant_id)
        freed = await record_outcomes(tx, tenant_id, results)
    if freed:
        await give_back(db, tenant_id, freed)
