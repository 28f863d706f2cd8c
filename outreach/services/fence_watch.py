"""A worker's watch over its database: it looks at each new run, and remembers what it has seen.

Each second `look` compares a new run with all memories there are (services/fence_marks), lets it
send or holds it as core/fence says, and while all is well notes a pulse in the database and outside
of it. `listen` asks the provider's events for mail that the database does not know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic, time
from typing import assert_never
from uuid import UUID

from outreach.core.fence import (
    WITNESS_SECONDS_MAX,
    Evidence,
    Held,
    Identity,
    Open,
    Verdict,
    Wait,
    judge,
)
from outreach.core.mail import Mail
from outreach.db import Database, Role
from outreach.services import fence
from outreach.services.fence_marks import Mark, Marks
from outreach.services.regain import look_for_lost
from outreach.sql import Tx
from outreach.store import fence as store
from outreach.store.fence import Fence

# Workers whose last pulse is this near to the last of all were alive then.
ALIVE_SECONDS = 10.0
# Events are asked again for so long: one that came earlier may be committed later.
OVERLAP = timedelta(minutes=1)
FIRST_REACH = timedelta(days=1)


class Watch:
    """One worker's look: it compares, lets send or holds, and remembers."""

    def __init__(self, db: Database, marks: Marks, clock: Callable[[], float] = monotonic) -> None:
        self._db = db
        self._marks = marks
        self._clock = clock
        self._proven: Identity | None = None  # the run that we looked at last
        self._noticed: tuple[Identity, float] | None = None
        self._heard_at = datetime.now(UTC) - FIRST_REACH

    def note(self, tenant_id: UUID, mails: Sequence[Mail]) -> None:
        """Remember a batch that is armed; one of it stands for all, which were one commit."""
        if mails:
            self._marks.note(tenant_id, mails[0].message_id, mails[0].attempt)

    async def look(self) -> Verdict:
        """One round: what may be sent now, and whose word that is."""
        async with self._db.transaction(Role.WORKER) as tx:
            present = await store.get_identity(tx)
            known = await store.get_fence(tx)
            if known.reason is not None:
                return Held(known.reason)
            missing: list[str] = []
            if not present == self._proven == known.approved:
                missing = await self._compare(tx, present, known)
            evidence = await self._evidence(tx, present, known, len(missing))
        verdict = judge(known.approved, present, evidence)
        await self._follow(verdict, present, known, missing)
        return verdict

    async def listen(self) -> None:
        """Look among the events that nobody could place for mail that this database forgot."""
        gap = await look_for_lost(self._db, since=self._heard_at)
        if gap.latest_at is not None:
            self._heard_at = gap.latest_at - OVERLAP

    async def end(self) -> None:
        """Say that this worker ends in good order."""
        self._marks.close()
        async with self._db.transaction(Role.WORKER) as tx:
            await store.end_pulse(tx, self._marks.own.worker_id)

    async def _compare(self, tx: Tx, present: Identity, known: Fence) -> list[str]:
        """What is remembered and not found; notes whose memories are whole."""
        marks = [mark for mark in (self._marks.own, *self._marks.others(present)) if mark.sequence]
        marks = [mark for mark in marks if mark.epoch >= known.epoch]
        pulses = await store.list_pulses(tx, [mark.worker_id for mark in marks])
        noted = [attempt for mark in marks for attempt in mark.attempts]
        lost = await store.list_missing_attempts(tx, noted) if noted else set()
        whole, missing = [], []
        for mark in marks:
            found = _missing(mark, pulses.get(mark.worker_id), known.epoch)
            found += [f"attempt {n} of {message}" for _, message, n in lost & set(mark.attempts)]
            missing += found
            whole += [] if found else [mark.worker_id]
        await store.prove(tx, whole, present.started_at)
        return missing

    async def _evidence(self, tx: Tx, present: Identity, known: Fence, missing: int) -> Evidence:
        if self._noticed is None or self._noticed[0] != present:
            self._noticed = (present, self._clock())
        own = self._marks.own
        is_known = own.sequence > 0 and own.epoch == known.epoch
        return Evidence(
            missing=missing,
            unproven=await store.count_unproven(
                tx, present.started_at, alive_seconds=ALIVE_SECONDS
            ),
            is_witness=is_known and not missing and time() - own.at < WITNESS_SECONDS_MAX,
            is_announced=known.is_failover_expected,
            waited_seconds=self._clock() - self._noticed[1],
        )

    async def _follow(
        self, verdict: Verdict, present: Identity, known: Fence, missing: Sequence[str]
    ) -> None:
        match verdict:
            case Open(because):
                if known.approved != present:
                    await fence.open_run(self._db, present, known, because)
                await self._pulse(present, known.epoch)
            case Held(reason):
                await fence.hold(
                    self._db, reason, missing=list(missing)[:20], present=fence.shown(present)
                )
            case Wait():
                pass
            case _:
                assert_never(verdict)

    async def _pulse(self, present: Identity, epoch: int) -> None:
        own = self._marks.own
        covered, sequence = len(own.attempts), own.sequence + 1
        async with self._db.transaction(Role.WORKER) as tx:
            await store.pulse(tx, own.worker_id, sequence, present.started_at)
        self._marks.pulsed(present, sequence, epoch, covered)
        await asyncio.to_thread(self._marks.sync)
        if present != self._proven:
            self._proven = present
            self._marks.forget_dead(present)


def _missing(mark: Mark, known: int | None, epoch: int) -> list[str]:
    if mark.epoch > epoch:
        return [f"approval {mark.epoch}"]
    if known is None or known < mark.sequence:
        return [f"pulse {mark.sequence} of worker {mark.worker_id}"]
    return []
