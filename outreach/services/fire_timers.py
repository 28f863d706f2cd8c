"""Timers that are due become events of their own, and move their enrollments.

A timer looks first for an event that forbids it. One that belongs to a paused campaign or
enrollment is parked, and fires after the resume. Enrollments are locked before their timers and
without waiting: what somebody else is moving at this moment is left for the next round.

What was received before is applied before. After an hour without a worker, timers and what people
did in that hour wait side by side; a timer that came first would write to somebody who has opened,
bounced or unsubscribed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from uuid import UUID

from outreach.clock import transaction_now
from outreach.core.plan import SYNTHETIC
from outreach.core.states import ActionState, CampaignState, EnrollmentState, EventType
from outreach.core.transitions import Advance, on_timer
from outreach.db import Database, Role
from outreach.services.standing import (
    Standing,
    histories,
    lock_standings,
    wake_due,
    write_advances,
)
from outreach.sql import Tx
from outreach.store import timers as store
from outreach.store.events import NewEvent, insert_events
from outreach.store.timers import TimerRow

PROVIDER = "outreach"  # of the events that are our own conclusions
# Deliveries are applied within a tenth of a second; what waits for longer holds all timers back, so
# that a stream of them that never pauses holds back none.
UNHEARD_SECONDS_MAX = 2.0
FIRED = "timer"  # the step of a timer that moved its enrollment


async def fire_timers(db: Database, tenant_id: UUID, *, batch: int = 200) -> int:
    """Take up to `batch` due timers; how many fired, were forbidden, or were parked.

    0 when nothing is due, or nothing that is free, or what came in before is not applied. One
    timer of an enrollment a call, since the first may make the next one stale.
    """
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        if not await store.is_running(tx, tenant_id):
            return 0
        due = await store.list_due_timers(
            tx, tenant_id, unheard_seconds=UNHEARD_SECONDS_MAX, rows_max=batch
        )
        if not due:
            return 0
        enrollment_ids = {timer.enrollment_id for timer in due}
        standings = await lock_standings(tx, tenant_id, enrollment_ids, skip_locked=True)
        timers = await store.list_timers(tx, tenant_id, [timer.id for timer in due], standings)
        parked = await _park(tx, tenant_id, timers, standings)
        free = [timer for timer in timers if timer.id not in parked]
        held_back = [timer for timer in free if _is_paused(standings[timer.enrollment_id])]
        ready = [timer for timer in free if timer not in held_back]
        await _fire(tx, tenant_id, [(timer, standings[timer.enrollment_id]) for timer in ready])
        return len(parked) + len(ready)


def _is_paused(standing: Standing) -> bool:
    is_paused = standing.state is EnrollmentState.PAUSED
    return is_paused or standing.campaign_state is CampaignState.PAUSED


async def _park(
    tx: Tx, tenant_id: UUID, timers: Sequence[TimerRow], standings: dict[UUID, Standing]
) -> dict[UUID, str]:
    """Park what a pause holds, with the scope that holds it.

    A campaign that is just being resumed is not in it: its timers would stay parked for ever.
    """
    paused = {
        standing.campaign_id
        for timer in timers
        if (standing := standings[timer.enrollment_id]).campaign_state is CampaignState.PAUSED
    }
    campaigns = await store.share_paused_campaigns(tx, tenant_id, paused) if paused else set()
    held_by: dict[UUID, str] = {}
    for timer in timers:
        standing = standings[timer.enrollment_id]
        if standing.campaign_id in campaigns:
            held_by[timer.id] = "campaign"
        elif standing.state is EnrollmentState.PAUSED:
            held_by[timer.id] = "enrollment"
    if held_by:
        await store.park_timers(tx, tenant_id, held_by)
    return held_by


async def _fire(tx: Tx, tenant_id: UUID, due: Sequence[tuple[TimerRow, Standing]]) -> None:
    """Let core decide for each, and write it: at most seven statements for all."""
    if not due:
        return
    now = await transaction_now(tx)
    latest = {s.latest_message_id for _, s in due if s.latest_message_id is not None}
    history = await histories(tx, tenant_id, latest)
    advances: list[tuple[Standing, Advance]] = []
    events: list[NewEvent] = []
    states: dict[UUID, ActionState] = {}
    for timer, standing in due:
        if standing.has_ended:
            states[timer.id] = ActionState.CANCELED
            continue
        states[timer.id] = ActionState.DONE
        message_id = standing.latest_message_id
        advance = on_timer(
            standing.plan,
            standing.position,
            timer.trigger,
            timer.visit,
            timer.node_id,
            [] if message_id is None else history.get(message_id, []),
            standing.zone,
            now,
        )
        if advance is not None:
            advances.append((standing, _signed(advance, timer)))
            events += _event(timer, standing, advance)
    # Before the moves, which cancel whatever is still pending.
    await store.close_timers(tx, tenant_id, states)
    if events:
        await insert_events(tx, tenant_id, events)
    await write_advances(tx, tenant_id, advances)
    await wake_due(tx, tenant_id, [advance for _, advance in advances], now)


def _signed(advance: Advance, timer: TimerRow) -> Advance:
    """The advance whose steps name the timer that took them."""
    steps = tuple(
        replace(step, event_id=str(timer.id)) if step.code == FIRED else step
        for step in advance.steps
    )
    return replace(advance, steps=steps)


def _event(timer: TimerRow, standing: Standing, advance: Advance) -> list[NewEvent]:
    """What the timer concluded about the latest message, if it concluded anything."""
    fired = [step for step in advance.steps if step.code == FIRED]
    if not fired or timer.trigger not in SYNTHETIC or standing.latest_message_id is None:
        return []
    return [
        NewEvent(
            provider=PROVIDER,
            id=str(timer.id),
            message_id=standing.latest_message_id,
            enrollment_id=standing.enrollment_id,
            type=EventType(timer.trigger),
            at=fired[0].at.astimezone(UTC),  # its own moment, which a pause may have put off
            is_machine=False,
            attempt=None,
            reason=None,
            detail={"node_id": timer.node_id, "visit": timer.visit},
        )
    ]
