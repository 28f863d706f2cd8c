"""State derived a second time, from what is recorded, and where it is not what is stored.

Four things can be derived: how far the delivery of a message has come (its events), what became of
it (its attempts), where an enrollment stands (its steps), and who is suppressed (the events that
demand it). Nothing here depends on the order in which records are given. A way through a plan
leaves every node as often as it enters it, but for the one where it stands: so that node follows
from the steps as a set, and a step that is missing shows.

Source: Euler's condition for a walk that uses each edge of a graph once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from outreach.core.delivery import DropReason, raised, trigger_of
from outreach.core.matching import ALWAYS
from outreach.core.outcome import Because, Rejected, classify
from outreach.core.states import (
    AttemptOutcome,
    Delivery,
    EnrollmentState,
    EventType,
    MessageState,
    SuppressionReason,
)
from outreach.core.suppression import reason_to_record

BROKEN = "steps that are no way through a plan"
_RANKS = list(Delivery)
_LIVE = frozenset({AttemptOutcome.ACCEPTED, AttemptOutcome.ARMED, AttemptOutcome.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Difference:
    """What is stored of one thing, and what its records come to."""

    kind: str  # enrollment, message, event, contact
    id: str
    field: str
    stored: str | None
    derived: str | None


@dataclass(frozen=True, slots=True)
class Moves:
    """Steps of one enrollment that are alike: between the same nodes, to the same end."""

    enrollment_id: UUID
    from_node_id: str | None  # None: the start
    to_node_id: str | None  # None: the end
    end_code: str | None
    end_reason: str | None
    visit_max: int
    times: int


@dataclass(frozen=True, slots=True)
class EnrollmentRecord:
    """An enrollment as stored, and whether a pause of its own holds it."""

    id: UUID
    state: str
    current_node_id: str | None
    visits: dict[str, int]
    end_reason: str | None
    latest_message_id: UUID | None
    is_held: bool


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """A message as stored, its attempts in order, and what its events say as a set."""

    id: UUID
    enrollment_id: UUID
    state: str
    delivery: str
    attempts: int
    accepted_attempt: int | None
    numbers: list[int]
    outcomes: list[str]
    statuses: list[int | None]
    event_types: list[str]
    told_attempts: list[int]  # those that the provider's events name
    is_old: bool  # some of its events may not be kept any more


@dataclass(frozen=True, slots=True)
class Demand:
    """What an event of some kind demands, whoever it is about."""

    event_type: EventType
    drop_reason: DropReason | None  # None: whatever it is
    suppression: SuppressionReason | None
    is_step: bool  # a live enrollment goes on or ends because of it


@dataclass(frozen=True, slots=True)
class Unmet:
    """An event whose demand was not met in one way or both."""

    event_id: str
    address: str
    suppression: str | None
    is_suppressed: bool
    is_heard: bool
    enrollment_state: str


@dataclass(frozen=True, slots=True)
class ContactRecord:
    """The flag that a contact carries, and the reasons that are in force for its address."""

    id: UUID
    suppressed_reason: str | None
    in_force: list[str]


@dataclass(frozen=True, slots=True)
class Way:
    """Where the steps of an enrollment led."""

    node_id: str | None
    visits: dict[str, int]
    end: Moves | None
    is_whole: bool  # nothing is missing and nothing is too much


def way_of(moves: Sequence[Moves]) -> Way:
    """Fold the steps, in any order."""
    balance: Counter[str | None] = Counter()
    visits: dict[str, int] = {}
    for move in moves:
        balance[move.from_node_id] -= move.times
        balance[move.to_node_id] += move.times
        if move.to_node_id is not None:
            visits[move.to_node_id] = max(visits.get(move.to_node_id, 0), move.visit_max)
    ends = [move for move in moves if move.to_node_id is None]
    open_ = {node: n for node, n in balance.items() if n}
    if ends:
        is_whole = len(ends) == 1 and ends[0].times == 1 and not open_
        return Way(ends[0].from_node_id, visits, ends[0], is_whole)
    if not moves:
        return Way(None, {}, None, is_whole=True)
    here = [node for node, n in open_.items() if node is not None and n == 1]
    is_whole = len(here) == 1 and open_ == {None: -1, here[0]: 1}
    return Way(here[0] if is_whole else None, visits, None, is_whole)


def delivery_from(event_types: Iterable[str]) -> Delivery:
    """The highest rank that any of the events raises its message to."""
    delivery = Delivery.NONE
    for event_type in event_types:
        delivery = raised(delivery, EventType(event_type))
    return delivery


def states_from(message: MessageRecord) -> frozenset[MessageState]:
    """The states that a message with these attempts may be in; none without any attempt.

    After a refusal that is not for good, and after a word that the attempt did not leave, the
    attempts do not say whether another one follows.
    """
    outcomes = [AttemptOutcome(outcome) for outcome in message.outcomes]
    if AttemptOutcome.ACCEPTED in outcomes:
        return frozenset({MessageState.SENT})
    if AttemptOutcome.ARMED in outcomes:
        return frozenset({MessageState.SENDING})
    if AttemptOutcome.UNKNOWN in outcomes:
        return frozenset({MessageState.UNKNOWN, MessageState.ABANDONED})
    if not outcomes:
        return frozenset()
    if outcomes[-1] is AttemptOutcome.REJECTED:
        status = message.statuses[-1]
        answer = None if status is None else classify(status, None, "")
        if isinstance(answer, Rejected) and answer.because is Because.MESSAGE:
            return frozenset({MessageState.FAILED})
        return frozenset({MessageState.WAITING_RETRY, MessageState.FAILED})
    return frozenset({MessageState.WAITING_RETRY, MessageState.FAILED, MessageState.ABANDONED})


def demands() -> list[Demand]:
    """Every kind of event that suppresses an address, or that no enrollment passes over."""
    kinds = [(kind, None) for kind in EventType if kind is not EventType.DROPPED]
    drops = [(EventType.DROPPED, reason) for reason in DropReason]
    found = [
        # A reply's effects depend on what it says.
        Demand(
            kind,
            reason,
            reason_to_record(kind, reason),
            is_step=kind is not EventType.REPLIED and trigger_of(kind, reason) in ALWAYS,
        )
        for kind, reason in [*kinds, *drops]
    ]
    return [one for one in found if one.suppression is not None or one.is_step]


def enrollment_differences(
    stored: EnrollmentRecord, moves: Sequence[Moves], messages: Sequence[MessageRecord]
) -> Iterator[Difference]:
    """State, node, visits and end against the steps; the latest message against the ledger."""
    way = way_of(moves)

    def differs(field: str, here: object, derived: object) -> Iterator[Difference]:
        if here != derived:
            yield Difference("enrollment", str(stored.id), field, _text(here), _text(derived))

    if not way.is_whole:
        yield Difference("enrollment", str(stored.id), "steps", stored.current_node_id, BROKEN)
        return
    reason = None if way.end is None else way.end.end_reason or way.end.end_code
    yield from differs("state", stored.state, _state(stored, way, has_moved=bool(moves)))
    yield from differs("current_node_id", stored.current_node_id, way.node_id)
    yield from differs("visits", stored.visits, way.visits)
    yield from differs("end_reason", stored.end_reason, reason)
    sent = [one.id for one in messages if one.state == MessageState.SENT]
    latest = stored.latest_message_id
    if latest not in sent and (sent or latest is not None):
        yield from differs("latest_message_id", latest, sent[-1] if sent else None)


def _state(stored: EnrollmentRecord, way: Way, *, has_moved: bool) -> str | None:
    if way.end is not None:
        return way.end.end_code
    if not has_moved:
        return EnrollmentState.DRAFT
    return EnrollmentState.PAUSED if stored.is_held else EnrollmentState.ACTIVE


def message_differences(stored: MessageRecord) -> Iterator[Difference]:
    """Delivery against the events; state and attempts against each other and against the events."""

    def difference(field: str, here: object, derived: object) -> Difference:
        return Difference("message", str(stored.id), field, _text(here), _text(derived))

    delivery = delivery_from(stored.event_types)
    if stored.is_old:  # what is gone may have raised it
        delivery = max(delivery, Delivery(stored.delivery), key=_RANKS.index)
    if stored.delivery != delivery:
        yield difference("delivery", stored.delivery, delivery)
    states = states_from(stored)
    if stored.state not in states:
        yield difference("state", stored.state, " or ".join(sorted(states)) or None)
    made = dict(zip(stored.numbers, stored.outcomes, strict=True))
    accepted = next((n for n, o in made.items() if o == AttemptOutcome.ACCEPTED), None)
    if stored.accepted_attempt != accepted:
        yield difference("accepted_attempt", stored.accepted_attempt, accepted)
    if stored.attempts != max(made, default=0):
        yield difference("attempts", stored.attempts, max(made, default=0))
    for number in stored.told_attempts:
        if _is_denied(made, number):
            yield difference("proof", made[number], AttemptOutcome.ACCEPTED)


def _is_denied(made: Mapping[int, str], number: int) -> bool:
    """An event of this attempt proves acceptance, and nothing that is recorded allows for it.

    While a rival of a refused attempt is on its way, or was accepted, the rival has the last word.
    """
    outcome = made.get(number, AttemptOutcome.ACCEPTED)
    if outcome in (AttemptOutcome.ARMED, AttemptOutcome.UNKNOWN):
        return True
    return outcome != AttemptOutcome.ACCEPTED and not _LIVE & set(made.values())


def event_differences(unmet: Unmet) -> Iterator[Difference]:
    """What an event demanded and did not get."""
    if not unmet.is_suppressed:
        yield Difference("event", unmet.event_id, "suppression", None, unmet.suppression)
    if not unmet.is_heard:
        state = unmet.enrollment_state
        yield Difference("event", unmet.event_id, "step", state, "a step or an end")


def contact_differences(stored: ContactRecord) -> Iterator[Difference]:
    """The flag is one of the reasons in force, or absent where there is none."""
    flag = stored.suppressed_reason
    if flag not in stored.in_force and (stored.in_force or flag is not None):
        derived = " or ".join(stored.in_force) or None
        field = "suppressed_reason"
        yield Difference("contact", str(stored.id), field, flag, derived)


def _text(value: object) -> str | None:
    if isinstance(value, dict):
        return ", ".join(f"{node}: {visit}" for node, visit in sorted(value.items()))
    return None if value is None else str(value)
