"""Sending what is due: claim, hand over, record, several batches at a time.

Each batch goes through three phases, with no provider call inside a transaction: the claim arms it,
the requests run all at once, and outcomes are recorded as they come, so that a slow answer delays
nobody's record. A worker that dies in between leaves attempts armed: what its recorder knows of
them is written down (`services/recover`), the rescuer calls the rest unknown when their deadline
has passed, and nothing is sent twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from uuid import UUID

import psycopg

from outreach import log
from outreach.config import Settings
from outreach.core.errors import Invalid, Unavailable
from outreach.core.mail import Mail
from outreach.core.outcome import Accepted, NotSent, Outcome, Unknown
from outreach.db import Database, Role, is_connection_lost, lock_tenant
from outreach.providers.protocol import MailProvider
from outreach.recorder import NO_RECORDER, Recorder
from outreach.services import sender_limits, tokens
from outreach.services.answers import record_answers
from outreach.services.claim import Claim, claim_batch
from outreach.services.compose import Terms
from outreach.services.intended import settle_intended
from outreach.services.outcomes import ArmedStep, Freed, Result
from outreach.services.refuse import refuse
from outreach.services.turns import Flight, Turns
from outreach.store import counters, holds, ledger
from outreach.store.breaker import open_breaker
from outreach.store.incidents import Incident, raise_incidents

# Answers that are there are recorded at least this often while others are awaited.
RECORD_SECONDS = 0.25
# How long outcomes that are known are kept in hand while the database is away.
RECORD_PATIENCE_SECONDS = 20.0
RESCUE_ROWS_MAX = 500
# Until what others hold is asked for again; they hold it for the length of a statement, mostly.
HELD_UP_SECONDS = 0.05
# So many answers that say nothing, and none that does, are an outage.
OUTAGE_ANSWERS_MIN = 3
# The first wait and the longest: each is twice the one before until a probe gets through.
OUTAGE_SECONDS = (60.0, 900.0)
UNREACHABLE_SECONDS = (5.0, 60.0)  # nothing left, so nothing is lost by looking again soon

_log = log.get("send")


@dataclass(frozen=True, slots=True)
class SendContext:
    """What sending needs; made once a process."""

    db: Database
    provider: MailProvider
    terms: Terms
    batch_max: int = 100
    batches_in_flight: int = 3
    deadline_seconds: float = 10.0
    recorder: Recorder = NO_RECORDER
    armed: Callable[[UUID, Sequence[Mail]], None] = lambda tenant_id, mails: None
    turns: Turns = field(kw_only=True)


def send_context(
    db: Database, provider: MailProvider, settings: Settings, recorder: Recorder = NO_RECORDER
) -> SendContext:
    """From the settings; raises Invalid when links could not be signed."""
    if not settings.secrets:
        raise Invalid.at("SECRET_KEY", "is not set, and unsubscribe links must be signed.")
    return SendContext(
        db=db,
        provider=provider,
        terms=Terms(settings.public_url, settings.secrets, settings.inbound_domain),
        batch_max=settings.send_batch_max,
        batches_in_flight=settings.send_batches_in_flight,
        deadline_seconds=settings.send_deadline_seconds,
        recorder=recorder,
        turns=Turns(
            batch_max=settings.send_batch_max,
            flying_max=settings.send_batch_max * settings.send_batches_in_flight
            + settings.send_connections,
            room=provider.room,
        ),
    )


async def send_due(
    context: SendContext, tenant_id: UUID, *, stop: asyncio.Event, slice_seconds: float
) -> bool:
    """Send a tenant's due mail until none is left, the time is over, or `stop` is set.

    Whether some may be left. What has been claimed is always brought to its end.
    """
    ends_at = monotonic() + slice_seconds
    running: set[asyncio.Task[None]] = set()
    has_more = True
    seat = context.turns.enter(tenant_id)
    try:
        while True:
            while has_more and len(running) < context.batches_in_flight:
                if stop.is_set() or monotonic() >= ends_at or seat.is_over:
                    break
                async with seat.turn():
                    claim = None if stop.is_set() else await _claim(context, tenant_id)
                    if claim is None:
                        break
                    has_more = claim.seen > 0 or claim.is_held_up
                    seat.weight = claim.weight
                    if claim.is_held_up:
                        break
                    if claim.mails:
                        flight = seat.begin_flight(len(claim.mails))
                        batch = _deliver(context, tenant_id, claim, flight)
                        running.add(asyncio.create_task(batch))
            if not running:
                if has_more:  # held up, out of time, or without room
                    await asyncio.sleep(HELD_UP_SECONDS)
                return has_more
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.gather(*done)
    finally:
        seat.leave()
        await asyncio.gather(*running, return_exceptions=True)  # the first failure has been told


async def _claim(context: SendContext, tenant_id: UUID) -> Claim | None:
    """The next batch, no larger than what can begin within a second; None without room."""
    turns = context.turns
    size = min(context.batch_max, turns.free_room())
    if size < 1:
        return None
    turns.reserved += size
    mails = 0
    try:
        claim = await claim_batch(
            context.db,
            tenant_id,
            size_max=size,
            terms=context.terms,
            deadline_seconds=context.deadline_seconds,
            recorder=context.recorder,
        )
        await _see_to_the_rest(context, tenant_id, claim)
        mails = len(claim.mails)
        return claim
    finally:
        turns.reserved -= size - mails  # each of the others when its request begins


async def _see_to_the_rest(context: SendContext, tenant_id: UUID, claim: Claim) -> None:
    """What a claim leaves to do before its mails may go."""
    try:
        context.armed(tenant_id, claim.mails)  # before the first request: the fence remembers it
        await refuse(context.db, tenant_id, claim.refused)
        await settle_intended(context.db, tenant_id, claim.intended)
    except BaseException:  # nobody sends these
        context.recorder.lapse(claim.attempts)
        raise


async def _deliver(context: SendContext, tenant_id: UUID, claim: Claim, flight: Flight) -> None:
    """Hand over a batch and record each outcome soon after it is known."""
    recorder = context.recorder
    tasks = {
        asyncio.create_task(_hand_over(context, mail, claim.start_by)): (mail, step)
        for mail, step in zip(claim.mails, claim.steps, strict=True)
    }
    pending: set[asyncio.Task[Outcome]] = set(tasks)
    try:
        while pending:
            done, pending = await asyncio.wait(pending, timeout=RECORD_SECONDS)
            if done:
                flight.answered(len(done))
                results = [_result(*tasks[task], task) for task in done]
                await record(context.db, tenant_id, results)
                recorder.release((result.message_id, result.attempt) for result in results)
                await sender_limits.begin_warm_ups(context.db, tenant_id, claim.newcomers, results)
                await _mind_provider(context.db, tenant_id, results, is_probe=claim.is_probe)
    except BaseException:
        for task, (mail, _) in tasks.items():
            task.add_done_callback(partial(_let_lapse, recorder, mail))
        raise
    finally:
        flight.end()


def _let_lapse(recorder: Recorder, mail: Mail, _: asyncio.Task[Outcome]) -> None:
    recorder.lapse(((mail.message_id, mail.attempt),))


async def _hand_over(context: SendContext, mail: Mail, start_by: float) -> Outcome:
    """One request, with a word to the recorder before it leaves and when it is answered."""
    context.turns.reserved -= 1
    slot = context.recorder.slot(mail.message_id, mail.attempt)
    outcome = await context.provider.send(mail, start_by=start_by, leaving=slot.leaving)
    slot.answered(outcome)
    return outcome


def _result(mail: Mail, step: ArmedStep, task: asyncio.Task[Outcome]) -> Result:
    error = task.exception()
    if error is not None:
        _log.error("a request ended in a way that is not foreseen", error=repr(error))
        return Result(mail.message_id, mail.attempt, Unknown(type(error).__name__), "answer")
    return Result(mail.message_id, mail.attempt, task.result(), "answer", step=step)


async def record(db: Database, tenant_id: UUID, results: Sequence[Result]) -> None:
    """Write outcomes down, waiting for the database for a while should it be away.

    When it stays away, the attempts stay armed and the rescuer finds them.
    """
    ends_at = monotonic() + RECORD_PATIENCE_SECONDS
    pause_seconds = 0.1
    while True:
        try:
            freed = await record_answers(db, tenant_id, results)
            break
        except (psycopg.Error, Unavailable) as error:
            if isinstance(error, psycopg.Error) and not is_connection_lost(error):
                raise
            if monotonic() + pause_seconds > ends_at:
                raise
            _log.warning("outcomes wait for the database", error=type(error).__name__)
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, 2.0)
    if freed:
        await give_back(db, tenant_id, freed)


async def _mind_provider(
    db: Database, tenant_id: UUID, results: Sequence[Result], *, is_probe: bool
) -> None:
    """Break off when nothing gets through, and go on when a probe did.

    Whatever is sent into an outage ends unknown and is never sent again by itself, so after a few
    answers of that kind and no other nobody sends for a while; then one mail tries.
    """
    outcomes = [result.outcome for result in results]
    if any(isinstance(outcome, Accepted) for outcome in outcomes):
        if is_probe:
            async with db.transaction(Role.WORKER, tenant_id) as tx:
                await ledger.resume_provider(tx)
        return
    has_none = all(isinstance(o, NotSent) and o.is_unreachable for o in outcomes)
    is_out = all(isinstance(outcome, Unknown) for outcome in outcomes)
    if not has_none and not (is_out and (is_probe or len(outcomes) >= OUTAGE_ANSWERS_MIN)):
        return
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        first, longest = UNREACHABLE_SECONDS if has_none else OUTAGE_SECONDS
        seconds = await open_breaker(tx, first_seconds=first, seconds_max=longest)
        has_lasted = seconds is not None and seconds >= UNREACHABLE_SECONDS[1]
        if not has_none or has_lasted:
            await raise_incidents(tx, tenant_id, [Incident("provider_outage", "sendgrid")])
    if seconds is not None:
        _log.warning("the provider does not answer", pause_seconds=seconds, requests=len(outcomes))


async def give_back(db: Database, tenant_id: UUID, freed: Sequence[Freed]) -> None:
    """Return the tokens of what was certainly not sent; lost in a crash, they expire."""
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        await lock_tenant(tx, tenant_id)
        taken = tokens.every_window([(f.sender_id, f.domain, f.armed_at) for f in freed])
        taken += await sender_limits.freed_of_pools(tx, tenant_id, freed)
        await counters.give_back_tokens(tx, tenant_id, taken)
        await holds.park_tenant(tx, tenant_id, None)  # there is something to claim again
        windows = tokens.installation_windows([f.armed_at for f in freed])
        await counters.give_back_installation(tx, windows)


async def rescue(db: Database, *, grace_seconds: float = 0.0) -> int:
    """Call attempts unknown whose process has not answered for them; how many there were.

    They may have been accepted: an event settles them, or a later look. None is sent again.
    """
    async with db.transaction(Role.WORKER) as tx:
        overdue = await ledger.list_overdue_attempts(
            tx, grace_seconds=grace_seconds, rows_max=RESCUE_ROWS_MAX
        )
    for tenant_id in sorted({one.tenant_id for one in overdue}):
        results = [
            Result(one.message_id, one.attempt, Unknown("its worker ended"), "rescuer")
            for one in overdue
            if one.tenant_id == tenant_id
        ]
        await record(db, tenant_id, results)
    return len(overdue)
