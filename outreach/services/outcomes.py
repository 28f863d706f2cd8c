"""What attempts came to, written down with all that follows, once.

An answer of the provider that is not the ordinary one (`services/answers`), an event that proves
acceptance, what a dead worker's recorder knew, a log, a policy, a person, and the rescuer that
finds an attempt nobody answered for: all come here. Whoever is first settles the attempt; the
others change nothing. Core says what an outcome means (`core.outcome`) and where the enrollment
goes (`core.transitions`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never
from uuid import UUID
from zoneinfo import ZoneInfo

from outreach.core import outcome as outcomes
from outreach.core import transitions
from outreach.core.outcome import Accepted, Because, NotSent, Outcome, Rejected, Unknown
from outreach.core.plan import Plan
from outreach.core.states import (
    ActionState,
    AttemptOutcome,
    MessageState,
    Verdict,
)
from outreach.core.transitions import Advance
from outreach.services import contradictions
from outreach.services.contradictions import Saying
from outreach.services.standing import Standing, lock_standings, write_advances
from outreach.sql import Tx
from outreach.store import holds, ledger
from outreach.store.holds import No
from outreach.store.incidents import Incident, raise_incidents
from outreach.store.ledger import LockedMessage, MessageTimer, Settlement

# When an unknown outcome is first looked at again, should no event settle it before.
UNKNOWN_LOOK_SECONDS = 300.0
# A message behind a paused account or sender is due when the pause ends; this is its next look.
PAUSED_RETRY_SECONDS = 60.0


@dataclass(slots=True)
class ArmedStep:
    """Where an enrollment stood when its message was armed."""

    enrollment_id: UUID
    node_id: str
    visit: int
    plan_version: int
    plan: Plan
    zone: ZoneInfo


@dataclass(slots=True)  # frozen takes ten times as long to make
class Result:
    """One attempt's outcome, who says so, and since when (None: the transaction's moment)."""

    message_id: UUID
    attempt: int
    outcome: Outcome
    settled_by: str  # as in `send_attempts` (migrations/0005)
    at: datetime | None = None
    step: ArmedStep | None = None  # known where the claim's own worker answers
    armed_at: datetime | None = None  # of this moment's attempt only; a number may come twice


@dataclass(frozen=True, slots=True)
class Freed:
    """Tokens of a message that was certainly not sent, by when and for whom they were taken."""

    sender_id: UUID
    domain: str
    armed_at: datetime


async def record_outcomes(tx: Tx, tenant_id: UUID, results: Sequence[Result]) -> list[Freed]:
    """Settle attempts; idempotent, any order. The tokens that may be given back.

    Locks the enrollments, then the messages, both in id order. Giving tokens back needs the
    tenant's lock, which comes before these, and so is a transaction of its own.
    """
    if not results:
        return []
    by_attempt = {(result.message_id, result.attempt): result for result in results}
    ids = sorted({result.message_id for result in results})
    enrollments = await ledger.list_attempt_enrollments(tx, tenant_id, ids)
    standings = await lock_standings(tx, tenant_id, sorted(set(enrollments.values())))
    rows = await ledger.lock_messages(tx, tenant_id, sorted(by_attempt))
    pairs = [(row, by_attempt[row.message_id, row.attempt]) for row in rows]
    pairs = [pair for pair in pairs if pair[1].armed_at in (None, pair[0].armed_at)]
    reopened = await contradictions.report(tx, tenant_id, [_saying(*pair) for pair in pairs])
    await _learn_provider_ids(tx, tenant_id, pairs)
    open_pairs = [
        (row, result)
        for row, result in pairs
        if _is_news(row, result) or (row.message_id, row.attempt) in reopened
    ]
    freed = await _write(tx, tenant_id, open_pairs, standings)
    # What was said of an earlier attempt counts again when the later one has come to its end.
    later = {row.message_id for row, _ in open_pairs if row.attempt > 1}
    if later and (proofs := await contradictions.revisit(tx, tenant_id, later)):
        kept = [Result(p.message_id, p.attempt, Accepted(None), "event", p.at) for p in proofs]
        await record_outcomes(tx, tenant_id, kept)
    return freed


def _saying(row: LockedMessage, result: Result) -> Saying:
    recorded = AttemptOutcome(row.attempt_outcome)
    return Saying(row.message_id, row.attempt, recorded, result.outcome, result.settled_by)


def _is_news(row: LockedMessage, result: Result) -> bool:
    if row.attempt_outcome == AttemptOutcome.ARMED:
        return True
    if row.attempt_outcome != AttemptOutcome.UNKNOWN:
        return False
    if result.settled_by == "recorder":  # its message may have been given up meanwhile
        return isinstance(result.outcome, Accepted)
    return isinstance(result.outcome, Accepted | NotSent)


async def _learn_provider_ids(
    tx: Tx, tenant_id: UUID, pairs: Sequence[tuple[LockedMessage, Result]]
) -> None:
    """An answer that comes after its event still says by which id later events find the message."""
    learned = {
        row.message_id: result.outcome.provider_message_id
        for row, result in pairs
        if row.attempt_outcome == AttemptOutcome.ACCEPTED
        and result.settled_by in ("answer", "recorder")
        and isinstance(result.outcome, Accepted)
        and result.outcome.provider_message_id is not None
    }
    if learned:
        await ledger.set_provider_ids(tx, tenant_id, learned)


async def _write(
    tx: Tx,
    tenant_id: UUID,
    pairs: Sequence[tuple[LockedMessage, Result]],
    standings: dict[UUID, Standing],
) -> list[Freed]:
    settlements: list[Settlement] = []
    timers: list[MessageTimer] = []
    moves: list[tuple[Standing, Advance]] = []
    for row, result in pairs:
        standing = standings[row.enrollment_id]
        is_there = standing.is_at(row.node_id, row.visit)
        settlement = _settlement(row, result, is_step_current=is_there)
        settlements.append(settlement)
        advance = _advance(standing, row, settlement) if is_there else None
        if advance is None:
            continue
        if advance.is_timers_only:
            timers.extend(
                MessageTimer(row.enrollment_id, row.message_id, t.node_id, t.visit, t.on, t.due_at)
                for t in advance.timers
            )
            continue
        if settlement.state is MessageState.SENT:
            standing = replace(standing, latest_message_id=row.message_id)
        moves.append((standing, advance))
    if settlements:
        await ledger.settle_attempts(tx, tenant_id, settlements, timers)
    await write_advances(tx, tenant_id, moves)
    await _write_noes(tx, tenant_id, pairs, settlements)
    return [
        Freed(row.sender_id, row.to_domain, row.armed_at)
        for row, result in pairs
        if isinstance(result.outcome, NotSent | Rejected)
    ]


def _settlement(row: LockedMessage, result: Result, *, is_step_current: bool) -> Settlement:
    """What becomes of message and action."""
    # An event's second may begin before its request did, and no acceptance lies ahead of us.
    at = row.now if result.at is None else min(max(result.at, row.armed_at), row.now)
    outcome = result.outcome
    counted = row.counted_attempts + outcomes.counts(outcome)

    def settled(
        state: MessageState,
        action_state: ActionState,
        *,
        due_at: datetime | None = None,
        wake_at: datetime | None = None,
        failure: str | None = None,
    ) -> Settlement:
        return Settlement(
            message_id=row.message_id,
            attempt=row.attempt,
            outcome=outcomes.attempt_outcome(outcome),
            http_status=None if isinstance(outcome, NotSent) else outcome.http_status,
            detail=None if isinstance(outcome, Accepted) else outcome.detail,
            settled_by=result.settled_by,
            state=state,
            provider_id=outcome.provider_message_id if isinstance(outcome, Accepted) else None,
            at=at,
            count=int(outcomes.counts(outcome)),
            wake_at=wake_at,
            failure_code=failure,
            action_state=action_state,
            due_at=due_at,
            is_step_current=is_step_current,
        )

    match outcome:
        case Accepted():
            return settled(MessageState.SENT, ActionState.DONE)
        case Unknown():
            look_at = row.now + timedelta(seconds=UNKNOWN_LOOK_SECONDS)
            return settled(MessageState.UNKNOWN, ActionState.CLAIMED, wake_at=look_at)
        case Rejected(because=Because.MESSAGE):
            return settled(MessageState.FAILED, ActionState.DONE, failure="provider_refused")
        case Rejected(because=Because.LATER) if counted >= outcomes.COUNTED_ATTEMPTS_MAX:
            return settled(MessageState.FAILED, ActionState.DONE, failure="provider_refused")
        case Rejected(because=Because.ACCOUNT | Because.SENDER):
            again = row.now + timedelta(seconds=PAUSED_RETRY_SECONDS)
            return settled(
                MessageState.WAITING_RETRY, ActionState.PENDING, due_at=row.now, wake_at=again
            )
        case Rejected() | NotSent():
            again = outcomes.retry_at(outcome, row.attempt, counted, row.now)
            return settled(
                MessageState.WAITING_RETRY, ActionState.PENDING, due_at=again, wake_at=again
            )
        case _:
            assert_never(outcome)


def _advance(standing: Standing, row: LockedMessage, settlement: Settlement) -> Advance | None:
    """Where the enrollment goes, which stands at this message's step."""
    position = standing.position
    if settlement.state is MessageState.SENT:
        return transitions.on_accepted(
            standing.plan, position, settlement.at, (), standing.zone, row.now
        )
    if settlement.state is MessageState.FAILED:
        reason = settlement.failure_code or "provider_refused"
        return transitions.on_failed(standing.plan, position, reason, standing.zone, row.now)
    return None


