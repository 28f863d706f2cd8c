"""The fence against data loss: each worker's look at the database, and an operator's last word.

A claim reads two things from the row that it shares anyway: whether a loss is held, and whether
this run of the server was looked at. So a restored, rewound or promoted database sends nothing from
its first moment on. `Watch.look`, each second in each worker, looks at a new run (core/fence), lets
it send or holds it, and while all is well notes a pulse in the database and outside of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from time import monotonic, time
from typing import assert_never
from uuid import UUID

from outreach import log
from outreach.core.errors import Invalid, Refused
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
from outreach.services import audit
from outreach.services.claim import DATA_LOSS_HOLD
from outreach.services.fence_marks import Mark, Marks
from outreach.sql import Tx
from outreach.store import fence as store
from outreach.store.fence import Fence

# Workers whose last pulse is this near to the last of all were alive then.
ALIVE_SECONDS = 10.0
PULSE_KEPT_DAYS = 40

_log = log.get("fence")


@dataclass(frozen=True, slots=True)
class Status:
    """The fence, and the database behind it."""

    state: str  # open, held, or unproven: nobody has looked at this run yet
    fence: Fence
    present: Identity


class Watch:
    """One worker's look: it compares, lets send or holds, and remembers."""

    def __init__(self, db: Database, marks: Marks, clock: Callable[[], float] = monotonic) -> None:
        self._db = db
        self._marks = marks
        self._clock = clock
        self._proven: Identity | None = None  # the run that we looked at last
        self._noticed: tuple[Identity, float] | None = None

    def note(self, tenant_id: UUID, mails: Sequence[Mail]) -> None:
        """Remember a batch that is armed; one of it stands for all, which were one commit."""
        if mails:
            self._marks.note(tenant_id, mails[0].message_id, mails[0].attempt)

    async def look(self) -> Verdict:
        """One round: what may be sent now, and whose word that is."""
        async with self._db.transaction(Role.WORKER) as tx:
            present = await store.get_identity(tx)
            fence = await store.get_fence(tx)
            if fence.held_at is not None:
                return Held(fence.reason or DATA_LOSS_HOLD)
            missing: list[str] = []
            if not present == self._proven == fence.approved:
                missing = await self._compare(tx, present, fence)
            evidence = await self._evidence(tx, present, fence, len(missing))
        verdict = judge(fence.approved, present, evidence)
        await self._follow(verdict, present, fence, missing)
        return verdict

    async def end(self) -> None:
        """Say that this worker ends in good order."""
        self._marks.close()
        async with self._db.transaction(Role.WORKER) as tx:
            await store.end_pulse(tx, self._marks.own.worker_id)

    async def _compare(self, tx: Tx, present: Identity, fence: Fence) -> list[str]:
        """What is remembered and not found; notes whose memories are whole."""
        marks = [mark for mark in (self._marks.own, *self._marks.others(present)) if mark.sequence]
        marks = [mark for mark in marks if mark.epoch >= fence.epoch]
        pulses = await store.list_pulses(tx, [mark.worker_id for mark in marks])
        noted = [attempt for mark in marks for attempt in mark.attempts]
        lost = await store.list_missing_attempts(tx, noted) if noted else set()
        whole, missing = [], []
        for mark in marks:
            found = _missing(mark, pulses.get(mark.worker_id), fence.epoch)
            found += [f"attempt {n} of {message}" for _, message, n in lost & set(mark.attempts)]
            missing += found
            whole += [] if found else [mark.worker_id]
        await store.prove(tx, whole, present.started_at)
        return missing

    async def _evidence(self, tx: Tx, present: Identity, fence: Fence, missing: int) -> Evidence:
        if self._noticed is None or self._noticed[0] != present:
            self._noticed = (present, self._clock())
        own = self._marks.own
        is_known = own.sequence > 0 and own.epoch == fence.epoch
        return Evidence(
            missing=missing,
            unproven=await store.count_unproven(
                tx, present.started_at, alive_seconds=ALIVE_SECONDS
            ),
            is_witness=is_known and not missing and time() - own.at < WITNESS_SECONDS_MAX,
            is_announced=fence.is_failover_expected,
            waited_seconds=self._clock() - self._noticed[1],
        )

    async def _follow(
        self, verdict: Verdict, present: Identity, fence: Fence, missing: Sequence[str]
    ) -> None:
        match verdict:
            case Open(because):
                if fence.approved != present:
                    await _open(self._db, present, fence, because)
                await self._pulse(present, fence.epoch)
            case Held(reason):
                await hold(self._db, reason, missing=list(missing)[:20], present=_shown(present))
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


