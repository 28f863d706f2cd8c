"""A person's word about a message of which nobody knows: what follows, and what it cannot do."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from outreach.core.errors import Conflict, Invalid, NotFound
from outreach.core.outcome import Accepted, NotSent
from outreach.core.states import MessageState
from outreach.db import Database
from outreach.services.apply_events import apply_events
from outreach.services.messages import Word, list_unsettled, settle, show
from outreach.services.settle_unknowns import settle_unknowns
from tests.support.factories import Message, event, make_tenant, position_of, receive, run
from tests.support.outcomes import (
    actions_of,
    attempt_of,
    attempted,
    claimed_now,
    incidents,
    message_of,
    noes_of,
)
from tests.support.outcomes import settle as record
from tests.support.unknowns import HOUR, evidence_of, other_sends, unknown


async def said(db: Database, message: Message, word: Word) -> MessageState:
    return await settle(
        db, message.tenant_id, message.id, word, reason="I asked them.", actor="cli:ann"
    )


async def test_sent_goes_on_as_if_the_provider_had_said_so(db: Database) -> None:
    message = await unknown(db, HOUR)

    assert await said(db, message, Word.SENT) is MessageState.SENT

    assert (await attempt_of(db, message))[:2] == ("accepted", "person")
    assert ("timeout", "no_open", "intro", "pending") in await actions_of(db, message.enrollment)
    assert await evidence_of(db, message) == [(1, "person", "accepted", 1)]
    acts = await run(db, "select actor, act, subject, reason, detail->>'word' from audit_log")
    assert acts == [("cli:ann", "message_settled", str(message.id), "I asked them.", "sent")]


async def test_not_sent_fails_and_is_not_tried_again(db: Database) -> None:
    message = await unknown(db, HOUR)

    assert await said(db, message, Word.NOT_SENT) is MessageState.FAILED

    assert (await message_of(db, message))[3] == "settled_not_sent"
    assert (await attempt_of(db, message))[:2] == ("not_sent", "person")
    assert await position_of(db, message.enrollment) == ("failed", "intro", "settled_not_sent")
    assert await noes_of(db, message.enrollment) == [("refuse", "settled_not_sent", False)]
    assert (await claimed_now(db, message)).mails == []


async def test_a_resend_is_a_new_attempt_of_the_same_message(db: Database) -> None:
    message = await unknown(db, HOUR)
    await run(db, "update tenants set parked_until = now() + interval '1 day'")

    assert await said(db, message, Word.RESEND) is MessageState.WAITING_RETRY

    assert await run(db, "select parked_until from tenants") == [(None,)]
    assert await run(db, "select task_name from procrastinate_jobs") == [("send_due",)]
    (mail,) = (await claimed_now(db, message)).mails
    assert (mail.message_id, mail.attempt) == (message.id, 2)
    await record(db, message, Accepted("Xtwo", 202), attempt=2)
    assert (await message_of(db, message))[0] == "sent"
    assert await incidents(db) == []


async def test_abandoned_fails_the_enrollment(db: Database) -> None:
    message = await unknown(db, HOUR)

    assert await said(db, message, Word.ABANDONED) is MessageState.ABANDONED

    assert (await attempt_of(db, message))[0] == "unknown"
    assert await position_of(db, message.enrollment) == ("failed", "intro", "outcome_unknown")


@pytest.mark.parametrize("word", Word)
async def test_proof_that_comes_later_wins_over_a_persons_word(db: Database, word: Word) -> None:
    message = await unknown(db, HOUR)
    await said(db, message, word)

    await receive(db, event(message, "delivered"))
    await apply_events(db)

    assert (await message_of(db, message))[0] == "sent"
    was_wrong = word in (Word.NOT_SENT, Word.RESEND)
    assert await incidents(db) == [("contradiction", f"{message.id}:1")] * was_wrong
    assert (await claimed_now(db, message)).mails == []


@pytest.mark.parametrize("word", Word)
async def test_a_word_settles_once(db: Database, word: Word) -> None:
    message = await unknown(db, HOUR)
    await said(db, message, word)

    with pytest.raises(Conflict):
        await said(db, message, Word.RESEND)

    assert len(await run(db, "select act from audit_log")) == 1


@pytest.mark.parametrize("word", Word)
async def test_what_was_given_up_can_only_be_said_to_have_been_sent(
    db: Database, word: Word
) -> None:
    message = await unknown(db, 26 * HOUR)
    await other_sends(db, message.enrollment, 3, age=2 * HOUR)
    await settle_unknowns(db, None)

    if word is Word.SENT:
        assert await said(db, message, word) is MessageState.SENT
    else:
        with pytest.raises(Conflict, match="abandoned"):
            await said(db, message, word)


async def test_what_was_given_up_is_not_taken_up_again_by_a_late_answer(db: Database) -> None:
    message = await unknown(db, HOUR)
    await said(db, message, Word.ABANDONED)

    await record(db, message, NotSent("a worker that was stopped goes on"))

    assert (await message_of(db, message))[0] == "abandoned"
    assert (await attempt_of(db, message))[0] == "not_sent", "what became of it is known now"
    assert (await claimed_now(db, message)).mails == []
    await record(db, message, Accepted("Xid", 202))
    assert (await message_of(db, message))[0] == "sent", "and known better"


@pytest.mark.parametrize("word", Word)
async def test_a_message_on_its_way_is_nobodys_to_settle(db: Database, word: Word) -> None:
    message = await attempted(db)
    with pytest.raises(Conflict, match="sending"):
        await said(db, message, word)
    assert await evidence_of(db, message) == []


async def test_another_tenants_message_is_as_one_that_is_not_there(db: Database) -> None:
    message = await unknown(db, HOUR)
    other = await make_tenant(db)
    for tenant_id, id_ in ((other, message.id), (message.tenant_id, UUID(int=7))):
        with pytest.raises(NotFound):
            await settle(db, tenant_id, id_, Word.SENT, reason="r", actor="a")
        with pytest.raises(NotFound):
            await show(db, tenant_id, id_)
    assert (await message_of(db, message))[0] == "unknown"


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
async def test_a_word_needs_a_reason(db: Database, reason: str) -> None:
    message = await unknown(db, HOUR)
    with pytest.raises(Invalid):
        await settle(db, message.tenant_id, message.id, Word.SENT, reason=reason, actor="a")
    assert (await message_of(db, message))[0] == "unknown"


async def test_lists_are_by_state_and_oldest_first(db: Database) -> None:
    young, old = await unknown(db, HOUR), await unknown(db, 2 * HOUR)
    await run(db, "update campaigns set name = id::text")
    found = await list_unsettled(db, old.tenant_id, MessageState.UNKNOWN, rows_max=10)
    assert [(row.id, row.attempt, row.policy) for row in found] == [(old.id, 1, "at_most_once")]
    assert await list_unsettled(db, old.tenant_id, MessageState.ABANDONED, rows_max=10) == []
    await said(db, young, Word.ABANDONED)
    found = await list_unsettled(db, young.tenant_id, MessageState.ABANDONED, rows_max=10)
    assert [row.id for row in found] == [young.id]


async def test_one_is_shown_with_its_tries_and_all_that_was_said(db: Database) -> None:
    message = await unknown(db, HOUR + timedelta(minutes=1))
    await said(db, message, Word.RESEND)
    await claimed_now(db, message)
    await receive(db, event(message, "processed"))
    await apply_events(db)

    found = await show(db, message.tenant_id, message.id)

    assert [(one.attempt, one.outcome) for one in found.attempts] == [(1, "not_sent"), (2, "armed")]
    assert [(e.source, e.says) for e in found.evidence] == [
        ("person", "not_sent"),
        ("event", "accepted"),
    ]
    assert found.evidence[0].detail["who"] == "cli:ann"
    assert [alarm.code for alarm in found.incidents] == ["contradiction"]
