"""Settling what nobody answered for: by the provider's logs, then by the policy of the campaign.

Runs each minute on any worker, and may run on several at once: questions to the logs are taken from
one budget in the database, and whatever is written is written only where the message is still
unknown. `core.unknowns` says what is due and which facts a policy asks for.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from uuid import UUID

from outreach import log
from outreach.core import unknowns
from outreach.core.errors import Refused, Unavailable
from outreach.core.outcome import Accepted, NotSent
from outreach.core.states import MessageState
from outreach.core.unknowns import AccountFacts, Case, Step
from outreach.db import Database, Role, lock_tenant
from outreach.providers.protocol import MailLog
from outreach.services.give_up import give_up
from outreach.services.outcomes import Result, record_outcomes
from outreach.services.standing import lock_standings, wake_due
from outreach.sql import Tx
from outreach.store import holds, ledger
from outreach.store import unknowns as store
from outreach.store.unknowns import Evidence, UnknownAttempt
from outreach.store.wakeups import wake

ROWS_MAX = 200
QUESTIONS_MAX = 6
# Questions of one slot begin at least so far apart: a minute, and what their way may differ by.
SLOT_SECONDS = 70.0
AGAIN = timedelta(minutes=1)  # a question for which there was no slot, or no answer

_log = log.get("unknowns")


@dataclass(frozen=True, slots=True)
class Finding:
    """An attempt, how it stands, and what is to be done about it."""

    row: UnknownAttempt
    case: Case
    step: Step
    facts: AccountFacts | None


async def settle_unknowns(db: Database, logs: MailLog | None) -> bool:
    """Look at attempts of unknown outcome that are to be looked at; whether some may be left."""
    async with db.transaction(Role.WORKER) as tx:
        due = await store.list_unknowns_due(tx, rows_max=ROWS_MAX)
    if not due:
        return False
    answers = {} if logs is None else await _ask(db, logs, due)
    cases = {_key(row): _case(row, logs, answers) for row in due}
    facts = await _facts(db, due, cases)
    tenants: dict[UUID, list[Finding]] = defaultdict(list)
    for row in due:
        case, known = cases[_key(row)], facts.get(_since(row.armed_at))
        is_known = answers.get(_key(row)) is True
        step = Step.SENT if is_known else unknowns.step(case, known, row.now)
        tenants[row.tenant_id].append(Finding(row, case, step, known))
    absent = {key for key, answer in answers.items() if answer is False}
    for tenant_id, findings in sorted(tenants.items()):
        await _write(db, tenant_id, findings, absent)
    return len(due) == ROWS_MAX


def _key(row: UnknownAttempt) -> tuple[UUID, int]:
    return row.message_id, row.attempt


def _since(armed_at: datetime) -> datetime:
    """Attempts of one minute share the facts of the mails after it."""
    return armed_at.replace(second=0, microsecond=0) + timedelta(minutes=1)


def _case(
    row: UnknownAttempt, logs: MailLog | None, answers: Mapping[tuple[UUID, int], bool]
) -> Case:
    looked_at = row.now if answers.get(_key(row)) is False else row.looked_at
    return Case(row.armed_at, row.deadline_at, row.campaign_policy, looked_at, logs is not None)


async def _ask(
    db: Database, logs: MailLog, due: Sequence[UnknownAttempt]
) -> dict[tuple[UUID, int], bool]:
    """What the provider's logs say of the oldest, as far as the budget goes and they answer."""
    wanted = [row for row in due if unknowns.is_look_due(_case(row, logs, {}), row.now)]
    if not wanted:
        return {}
    async with db.transaction(Role.WORKER) as tx:
        slots = await store.take_log_slots(
            tx, min(len(wanted), QUESTIONS_MAX), window_seconds=SLOT_SECONDS
        )
    asked = wanted[:slots]
    # All at once: the slots were just taken, and each question is one of its minute.
    said = await asyncio.gather(*(_answer(logs, row) for row in asked))
    return {_key(row): yes for row, yes in zip(asked, said, strict=True) if yes is not None}


async def _answer(logs: MailLog, row: UnknownAttempt) -> bool | None:
    try:
        return await logs.knows(row.message_id, row.attempt, row.to_address)
    except (Unavailable, Refused) as error:
        _log.warning("the provider's logs do not answer", error=str(error))
        return None


async def _facts(
    db: Database, due: Sequence[UnknownAttempt], cases: Mapping[tuple[UUID, int], Case]
) -> dict[datetime, AccountFacts]:
    """The account's facts since each moment of which a policy asks."""
    sinces = {
        _since(row.armed_at) for row in due if unknowns.needs_facts(cases[_key(row)], row.now)
    }
    if not sinces:
        return {}
    async with db.transaction(Role.WORKER) as tx:
        rows = await store.list_account_facts(
            tx,
            sorted(sinces),
            event_patience=unknowns.EVENT_PATIENCE,
            webhook_patience=unknowns.WEBHOOK_PATIENCE,
        )
    return {
        row.since: AccountFacts(
            accepted_after=row.accepted_after,
            told_after=row.told_after,
            accepted_before=row.accepted_before,
            told_before=row.told_before,
            webhooks_late=row.webhooks_late,
            webhooks_quarantined=row.webhooks_quarantined,
            waiting_since=row.waiting_since,
        )
        for row in rows
    }