async def _open(db: Database, present: Identity, fence: Fence, because: str) -> None:
    """Let this run send; a failover goes on the record, a plain restart does not."""
    async with db.transaction(Role.OPERATOR) as tx:
        is_news = await store.set_run_if_open(tx, present)
        approved = fence.approved
        if is_news and approved is not None and present.timeline != approved.timeline:
            await audit.record(
                tx,
                None,
                actor="worker",
                act="fence_passed",
                subject="installation",
                reason=because,
                approved=_shown(approved),
                present=_shown(present),
            )
    if is_news:
        _log.info("fence_open", because=because, timeline=present.timeline)


async def hold(db: Database, reason: str, **detail: object) -> bool:
    """Hold all sending until an operator has approved; whether it was not held before."""
    async with db.transaction(Role.OPERATOR) as tx:
        is_news = await store.set_held_if_open(tx, reason, detail)
        if is_news:
            await audit.record(
                tx,
                None,
                actor="worker",
                act="data_loss_held",
                subject="installation",
                reason=reason,
                **detail,
            )
    if is_news:
        _log.error("sending is held: this database may have forgotten mail", reason=reason)
    return is_news


async def status(db: Database) -> Status:
    """The fence as it stands."""
    async with db.transaction(Role.OPERATOR) as tx:
        present = await store.get_identity(tx)
        fence = await store.get_fence(tx)
    is_known = fence.approved in (None, present)
    state = "held" if fence.held_at is not None else "open" if is_known else "unproven"
    return Status(state, fence, present)


async def approve(db: Database, *, reason: str, actor: str) -> Status:
    """End the hold: this database counts from now on, whatever others remember.

    Claims go on within a second or two, each tenant's hold ending with its first.

    Raises Refused when nothing is held and this run is the one that counts already.
    """
    if not reason.strip():
        raise Invalid.at("$.reason", "An approval needs a reason; it is kept.")
    before = await status(db)
    if before.state == "open":
        raise Refused("nothing_held", "Nothing is held: this database is the approved one.")
    async with db.transaction(Role.OPERATOR) as tx:
        await store.approve(tx, before.present)
        await audit.record(
            tx,
            None,
            actor=actor,
            act="fence_approved",
            subject="installation",
            reason=reason,
            held_for=before.fence.reason,
            present=_shown(before.present),
        )
    return await status(db)


async def expect_failover(db: Database, *, seconds: float, actor: str) -> datetime:
    """Believe a promotion for so long, unless a worker misses something; until when."""
    async with db.transaction(Role.OPERATOR) as tx:
        until = await store.expect_failover(tx, seconds=seconds)
        await audit.record(
            tx,
            None,
            actor=actor,
            act="failover_expected",
            subject="installation",
            until=until.isoformat(),
        )
    return until


async def prune_pulses(db: Database) -> None:
    """Forget workers that have long gone."""
    async with db.transaction(Role.WORKER) as tx:
        await store.prune_pulses_before(tx, days=PULSE_KEPT_DAYS)


def _shown(identity: Identity) -> dict[str, object]:
    """For the record; as text, since a system's number is longer than JSON's are read."""
    return {name: str(value) for name, value in asdict(identity).items()}
