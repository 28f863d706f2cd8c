"""Messages in people's hands: which are unsettled, what is known of one, and a person's word.

A person may say what became of a message of which nobody knows. It is evidence like any other, only
with a name and a reason: proof of acceptance that comes later still wins, and is then an incident.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never
from uuid import UUID

from outreach.core.errors import Conflict, Invalid, NotFound
from outreach.core.outcome import Accepted, NotSent
from outreach.core.states import ActionState, AttemptOutcome, MessageState, Verdict
from outreach.core.transitions import Advance, on_failed
from outreach.db import Database, Role
from outreach.services import audit
from outreach.services.give_up import give_up
from outreach.services.outcomes import Result, record_outcomes
from outreach.services.settle_unknowns import unpark
from outreach.services.standing import Standing, lock_standings, wake_due, write_advances
from outreach.sql import Tx
from outreach.store import holds, ledger, unknowns
from outreach.store import messages as store
from outreach.store.holds import No
from outreach.store.ledger import Settlement
from outreach.store.messages import EvidenceRow, IncidentRow, MessageRow, TryRow, UnsettledRow
from outreach.store.unknowns import Evidence
from outreach.store.wakeups import wake

REASON_LENGTH_MAX = 500
NOT_SENT_CODE = "settled_not_sent"


class Word(StrEnum):
    """What a person says became of a message."""

    SENT = "sent"
    NOT_SENT = "not_sent"  # and it is not sent any more
    RESEND = "resend"  # it was not sent, and is to be
    ABANDONED = "abandoned"  # nobody will know; it is given up


_SAYS: Mapping[Word, str] = {
    Word.SENT: "accepted",
    Word.NOT_SENT: "not_sent",
    Word.RESEND: "not_sent",
    Word.ABANDONED: "given_up",
}


@dataclass(frozen=True, slots=True)
class Message:
    """A message with all that is known of it."""

    row: MessageRow
    attempts: list[TryRow]
    evidence: list[EvidenceRow]
    incidents: list[IncidentRow]


async def list_unsettled(
    db: Database, tenant_id: UUID, state: MessageState, *, rows_max: int
) -> list[UnsettledRow]:
    """Messages of which nobody knows, or that were given up for it; oldest first."""
    async with db.transaction(Role.APP, tenant_id) as tx:
        return await store.list_unsettled(tx, tenant_id, state, rows_max=rows_max)


async def show(db: Database, tenant_id: UUID, message_id: UUID) -> Message:
    """All that is known of a message; NotFound."""
    async with db.transaction(Role.APP, tenant_id) as tx:
        row = await store.find_message(tx, tenant_id, message_id)
        if row is None:
            raise NotFound("message", message_id)
        return Message(
            row,
            await store.list_tries(tx, tenant_id, message_id),
            await store.list_evidence(tx, tenant_id, message_id),
            await store.list_message_incidents(tx, tenant_id, message_id),
        )


async def settle(
    db: Database, tenant_id: UUID, message_id: UUID, word: Word, *, reason: str, actor: str
) -> MessageState:
    """Record a person's word about a message of unknown outcome; the state that it comes to.

    Raises NotFound, Invalid without a reason, Conflict when the message is not unknown (one that
    was given up may still be said to have been sent).
    """
    reason = reason.strip()
    if not reason or len(reason) > REASON_LENGTH_MAX:
        raise Invalid.at("reason", f"A reason has 1 to {REASON_LENGTH_MAX} characters.")
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        enrollments = await ledger.list_attempt_enrollments(tx, tenant_id, [message_id])
        standings = await lock_standings(tx, tenant_id, list(enrollments.values()))
        row = await _held(tx, tenant_id, message_id, word)
        attempt = row.unknown_attempt
        assert attempt is not None, "a message is unknown by an attempt"
        said = Evidence(message_id, attempt, {"who": actor, "reason": reason, "word": word.value})
        await unknowns.insert_evidence(tx, tenant_id, "person", _SAYS[word], [said])
        advances = await _apply(tx, tenant_id, row, attempt, word, standings)
        await audit.record(
            tx,
            tenant_id,
            actor=actor,
            act="message_settled",
            subject=str(message_id),
            reason=reason,
            word=word.value,
            attempt=attempt,
        )
        after = await store.find_message(tx, tenant_id, message_id)
        assert after is not None
        await wake_due(tx, tenant_id, advances, row.now)
        if word is Word.SENT:
            await wake(tx, "fire_timers", tenant_id=tenant_id)
    if word is Word.RESEND:
        await unpark(db, tenant_id)
    return MessageState(after.state)


async def _held(tx: Tx, tenant_id: UUID, message_id: UUID, word: Word) -> MessageRow:
    """The message, locked, in a state in which the word means something."""
    states = [MessageState.UNKNOWN]
    if word is Word.SENT:
        states.append(MessageState.ABANDONED)
    held = await unknowns.lock_unknowns(tx, tenant_id, [message_id], states)
    row = await store.find_message(tx, tenant_id, message_id)
    if row is None:
        raise NotFound("message", message_id)
    if not held:
        raise Conflict("message", message_id, expected="unknown", actual=row.state)
    return row


async def _apply(
    tx: Tx,
    tenant_id: UUID,
    row: MessageRow,
    attempt: int,
    word: Word,
    standings: Mapping[UUID, Standing],
) -> list[Advance]:
    """What the word does to message, action and enrollment; the enrollment's moves."""
    match word:
        case Word.SENT:
            at = row.unknown_armed_at
            result = Result(row.id, attempt, Accepted(None), "person", at)
            await record_outcomes(tx, tenant_id, [result])
        case Word.RESEND:
            result = Result(row.id, attempt, NotSent("a person says so"), "person")
            await record_outcomes(tx, tenant_id, [result])
        case Word.ABANDONED:
            return await give_up(tx, tenant_id, [row.id], standings, row.now)
        case Word.NOT_SENT:
            return await _fail(tx, tenant_id, row, attempt, standings[row.enrollment_id])
        case _:
            assert_never(word)
    return []


async def _fail(
    tx: Tx, tenant_id: UUID, row: MessageRow, attempt: int, standing: Standing
) -> list[Advance]:
    """It was not sent, and is not to be: the message fails."""
    is_current = standing.is_at(row.node_id, row.visit)
    settlement = Settlement(
        message_id=row.id,
        attempt=attempt,
        outcome=AttemptOutcome.NOT_SENT,
        http_status=None,
        detail="a person says so",
        settled_by="person",
        state=MessageState.FAILED,
        provider_id=None,
        at=row.now,
        count=0,
        wake_at=None,
        failure_code=NOT_SENT_CODE,
        action_state=ActionState.DONE,
        due_at=None,
        is_step_current=is_current,
    )
    await ledger.settle_attempts(tx, tenant_id, [settlement], [])
    no = No(row.enrollment_id, row.action_id, Verdict.REFUSE, NOT_SENT_CODE)
    moves = []
    if is_current:
        plan, position = standing.plan, standing.position
        moves = [(standing, on_failed(plan, position, NOT_SENT_CODE, standing.zone, row.now))]
    await write_advances(tx, tenant_id, moves)
    await holds.insert_refusals(tx, tenant_id, [no])
    return [advance for _, advance in moves]