async def _write_noes(
    tx: Tx,
    tenant_id: UUID,
    pairs: Sequence[tuple[LockedMessage, Result]],
    settlements: Sequence[Settlement],
) -> None:
    """Decisions and pauses that refusals cause: the message's, the sender's, everybody's."""
    noes: list[No] = []
    refused: dict[Because, list[tuple[LockedMessage, Rejected]]] = defaultdict(list)
    for (row, result), settlement in zip(pairs, settlements, strict=True):
        if not isinstance(result.outcome, Rejected):
            continue
        refused[result.outcome.because].append((row, result.outcome))
        is_final = settlement.state is MessageState.FAILED
        noes.append(
            No(
                row.enrollment_id,
                row.action_id,
                Verdict.REFUSE if is_final else Verdict.HOLD,
                settlement.failure_code or result.outcome.because.value,
                settlement.due_at if result.outcome.because is Because.LATER else None,
                {"status": result.outcome.http_status, "text": result.outcome.detail[:300]},
            )
        )
    if noes:
        await holds.insert_refusals(tx, tenant_id, noes)
    if rows := refused[Because.SENDER]:
        senders = sorted({row.sender_id for row, _ in rows})
        await ledger.pause_senders(tx, tenant_id, senders, rows[0][1].detail[:300])
    later = {row.message_id for row, _ in refused[Because.LATER]}
    untils = [s.due_at for s in settlements if s.message_id in later and s.due_at is not None]
    if untils:
        # Of several moments asked for, the first: then one request shows whether it holds.
        await ledger.delay_provider(tx, min(untils))
    if rows := refused[Because.ACCOUNT]:
        row, answer = rows[0]
        if await ledger.pause_provider(tx, answer.detail[:300]):
            alarm = Incident("provider_paused", str(row.message_id), {"status": answer.http_status})
            await raise_incidents(tx, tenant_id, [alarm])