async def _write(
    db: Database,
    tenant_id: UUID,
    findings: Sequence[Finding],
    absent: Collection[tuple[UUID, int]],
) -> None:
    """One tenant's ends and next looks, in one transaction."""
    by_step: dict[Step, list[Finding]] = defaultdict(list)
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        ids = sorted({finding.row.message_id for finding in findings})
        enrollments = await ledger.list_attempt_enrollments(tx, tenant_id, ids)
        standings = await lock_standings(tx, tenant_id, sorted(set(enrollments.values())))
        held = await store.lock_unknowns(tx, tenant_id, ids, [MessageState.UNKNOWN])
        for finding in findings:
            if finding.row.message_id in held:
                by_step[finding.step].append(finding)
        await _spare_proven(tx, tenant_id, by_step)
        nothing = [
            Evidence(f.row.message_id, f.row.attempt) for f in findings if _key(f.row) in absent
        ]
        await store.insert_evidence(tx, tenant_id, "provider_log", "no_match", nothing)
        now = findings[0].row.now
        await _record(tx, tenant_id, by_step)
        lost = [f.row.message_id for f in by_step[Step.GIVE_UP]]
        advances = await give_up(tx, tenant_id, lost, standings, now)
        looks = {f.row.message_id: _next_look(f) for f in by_step[Step.WAIT]}
        await store.set_next_looks(tx, tenant_id, looks)
        await wake_due(tx, tenant_id, advances, now)
        if by_step[Step.SENT]:
            await wake(tx, "fire_timers", tenant_id=tenant_id)
    if by_step[Step.RESEND]:
        await unpark(db, tenant_id)


async def _spare_proven(tx: Tx, tenant_id: UUID, by_step: dict[Step, list[Finding]]) -> None:
    """A message of which an earlier attempt is proven accepted is sent, not given up.

    Calling the later attempt not sent lets that proof count; no mail follows from it.
    """
    later = [f.row.message_id for f in by_step[Step.GIVE_UP] if f.row.attempt > 1]
    contested = await store.list_contested(tx, tenant_id, later) if later else []
    proven = {one.message_id for one in contested}
    spared = [f for f in by_step[Step.GIVE_UP] if f.row.message_id in proven]
    by_step[Step.RESEND] += spared
    by_step[Step.GIVE_UP] = [f for f in by_step[Step.GIVE_UP] if f not in spared]


async def _record(tx: Tx, tenant_id: UUID, by_step: Mapping[Step, Sequence[Finding]]) -> None:
    """What was found out, and on what grounds."""
    sent, again = by_step.get(Step.SENT, ()), by_step.get(Step.RESEND, ())
    proofs = [Evidence(f.row.message_id, f.row.attempt) for f in sent]
    await store.insert_evidence(tx, tenant_id, "provider_log", "accepted", proofs)
    for step, says in ((Step.RESEND, "presumed_not_accepted"), (Step.GIVE_UP, "given_up")):
        grounds = [
            Evidence(f.row.message_id, f.row.attempt, _grounds(f)) for f in by_step.get(step, ())
        ]
        await store.insert_evidence(tx, tenant_id, "policy", says, grounds)
    presumed = NotSent("presumed_not_accepted")
    results = [
        Result(f.row.message_id, f.row.attempt, Accepted(None), "provider_log", f.row.armed_at)
        for f in sent
    ] + [Result(f.row.message_id, f.row.attempt, presumed, "policy") for f in again]
    # The tokens stay taken: what is presumed may be wrong, and limits hold all the same.
    await record_outcomes(tx, tenant_id, results)


def _grounds(finding: Finding) -> dict[str, object]:
    """The facts on which a policy acted, for whoever asks later."""
    assert finding.facts is not None, "a policy acts on facts"
    waiting = finding.facts.waiting_since
    facts = asdict(finding.facts) | {"waiting_since": None if waiting is None else str(waiting)}
    conditions = unknowns.presumes(finding.case, finding.facts, finding.row.now)
    return {**facts, **conditions, "policy": finding.case.policy.value}


def _next_look(finding: Finding) -> datetime:
    now = finding.row.now
    if unknowns.is_look_due(finding.case, now):
        return now + AGAIN
    return unknowns.next_look_at(finding.case, now)


async def unpark(db: Database, tenant_id: UUID) -> None:
    """Have the tenant's mail looked at: there is something to claim again."""
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        await lock_tenant(tx, tenant_id)
        await holds.park_tenant(tx, tenant_id, None)
        await wake(tx, "send_due", tenant_id=tenant_id)
