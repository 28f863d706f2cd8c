"""The ledger's invariants, attacked directly: as the worker, and as the owner of the tables.

Each attack stands beside the same act done rightly, so that what refuses is the constraint it names
and not a slip of the test. Numbers are those of the design: I1 one message a step, I2 one attempt
that may have been accepted, I3 sent only with proof, I4 only legal moves, I8 nothing waits for
ever. Whom it lets near is in test_ledger_rights.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import LiteralString
from uuid import UUID

import psycopg
import pytest

from outreach.core.states import AttemptOutcome, MessageState
from outreach.db import Database, Role, set_actor
from tests.store.ledger_support import ACTORS, ATTEMPT, MOVE, OWNER, SETTLE, a_message, act, attack
from tests.support.database import Databases
from tests.support.factories import Message, enroll, make_campaign, make_sent, run


@pytest.fixture(scope="module")
def conninfo(databases: Databases) -> Iterator[str]:
    """One database for all of these tests: each makes messages of its own and attacks those."""
    name = databases.create()
    yield databases.conninfo(name)
    databases.drop(name)


COLUMNS: LiteralString = (
    "tenant_id, enrollment_id, campaign_id, contact_id, sender_id, action_id, node_id, visit,"
    " dedupe_key, to_address, to_domain, from_address, from_name, subject, body_text, body_html,"
    " wake_at"
)


async def state_of(db: Database, message: Message) -> str:
    rows = await run(
        db,
        "select state::text from outbound_messages where tenant_id = %(t)s and id = %(m)s",
        t=message.tenant_id,
        m=message.id,
    )
    ((state,),) = rows
    return str(state)


# --- I1: one message a step --------------------------------------------------------------------

AGAIN: LiteralString = (
    "insert into outbound_messages (id, " + COLUMNS + ")"
    " select coalesce(%(id)s, id), " + COLUMNS + " from outbound_messages"
    " where tenant_id = %(t)s and id = %(m)s"
)


@pytest.mark.parametrize("actor", ACTORS)
async def test_a_step_has_one_message(db: Database, actor: str) -> None:
    message = await a_message(db)
    assert await attack(db, actor, message, AGAIN, id=None) == "outbound_messages_pkey"
    # Another id is another step's: it is what an id is derived from that makes it one.
    assert await act(db, actor, message, AGAIN, id=UUID(int=7)) == 1


# --- I2: one attempt that may have been accepted -----------------------------------------------


@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("outcome", ["armed", "unknown", "accepted"])
async def test_a_second_attempt_waits_for_the_end_of_the_first(
    db: Database, actor: str, outcome: str
) -> None:
    message = await a_message(db)
    if outcome != "armed":
        await act(db, actor, message, SETTLE, outcome=outcome)
    assert await attack(db, actor, message, ATTEMPT, n=2) == "send_attempts_one_live"


@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("outcome", ["rejected", "not_sent"])
async def test_after_a_certain_no_there_may_be_another_attempt(
    db: Database, actor: str, outcome: str
) -> None:
    message = await a_message(db)
    await act(db, actor, message, SETTLE, outcome=outcome)
    assert await act(db, actor, message, ATTEMPT, n=2) == 1
    assert await attack(db, actor, message, ATTEMPT, n=2) == "send_attempts_pkey"


@pytest.mark.parametrize("actor", ACTORS)
async def test_without_the_trigger_the_index_still_holds(db: Database, actor: str) -> None:
    """The moves of attempts guard it too; here the index has to do it alone."""
    message = await a_message(db)
    await act(db, actor, message, SETTLE, outcome="rejected")
    await act(db, actor, message, ATTEMPT, n=2)
    given = {"t": message.tenant_id, "m": message.id}
    async with db.connection() as connection, connection.transaction(force_rollback=True):
        await connection.execute("alter table send_attempts disable trigger guard_attempt")
        await connection.execute("alter table outbound_messages disable trigger guard_message")
        if actor != OWNER:
            await set_actor(connection, Role(actor), message.tenant_id)
        for outcome in ("unknown", "accepted"):
            with pytest.raises(psycopg.errors.UniqueViolation) as refused:
                async with connection.transaction():
                    await connection.execute(SETTLE, given | {"outcome": outcome})
            assert refused.value.diag.constraint_name == "send_attempts_one_live"


# --- I3: sent only with proof ------------------------------------------------------------------

SENT: LiteralString = (
    "update outbound_messages"
    " set state = 'sent', accepted_attempt = %(n)s, sent_at = now(), wake_at = null"
    " where tenant_id = %(t)s and id = %(m)s"
)


@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("outcome", ["armed", "unknown", "rejected", "not_sent"])
async def test_sent_is_refused_without_an_accepted_attempt(
    db: Database, actor: str, outcome: str
) -> None:
    message = await a_message(db)
    if outcome != "armed":
        await act(db, actor, message, SETTLE, outcome=outcome)
    assert await attack(db, actor, message, SENT, n=1) == "outbound_messages_proof"
    assert await attack(db, actor, message, SENT, n=None) == "outbound_messages_evidence"
    assert await state_of(db, message) == "sending"


@pytest.mark.parametrize("actor", ACTORS)
async def test_sent_is_granted_by_the_attempt_that_was_accepted_and_no_other(
    db: Database, actor: str
) -> None:
    message = await a_message(db)
    await act(db, actor, message, SETTLE, outcome="accepted")
    assert await attack(db, actor, message, SENT, n=2) == "outbound_messages_proof"
    assert await act(db, actor, message, SENT, n=1) == 1
    assert await state_of(db, message) == "sent"


@pytest.mark.parametrize("actor", ACTORS)
async def test_sent_and_its_proof_cannot_be_parted(db: Database, actor: str) -> None:
    message = await make_sent(db, await enroll(db, await make_campaign(db)))
    for change in ("accepted_attempt = null", "sent_at = null"):
        query: LiteralString = (
            "update outbound_messages set " + change + " where tenant_id = %(t)s and id = %(m)s"
        )
        found = await attack(db, actor, message, query)
        assert found is not None
        assert found.startswith("outbound_messages_")


BEGUN_AS: LiteralString = (
    "insert into outbound_messages (id, state, accepted_attempt, sent_at, "
    + COLUMNS
    + ") select %(id)s, %(state)s::message_state,"
    " case when %(state)s = 'sent' then 1 end, case when %(state)s = 'sent' then now() end, "
    + COLUMNS
    + " from outbound_messages where tenant_id = %(t)s and id = %(m)s"
)


@pytest.mark.parametrize("actor", ACTORS)
async def test_a_message_begins_as_sending(db: Database, actor: str) -> None:
    message = await a_message(db)
    for state in set(MessageState) - {MessageState.SENDING}:
        found = await attack(db, actor, message, BEGUN_AS, id=UUID(int=9), state=state.value)
        assert found == "outbound_messages_beginning"
    assert await act(db, actor, message, BEGUN_AS, id=UUID(int=9), state="sending") == 1


# --- I4: only legal moves ----------------------------------------------------------------------

MOVES: dict[str, set[str]] = {
    "sending": {"sent", "failed", "unknown", "waiting_retry"},
    "waiting_retry": {"sending", "failed", "abandoned", "sent"},
    "unknown": {"sent", "waiting_retry", "failed", "abandoned"},
    "abandoned": {"sent"},
    "failed": {"sent"},
    "sent": set(),
}
ROADS: dict[str, tuple[str, ...]] = {
    "sending": (),
    "waiting_retry": ("waiting_retry",),
    "unknown": ("unknown",),
    "abandoned": ("unknown", "abandoned"),
    "failed": ("failed",),
    "sent": ("sent",),
}


@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("state", MessageState)
async def test_a_message_moves_only_where_it_may(
    db: Database, actor: str, state: MessageState
) -> None:
    found: set[str] = set()
    for to in set(MessageState) - {state}:
        message = await a_message(db)
        await act(db, actor, message, SETTLE, outcome="accepted")
        for step in ROADS[state]:
            await act(db, actor, message, MOVE, to=step)
        try:
            await act(db, actor, message, MOVE, to=to.value)
        except psycopg.errors.CheckViolation as refused:
            assert refused.diag.constraint_name == "outbound_messages_moves"
        else:
            found.add(to.value)
            assert await state_of(db, message) == to.value
    assert found == MOVES[state]


ATTEMPT_MOVES: dict[str, set[str]] = {
    "armed": {"accepted", "rejected", "not_sent", "unknown"},
    "unknown": {"accepted", "not_sent"},
    "accepted": set(),
    "rejected": {"accepted"},  # a contradiction, which is an alarm
    "not_sent": {"accepted"},
}
SETTLE_ANYHOW: LiteralString = (
    "update send_attempts set outcome = %(outcome)s::attempt_outcome,"
    " settled_at = case when %(outcome)s <> 'armed' then now() end"
    " where tenant_id = %(t)s and message_id = %(m)s and attempt = 1"
)


@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("outcome", AttemptOutcome)
async def test_an_attempt_settles_once_and_accepted_is_final(
    db: Database, actor: str, outcome: AttemptOutcome
) -> None:
    found: set[str] = set()
    for to in set(AttemptOutcome) - {outcome}:
        message = await a_message(db)
        if outcome is not AttemptOutcome.ARMED:
            await act(db, actor, message, SETTLE_ANYHOW, outcome=outcome.value)
        try:
            await act(db, actor, message, SETTLE_ANYHOW, outcome=to.value)
        except psycopg.errors.CheckViolation as refused:
            assert refused.diag.constraint_name == "send_attempts_moves"
        else:
            found.add(to.value)
    assert found == ATTEMPT_MOVES[outcome]


@pytest.mark.parametrize("actor", ACTORS)
async def test_an_attempt_is_settled_when_it_is_settled(db: Database, actor: str) -> None:
    message = await a_message(db)
    query: LiteralString = (
        "update send_attempts set outcome = 'unknown'"
        " where tenant_id = %(t)s and message_id = %(m)s"
    )
    found = await attack(db, actor, message, query)
    assert found is not None
    assert found.startswith("send_attempts_check")


# --- I8: nothing waits for ever ----------------------------------------------------------------

SLEEP: LiteralString = (
    "update outbound_messages set wake_at = null where tenant_id = %(t)s and id = %(m)s"
)


@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("state", ["sending", "unknown", "waiting_retry"])
async def test_what_has_not_ended_is_looked_at_again(db: Database, actor: str, state: str) -> None:
    message = await a_message(db)
    for step in ROADS[state]:
        await act(db, actor, message, MOVE, to=step)
    found = await attack(db, actor, message, SLEEP)
    assert found is not None
    assert found.startswith("outbound_messages_check")


@pytest.mark.parametrize("state", ["failed", "abandoned"])
async def test_what_has_ended_may_rest(db: Database, state: str) -> None:
    message = await a_message(db)
    for step in ROADS[state]:
        await act(db, OWNER, message, MOVE, to=step)
    assert await act(db, OWNER, message, SLEEP) == 1
