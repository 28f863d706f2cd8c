"""What events of one tenant do: stored once, then message, enrollment and suppressions follow.

Everything happens in the caller's transaction and only for events that are new, so that a repeat,
in whatever company, changes nothing. Locks in the documented order: event keys by id, the
suppression list, enrollments by id, messages, actions, campaigns, contacts, senders' outcomes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from outreach.core.address import normalize_address
from outreach.core.delivery import DropReason, delivery_of, raised, trigger_of
from outreach.core.outcome import Accepted
from outreach.core.states import AttemptOutcome, Delivery, EventType, SuppressionReason
from outreach.core.suppression import reason_to_record
from outreach.core.transitions import Advance, Event, on_events
from outreach.services.grade_events import Regraded, grade_events
from outreach.services.mistakes import find_mistakes
from outreach.services.outcomes import Result, record_outcomes
from outreach.services.standing import (
    Standing,
    histories,
    lock_standings,
    write_advances,
)
from outreach.services.suppress import SuppressionEntry, suppress
from outreach.services.unpack import Key, OwnedEvent
from outreach.sql import Tx
from outreach.store import events as store
from outreach.store.events import NewEvent
from outreach.store.incidents import Incident, raise_incidents
from outreach.store.reputation import SenderOutcomes, add_outcomes
from outreach.store.suppressions import share_suppressions

_OPEN_OUTCOMES = frozenset({AttemptOutcome.ARMED, AttemptOutcome.UNKNOWN})


async def fold_events(
    tx: Tx, tenant_id: UUID, owned: Sequence[OwnedEvent], now: datetime
) -> list[Advance]:
    """Store and apply those that are new; the moves that they led to.

    The transaction acts for this tenant; it wakes nobody (see `wake_due`). The number of statements
    does not grow with `owned`.
    """
    fresh_keys = await store.insert_events(tx, tenant_id, [_stored(item) for item in owned])
    fresh = [item for item in owned if item.key in fresh_keys]
    if not fresh:
        return []
    reasons = _reasons(fresh)
    if reasons:
        await share_suppressions(tx, tenant_id)
    results, incidents = await _proofs(tx, tenant_id, fresh)
    proven = {result.message_id for result in results}
    touched = {item.enrollment_id for item in fresh if item.message_id in proven or _matters(item)}
    standings = await lock_standings(tx, tenant_id, touched)
    if incidents:
        await raise_incidents(tx, tenant_id, incidents)
    if results:
        await record_outcomes(tx, tenant_id, results)
        standings = await lock_standings(tx, tenant_id, touched)
    outcomes = await _raise_deliveries(tx, tenant_id, fresh)
    regraded = await grade_events(tx, tenant_id, fresh)
    advances = await _advances(tx, tenant_id, fresh, regraded, standings, now)
    await write_advances(tx, tenant_id, advances)
    if reasons:
        await _suppress(tx, tenant_id, fresh, reasons)
    if outcomes:
        await add_outcomes(tx, tenant_id, outcomes)
    return [advance for _, advance in advances]


def _stored(item: OwnedEvent) -> NewEvent:
    event = item.event
    return NewEvent(
        provider=item.provider,
        id=event.id,
        message_id=item.message_id,
        enrollment_id=item.enrollment_id,
        type=event.type,
        at=event.at,
        is_machine=event.is_machine,
        attempt=event.attempt,
        reason=event.reason,
        detail=event.detail,
        machine_reason=event.machine_reason,
    )


def _matters(item: OwnedEvent) -> bool:
    """The event may change its message or its enrollment; most only say that all goes well."""
    is_news = delivery_of(item.event.type) is not Delivery.NONE
    return is_news or trigger_of(item.event.type) is not None


async def _proofs(
    tx: Tx, tenant_id: UUID, fresh: Sequence[OwnedEvent]
) -> tuple[list[Result], list[Incident]]:
    """The attempts that these events prove accepted and that are not recorded so; and alarms.

    Whatever its kind, an event of a mail proves that the provider had accepted it, also against
    what is recorded (`services/contradictions`). Of an attempt that was never made it proves that
    our books are not whole, and is an alarm. An attempt that somebody settles meanwhile is left
    by `record_outcomes`, which looks again at what it has locked.
    """
    attempts = await store.list_attempts(tx, tenant_id, {item.message_id for item in fresh})
    results: dict[tuple[UUID, int], Result] = {}
    incidents: dict[str, Incident] = {}
    for item in sorted(fresh, key=lambda item: item.event.at):
        made = attempts.get(item.message_id, {})
        attempt = _attempt_of(item, made)
        if attempt is None:
            continue
        outcome = made.get(attempt)
        if outcome is None:
            incident = _unknown_attempt(item, attempt)
            incidents.setdefault(incident.subject, incident)
        elif outcome is not AttemptOutcome.ACCEPTED:
            accepted = Accepted(item.event.accepted_as)
            result = Result(item.message_id, attempt, accepted, "event", item.event.at)
            results.setdefault((item.message_id, attempt), result)
    return list(results.values()), list(incidents.values())


def _attempt_of(item: OwnedEvent, made: Mapping[int, AttemptOutcome]) -> int | None:
    """The attempt that the event names; without a name, the only one that can be meant."""
    if item.event.attempt is not None:
        return item.event.attempt
    return next((n for n, outcome in made.items() if outcome in _OPEN_OUTCOMES), None)


def _unknown_attempt(item: OwnedEvent, attempt: int) -> Incident:
    detail = {
        "attempt": attempt,
        "event_id": item.event.id,
        "event_type": item.event.type.value,
    }
    subject = f"{item.message_id}:{attempt}"
    return Incident("accepted_without_attempt", subject, detail)


async def _raise_deliveries(
    tx: Tx, tenant_id: UUID, fresh: Sequence[OwnedEvent]
) -> list[SenderOutcomes]:
    deliveries: dict[UUID, Delivery] = {}
    for item in fresh:
        if delivery_of(item.event.type) is not Delivery.NONE:
            before = deliveries.get(item.message_id, Delivery.NONE)
            deliveries[item.message_id] = raised(before, item.event.type)
    return await store.raise_deliveries(tx, tenant_id, deliveries) if deliveries else []


async def _advances(
    tx: Tx,
    tenant_id: UUID,
    fresh: Sequence[OwnedEvent],
    regraded: Sequence[Regraded],
    standings: Mapping[UUID, Standing],
    now: datetime,
) -> list[tuple[Standing, Advance]]:
    """What core makes of the new events of each enrollment that is still going."""
    new = _news(fresh, regraded, standings)
    here = {item.event.id for item in fresh}
    stored = [event for event in regraded if event.id not in here]
    mistakes = await find_mistakes(tx, tenant_id, stored, standings)
    concerned = sorted(new.keys() | mistakes.keys())
    latest = {id_ for e in concerned if (id_ := standings[e].latest_message_id) is not None}
    history = await histories(tx, tenant_id, latest)
    advances = []
    for enrollment_id in concerned:
        standing = standings[enrollment_id]
        message_id = standing.latest_message_id
        advance = on_events(
            standing.plan,
            standing.position,
            new.get(enrollment_id, []),
            [] if message_id is None else history.get(message_id, []),
            standing.zone,
            now,
            can_take_back=standing.can_take_back,
            mistaken=mistakes.get(enrollment_id),
        )
        if advance is not None:
            advances.append((standing, advance))
    return advances


def _news(
    fresh: Sequence[OwnedEvent], regraded: Sequence[Regraded], standings: Mapping[UUID, Standing]
) -> dict[UUID, list[Event]]:
    """By enrollment that is still going, what a plan may hear of for the first time.

    That includes a click that looked like a scanner's until now.
    """
    marks = {event.id: event.is_machine for event in regraded}
    enrollments = {item.message_id: item.enrollment_id for item in fresh}
    heard = [(item.message_id, event) for item in fresh if (event := _for_core(item, marks))]
    known = {item.event.id for item in fresh}
    heard += [
        (event.message_id, Event(event.id, event.type, event.at))
        for event in regraded
        if not event.is_machine and event.id not in known
    ]
    news: dict[UUID, list[Event]] = defaultdict(list)
    for message_id, event in heard:
        standing = standings[enrollments[message_id]]
        if not standing.has_ended:
            is_latest = message_id == standing.latest_message_id
            news[standing.enrollment_id].append(replace(event, is_latest=is_latest))
    return news


def _for_core(item: OwnedEvent, marks: Mapping[str, bool]) -> Event | None:
    """The event in a plan's words; None for one that no plan can name."""
    event = item.event
    trigger = trigger_of(event.type, _drop_reason(item))
    if trigger is None:
        return None
    return Event(event.id, trigger, event.at, marks.get(event.id, event.is_machine))


def _drop_reason(item: OwnedEvent) -> DropReason | None:
    reason = item.event.reason
    if item.event.type is not EventType.DROPPED or reason is None:
        return None
    return DropReason(reason)


def _reasons(fresh: Sequence[OwnedEvent]) -> dict[Key, SuppressionReason]:
    """Of the events that suppress their address, why."""
    return {
        item.key: reason
        for item in fresh
        if (reason := reason_to_record(item.event.type, _drop_reason(item))) is not None
    }


async def _suppress(
    tx: Tx,
    tenant_id: UUID,
    fresh: Sequence[OwnedEvent],
    reasons: Mapping[Key, SuppressionReason],
) -> None:
    """Whatever became of the enrollment: nobody is written to against what they said."""
    due = [item for item in fresh if item.key in reasons]
    addresses = await store.list_addresses(tx, tenant_id, {item.message_id for item in due})
    entries = [
        SuppressionEntry(address, reasons[item.key], source=f"event {item.event.id}")
        for item in due
        # An erased person's message has no address any more.
        if (address := normalize_address(addresses[item.message_id])) is not None
    ]
    await suppress(tx, tenant_id, entries)
