"""Enrollments as core sees them: locked and read by the set, moved by the set.

`lock_standings` → core decides → `write_advances`, in one transaction. The row lock of an
enrollment is what makes its steps follow each other; the number of statements does not depend on
how many enrollments there are.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from outreach.core.delivery import DropReason, trigger_of
from outreach.core.plan import Plan, Trigger
from outreach.core.schedule import zone_for
from outreach.core.states import (
    ENROLLMENT_ENDS,
    ActionKind,
    ActionState,
    CampaignState,
    EnrollmentState,
    EventType,
)
from outreach.core.transitions import Advance, Event, Position
from outreach.ids import new_id
from outreach.services.plans import load_plans
from outreach.sql import Tx
from outreach.store import enrollments as store
from outreach.store.enrollments import HistoryRow, Move, NewAction, NewStep, StandingRow
from outreach.store.wakeups import wake


@dataclass(frozen=True, slots=True)
class Standing:
    """One enrollment whose row the transaction holds, with all that decides its next step.

    Before launch the position is the start node, not yet visited.
    """

    enrollment_id: UUID
    campaign_id: UUID
    contact_id: UUID
    sender_id: UUID
    campaign_state: CampaignState
    plan: Plan
    state: EnrollmentState
    position: Position
    zone: ZoneInfo
    latest_message_id: UUID | None  # written back as it is: replace it when a message was accepted
    step_action_state: ActionState | None  # of the current step's send; None on a wait node
    is_step_attempted: bool  # its message is in the ledger

    @property
    def has_ended(self) -> bool:
        """Nothing moves it any more."""
        return self.state in ENROLLMENT_ENDS

    def is_at(self, node_id: str, visit: int) -> bool:
        """Whether it still stands at this step; a paused one does."""
        position = self.position
        is_there = position.node_id == node_id and position.visits.get(node_id) == visit
        return is_there and not self.has_ended

    @property
    def can_take_back(self) -> bool:
        """The step that a timer took may still be undone: its send has not been claimed."""
        return self.position.previous is not None and self.is_untouched

    @property
    def is_untouched(self) -> bool:
        """It is on its way and its step's send has not been claimed, or the step has none."""
        if self.has_ended:
            return False
        is_waiting = self.step_action_state is ActionState.PENDING and not self.is_step_attempted
        return self.step_action_state is None or is_waiting


async def lock_standings(
    tx: Tx, tenant_id: UUID, enrollment_ids: Collection[UUID], *, skip_locked: bool = False
) -> dict[UUID, Standing]:
    """Hold these enrollments to the transaction's end and read them; unknown ids are left out.

    Locks in id order, waiting; with `skip_locked` it never waits and leaves out what others hold.
    May be called again in the same transaction to read what has changed since.
    """
    if not enrollment_ids:
        return {}
    held = await store.lock_enrollments(tx, tenant_id, enrollment_ids, skip_locked=skip_locked)
    rows = await store.list_standings(tx, tenant_id, held)
    plans = await load_plans(tx, tenant_id, {(row.campaign_id, row.plan_version) for row in rows})
    return {
        row.enrollment_id: _standing(row, plans[row.campaign_id, row.plan_version]) for row in rows
    }


async def histories(
    tx: Tx, tenant_id: UUID, message_ids: Collection[UUID]
) -> dict[UUID, list[Event]]:
    """What is known to have happened to each message, oldest first, in the plan's words.

    Every event is marked as the latest message's: whoever asks about another says so itself.
    """
    found: dict[UUID, list[Event]] = defaultdict(list)
    if message_ids:
        for row in await store.list_history(tx, tenant_id, message_ids):
            found[row.message_id].append(_event(row))
    return found


async def write_advances(
    tx: Tx, tenant_id: UUID, items: Sequence[tuple[Standing, Advance]]
) -> None:
    """Write what core decided for enrollments that this transaction holds, each once.

    Moves them, takes back and adds actions, adds to their histories, and completes a campaign with
    its last live enrollment. A paused enrollment moves and stays paused.
    """
    if not items:
        return
    assert len({standing.enrollment_id for standing, _ in items}) == len(items), "one move each"
    moves = [_move(standing, advance) for standing, advance in items]
    moved = await store.move_enrollments(tx, tenant_id, moves)
    assert moved == len(moves), "an enrollment that has ended was moved"
    canceled = [standing.enrollment_id for standing, advance in items if advance.cancels_pending]
    if canceled:
        await store.cancel_actions(tx, tenant_id, canceled)
    actions = [action for standing, advance in items for action in _actions(standing, advance)]
    if actions:
        await store.insert_actions(tx, tenant_id, actions)
    steps = _steps(items)
    if steps:
        await store.insert_steps(tx, tenant_id, steps)
    ended = {s.campaign_id for s, advance in items if advance.state in ENROLLMENT_ENDS}
    if ended:
        await store.complete_campaigns(tx, tenant_id, ended)


async def wake_due(tx: Tx, tenant_id: UUID, advances: Sequence[Advance], now: datetime) -> None:
    """Have workers look, at commit, where these left something that is due now."""
    if any(send.due_at <= now for advance in advances for send in advance.sends):
        await wake(tx, "send_due", tenant_id=tenant_id)
    if any(timer.due_at <= now for advance in advances for timer in advance.timers):
        await wake(tx, "fire_timers", tenant_id=tenant_id)


