"""Answers of the provider, written down as they come.

Nearly all are the same: the provider took the mail, the enrollment still stands at its step, and
nothing but timers follow. Those are one statement for the whole batch, with what the claim knew
handed on instead of read again; the statement itself checks that it is still so. Whatever is
otherwise in any way goes the general way (`services/outcomes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from outreach.core import transitions
from outreach.core.outcome import Accepted
from outreach.core.transitions import Position
from outreach.db import Database, Role, set_actor
from outreach.services.outcomes import ArmedStep, Freed, Result, record_outcomes
from outreach.sql import Tx
from outreach.store import ledger
from outreach.store.ledger import Acceptance, CourseTimer

Course = tuple[tuple[str, datetime], ...]
"""Timers that begin together: the name of each, and when it is due."""


async def record_answers(db: Database, tenant_id: UUID, results: Sequence[Result]) -> list[Freed]:
    """Settle attempts as `record_outcomes` does, each once however often it is repeated.

    In two transactions, because each locks its enrollments in the order of their ids.
    """
    settled: set[UUID] = set()
    ordinary = [
        (result, result.step, result.outcome)
        for result in results
        if result.step is not None and isinstance(result.outcome, Accepted) and result.attempt == 1
    ]
    if ordinary:
        async with db.connection() as tx, tx.transaction():
            now = await set_actor(tx, Role.WORKER, tenant_id)
            settled = await _settle_accepted(tx, tenant_id, ordinary, now)
    others = [result for result in results if result.message_id not in settled]
    if not others:
        return []
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        return await record_outcomes(tx, tenant_id, others)


async def _settle_accepted(
    tx: Tx,
    tenant_id: UUID,
    ordinary: Sequence[tuple[Result, ArmedStep, Accepted]],
    now: datetime,
) -> set[UUID]:
    # All are accepted at one moment, so what follows is the same for all at one step of a plan.
    courses: dict[tuple[int, str, int, str], int | None] = {}
    known: dict[Course, int] = {}  # plans that are alike begin the same timers
    items: list[Acceptance] = []
    for result, step, outcome in ordinary:
        key = (id(step.plan), step.node_id, step.visit, step.zone.key)
        if key not in courses:
            begun = _timers_alone(step, now)
            courses[key] = None if begun is None else known.setdefault(begun, len(known))
        course = courses[key]
        if course is not None:
            items.append(_acceptance(result, step, outcome, course))
    timers = [CourseTimer(course, *timer) for begun, course in known.items() for timer in begun]
    return await ledger.settle_accepted(tx, tenant_id, items, timers) if items else set()


def _acceptance(result: Result, step: ArmedStep, outcome: Accepted, course: int) -> Acceptance:
    return Acceptance(
        result.message_id,
        result.attempt,
        step.enrollment_id,
        step.node_id,
        step.visit,
        step.plan_version,
        outcome.http_status,
        outcome.provider_message_id,
        course,
    )


def _timers_alone(step: ArmedStep, now: datetime) -> Course | None:
    """The timers that an acceptance at the step begins; None where more follows than timers."""
    here = Position(step.node_id, {step.node_id: step.visit}, now, None, None, None)
    advance = transitions.on_accepted(step.plan, here, now, (), step.zone, now)
    if advance is None or not advance.is_timers_only:
        return None
    return tuple((timer.on, timer.due_at) for timer in advance.timers)
