"""Evidence in any order and number leaves the same: a proof of acceptance wins, once and for all.

Acceptance is the top of a small lattice and each saying a join: whether the provider's refusal, a
worker's silence, a person's word or the proof itself comes first, and however often, the message
ends as sent if anything ever proved it, and goes out again only while nothing has.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outreach.core.errors import Conflict
from outreach.core.outcome import Accepted, Because, NotSent, Rejected, Unknown
from outreach.db import Database
from outreach.services import messages
from outreach.services.apply_events import apply_events
from outreach.services.messages import Word
from outreach.services.settle_unknowns import settle_unknowns
from tests.support.factories import (
    Message,
    enroll,
    event,
    make_campaign,
    make_message,
    receive,
    run,
)
from tests.support.outcomes import LATER, attempt_of, claimed_now, message_of, settle
from tests.support.unknowns import HOUR, Logs, make_due, other_sends

Saying = Callable[[Database, Message], Coroutine[Any, Any, None]]


def answer(outcome: Any, who: str = "answer") -> Saying:
    async def say(db: Database, message: Message) -> None:
        await settle(db, message, outcome, settled_by=who, attempt=message.attempt)

    return say


def told(kind: str) -> Saying:
    async def say(db: Database, message: Message) -> None:
        await receive(db, event(message, kind))
        await apply_events(db)

    return say


def logs(shown: bool) -> Saying:
    async def say(db: Database, message: Message) -> None:
        await make_due(db)
        await run(db, "update provider_log_slots set asked_at = '-infinity'")
        await run(db, "update outcome_evidence set updated_at = now() - interval '1 hour'")
        await settle_unknowns(db, Logs({message.id} if shown else ()))

    return say


def person(word: Word) -> Saying:
    async def say(db: Database, message: Message) -> None:
        with suppress(Conflict):  # somebody was first
            await messages.settle(
                db, message.tenant_id, message.id, word, reason="r", actor="cli:ann"
            )

    return say


PROOFS: dict[str, Saying] = {
    "answered yes": answer(Accepted("Xid", 202)),
    "recorder yes": answer(Accepted("Xid", 202), "recorder"),
    "event": told("processed"),
    "late event": told("open"),
}
OTHERS: dict[str, Saying] = {
    "rescuer": answer(Unknown("its worker ended"), "rescuer"),
    "answered later": answer(LATER),
    "answered no": answer(Rejected(Because.MESSAGE, 400, "400 no")),
    "not sent": answer(NotSent("no connection")),
    "logs silent": logs(False),
    "person: not sent": person(Word.NOT_SENT),
    "person: again": person(Word.RESEND),
    "person: give up": person(Word.ABANDONED),
}
# Proofs where they are heard: of a message that is not unknown nobody asks.
HEARD: dict[str, Saying] = {"logs show it": logs(True), "person: sent": person(Word.SENT)}
REFUSALS = {"answered later", "answered no", "not sent", "person: not sent", "person: again"}


async def end_of(db: Database, names: Sequence[str]) -> tuple[Any, ...]:
    """What a message of one attempt comes to when it is said so of it."""
    sayings = PROOFS | OTHERS | HEARD
    enrollment = await enroll(db, await make_campaign(db))
    message = await make_message(db, enrollment)
    await run(
        db,
        "update send_attempts set armed_at = now() - interval '10 minutes'"
        " where message_id = %(m)s",
        m=message.id,
    )
    for name in names:
        await sayings[name](db, message)
    state = (await message_of(db, message))[0]
    outcome = (await attempt_of(db, message))[0]
    alarms = await run(
        db,
        "select code from incidents where tenant_id = %(t)s and code <> 'provider_paused'",
        t=message.tenant_id,
    )
    timers = await run(
        db,
        "select count(*) from scheduled_actions where enrollment_id = %(e)s and kind = 'timeout'"
        " and trigger = 'no_open'",
        e=enrollment.id,
    )
    may_go_again = bool((await claimed_now(db, message)).mails)
    return state, outcome, {code for (code,) in alarms}, timers[0][0], may_go_again


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    proofs=st.lists(st.sampled_from(sorted(PROOFS)), min_size=1, max_size=3),
    others=st.lists(st.sampled_from(sorted(OTHERS | HEARD)), max_size=4),
    order=st.randoms(use_true_random=False),
)
async def test_a_proof_wins_whatever_is_said_before_or_after(
    db: Database, proofs: list[str], others: list[str], order: Any
) -> None:
    names = [*proofs, *others]
    order.shuffle(names)

    state, outcome, alarms, timers, may_go_again = await end_of(db, names)

    assert (state, outcome) == ("sent", "accepted")
    assert not may_go_again
    assert timers <= 1, "its timers start once"
    assert alarms <= {"contradiction"}, "one attempt is no double send"
    if not REFUSALS & set(names):
        assert not alarms


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(names=st.lists(st.sampled_from(sorted(OTHERS)), max_size=5))
async def test_without_a_proof_nothing_is_sent_and_what_is_unknown_does_not_go_again(
    db: Database, names: list[str]
) -> None:
    state, outcome, alarms, timers, may_go_again = await end_of(db, names)

    assert state != "sent"
    assert outcome != "accepted"
    assert (alarms, timers) == (set(), 0)
    if may_go_again:
        assert state == "waiting_retry"
        assert REFUSALS & set(names), "somebody said that it had not left"


# Of a second attempt, made after the first was refused; then anything about either.
OF_TWO: dict[str, tuple[int, Saying]] = {
    "first: event": (1, told("processed")),
    "first: answer": (1, answer(Accepted("Xone", 202))),
    "second: event": (2, told("delivered")),
    "second: answer": (2, answer(Accepted("Xtwo", 202))),
    "second: later": (2, answer(LATER)),
    "second: not sent": (2, answer(NotSent("no connection"))),
    "second: silence": (2, answer(Unknown("its worker ended"), "rescuer")),
}


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(names=st.lists(st.sampled_from(sorted(OF_TWO)), min_size=1, max_size=6))
async def test_of_two_attempts_any_proof_is_enough_and_two_are_an_alarm(
    db: Database, names: list[str]
) -> None:
    enrollment = await enroll(db, await make_campaign(db))
    first = await make_message(db, enrollment)
    await settle(db, first, NotSent("no connection"))
    (mail,) = (await claimed_now(db, first)).mails
    assert mail.attempt == 2
    for name in names:
        attempt, say = OF_TWO[name]
        await say(db, replace(first, attempt=attempt))

    # What nobody says of the second for a day ends by its campaign's policy.
    await settle(db, first, Unknown("its worker ended"), settled_by="rescuer", attempt=2)
    await run(db, "update send_attempts set armed_at = now() - interval '26 hours'")
    await other_sends(db, enrollment, 3, age=HOUR)
    await make_due(db)
    await settle_unknowns(db, None)

    proven = {OF_TWO[name][0] for name in names if "event" in name or "answer" in name}
    alarms = await run(
        db,
        "select code, count(*) from incidents where tenant_id = %(t)s group by code",
        t=first.tenant_id,
    )
    codes = dict(alarms)
    may_go_again = (await claimed_now(db, first)).mails
    assert ((await message_of(db, first))[0] == "sent") == bool(proven)
    assert not (proven and may_go_again)
    assert codes.get("double_send", 0) == (proven == {1, 2}), "once"
    assert (1 in proven) <= (codes.get("contradiction", 0) >= 1)