def _standing(row: StandingRow, plan: Plan) -> Standing:
    position = _position(row, plan)
    node = plan.node(position.node_id)
    action_state = None if row.step_action_state is None else ActionState(row.step_action_state)
    if action_state is None and node.action == "send" and position.visits:
        action_state = ActionState.DONE  # a send node's action exists, and it is not open
    return Standing(
        enrollment_id=row.enrollment_id,
        campaign_id=row.campaign_id,
        contact_id=row.contact_id,
        sender_id=row.sender_id,
        campaign_state=CampaignState(row.campaign_state),
        plan=plan,
        state=EnrollmentState(row.state),
        position=position,
        zone=zone_for(plan, row.contact_zone),
        latest_message_id=row.latest_message_id,
        step_action_state=action_state,
        is_step_attempted=row.is_step_attempted,
    )


def _position(row: StandingRow, plan: Plan) -> Position:
    if row.current_node_id is None:
        return Position(plan.start_node_id, {}, datetime.min.replace(tzinfo=UTC), None, None, None)
    assert row.entered_at is not None, "an enrollment that stands on a node entered it"
    return Position(
        node_id=row.current_node_id,
        visits=row.visits,
        entered_at=row.entered_at.astimezone(UTC),
        came_by=None if row.came_by is None else Trigger(row.came_by),
        accepted_at=None if row.accepted_at is None else row.accepted_at.astimezone(UTC),
        message_node_id=row.message_node_id,
        previous=None if row.previous is None else read_position(row.previous),
    )


def read_position(data: Mapping[str, Any]) -> Position:
    """A position without its own `previous`, from the JSON that `position_json` wrote."""
    accepted_at, came_by = data["accepted_at"], data["came_by"]
    return Position(
        node_id=data["node_id"],
        visits=data["visits"],
        entered_at=datetime.fromisoformat(data["entered_at"]),
        came_by=None if came_by is None else Trigger(came_by),
        accepted_at=None if accepted_at is None else datetime.fromisoformat(accepted_at),
        message_node_id=data["message_node_id"],
    )


def position_json(position: Position) -> str:
    """A position without its `previous`: one step back is all that can be taken."""
    accepted_at = position.accepted_at
    return json.dumps(
        {
            "node_id": position.node_id,
            "visits": dict(position.visits),
            "entered_at": position.entered_at.isoformat(),
            "came_by": position.came_by,
            "accepted_at": None if accepted_at is None else accepted_at.isoformat(),
            "message_node_id": position.message_node_id,
        }
    )


def _event(row: HistoryRow) -> Event:
    event_type = EventType(row.event_type)
    if event_type is EventType.DROPPED:
        word = trigger_of(event_type, DropReason(row.reason or DropReason.OTHER))
    else:
        word = trigger_of(event_type)
    assert word is not None, "a history holds only what a plan can name"
    return Event(row.provider_event_id, word, row.event_at.astimezone(UTC), row.is_machine)


def _move(standing: Standing, advance: Advance) -> Move:
    position, state = advance.position, advance.state
    if standing.state is EnrollmentState.PAUSED and state is EnrollmentState.ACTIVE:
        state = EnrollmentState.PAUSED
    has_ended = state in ENROLLMENT_ENDS
    return Move(
        enrollment_id=standing.enrollment_id,
        state=state,
        node_id=position.node_id,
        visits=json.dumps(dict(position.visits)),
        entered_at=position.entered_at,
        came_by=position.came_by,
        accepted_at=position.accepted_at,
        latest_message_id=standing.latest_message_id,
        message_node_id=position.message_node_id,
        previous=None if position.previous is None else position_json(position.previous),
        end_reason=(advance.end_reason or state.value) if has_ended else None,
    )


def _actions(standing: Standing, advance: Advance) -> list[NewAction]:
    def action(
        node_id: str, visit: int, kind: ActionKind, trigger: str | None, due_at: datetime
    ) -> NewAction:
        sender_id = standing.plan.node(node_id).sender_identity_id or standing.sender_id
        return NewAction(
            enrollment_id=standing.enrollment_id,
            campaign_id=standing.campaign_id,
            sender_id=sender_id,
            node_id=node_id,
            visit=visit,
            kind=kind,
            trigger=trigger,
            due_at=due_at,
        )

    sends = [action(s.node_id, s.visit, ActionKind.SEND, None, s.due_at) for s in advance.sends]
    timers = [
        action(t.node_id, t.visit, ActionKind.TIMEOUT, t.on, t.due_at) for t in advance.timers
    ]
    return sends + timers


def _steps(items: Sequence[tuple[Standing, Advance]]) -> list[NewStep]:
    pairs = [(standing, advance, step) for standing, advance in items for step in advance.steps]
    # Sorted, so that steps of one transaction read back in the order in which they were taken.
    ids = sorted(new_id() for _ in pairs)
    return [
        NewStep(
            id=id_,
            enrollment_id=standing.enrollment_id,
            from_node_id=step.from_node_id,
            to_node_id=step.to_node_id,
            visit=step.visit,
            trigger=step.trigger,
            code=step.code,
            reason=advance.end_reason if step.to_node_id is None else None,
            event_id=step.event_id,
            at=step.at,
        )
        for id_, (standing, advance, step) in zip(ids, pairs, strict=True)
    ]
