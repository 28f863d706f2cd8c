"""What attempts came to, written down once whoever says it, in whatever order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from outreach.core.outcome import (
    Accepted,
    Because,
    NotSent,
    Outcome,
    Rejected,
    Unknown,
)
from outreach.db import Database, Role
from outreach.services.apply_events import apply_events
from outreach.services.claim import claim_batch
from outreach.services.outcomes import Result, record_outcomes
from outreach.services.send import record
from tests.support.factories import (
    PLAN,
    Enrollment,
    Message,
    enroll,
    event,
    make_campaign,
    make_message,
    make_sent,
    position_of,
    receive,
    run,
)
from tests.support.outcomes import (
    LATER,
    TERMS,
    actions_of,
    attempt_of,
    attempted,
    claimed_now,
    incidents,
    message_of,
    noes_of,
    settle,
)
from tests.support.sending import due_campaign
from tests.support.statements import counted_statements


async def test_an_answer_behind_its_event_still_says_how_later_events_find_the_message(
    db: Database,
) -> None:
    message = await attempted(db)
    await receive(db, event(message, "processed"))
    await apply_events(db)
    assert (await message_of(db, message))[:2] == ("sent", None)
    await settle(db, message, Accepted("Xan.swer", 202))
    assert (await message_of(db, message))[:2] == ("sent", "Xan.swer")
    await receive(db, event(None, "bounce", type="bounce", sg_message_id="Xan.swer.recvd-1.0"))
    await apply_events(db)
    assert (await position_of(db, message.enrollment))[0] == "stopped"


async def whole_story(db: Database, enrollment: Enrollment) -> list[Any]:
    """Everything that a second recording might wrongly change."""
    return [
        await run(db, query, e=enrollment.id)
        for query in (
            "select state, node_id, kind, trigger, due_at from scheduled_actions"
            " where enrollment_id = %(e)s order by id",
            "select state, current_node_id, accepted_at, latest_message_id, visits"
            " from enrollments where id = %(e)s",
            "select state, attempts, counted_attempts, sent_at, provider_message_id, wake_at"
            " from outbound_messages where enrollment_id = %(e)s order by id",
            "select a.attempt, a.outcome, a.settled_by, a.settled_at from send_attempts a"
            " join outbound_messages m on m.id = a.message_id where m.enrollment_id = %(e)s",
            "select count(*) from send_refusals where enrollment_id = %(e)s",
            "select count(*) from campaign_transitions where enrollment_id = %(e)s",
        )
    ]


# --- once, in any order ------------------------------------------------------------------------

OUTCOMES: list[tuple[Outcome, str, str]] = [
    (Accepted("abc", 202), "sent", "accepted"),
    (Rejected(Because.MESSAGE, 400, "400 no"), "failed", "rejected"),
    (LATER, "waiting_retry", "rejected"),
    (Rejected(Because.ACCOUNT, 401, "401"), "waiting_retry", "rejected"),
    (Rejected(Because.SENDER, 403, "403"), "waiting_retry", "rejected"),
    (NotSent("no connection"), "waiting_retry", "not_sent"),
    (Unknown("timeout"), "unknown", "unknown"),
]


@pytest.mark.parametrize(("outcome", "state", "word"), OUTCOMES, ids=lambda x: str(x)[:30])
async def test_each_outcome_is_recorded_once(
    db: Database, outcome: Outcome, state: str, word: str
) -> None:
    message = await attempted(db)

    freed = await settle(db, message, outcome)
    story = await whole_story(db, message.enrollment)
    again = await settle(db, message, outcome)

    assert (await message_of(db, message))[0] == state
    assert (await attempt_of(db, message))[:2] == (word, "answer")
    assert len(freed) == isinstance(outcome, Rejected | NotSent)
    assert again == [], "tokens are given back once"
    assert await whole_story(db, message.enrollment) == story


async def test_nothing_is_not_an_error(db: Database) -> None:
    message = await attempted(db)
    stranger = Message(message.enrollment, UUID(int=5), 1, None)
    assert await settle(db, stranger, Accepted("x")) == []
    assert await settle(db, message, Accepted("x"), attempt=2) == []
    async with db.transaction(Role.WORKER, message.tenant_id) as tx:
        assert await record_outcomes(tx, message.tenant_id, []) == []
    assert (await message_of(db, message))[0] == "sending"


async def test_another_tenants_worker_settles_nothing(db: Database) -> None:
    message, other = await attempted(db), await attempted(db)
    result = Result(message.id, 1, Accepted("x"), "answer")
    async with db.transaction(Role.WORKER, other.tenant_id) as tx:
        assert await record_outcomes(tx, other.tenant_id, [result]) == []
    assert (await message_of(db, message))[0] == "sending"


SAYINGS: list[tuple[Outcome, str]] = [
    (Unknown("its worker ended"), "rescuer"),
    (Accepted("abc", 202), "answer"),
    (Accepted(None), "event"),
]


@pytest.mark.parametrize("order", list(itertools.permutations(SAYINGS)), ids=range(6))
async def test_whoever_speaks_first_the_end_is_the_same(
    db: Database, order: Sequence[tuple[Outcome, str]]
) -> None:
    message = await attempted(db)
    for outcome, who in order:
        await settle(db, message, outcome, settled_by=who)

    assert (await message_of(db, message))[0] == "sent"
    assert (await attempt_of(db, message))[0] == "accepted"
    assert await actions_of(db, message.enrollment) == [
        ("send", None, "intro", "done"),
        ("timeout", "no_open", "intro", "pending"),
    ]
    assert await incidents(db) == []


async def test_an_event_settles_what_was_unknown_and_the_plan_goes_on(db: Database) -> None:
    message = await attempted(db)
    await settle(db, message, Unknown("timeout"))
    await receive(db, event(message, "delivered"), event(message, "open"))

    await apply_events(db)

    assert (await message_of(db, message))[0] == "sent"
    assert (await attempt_of(db, message))[:2] == ("accepted", "event")
    assert (await position_of(db, message.enrollment))[:2] == ("active", "wait_click")


async def test_the_answer_after_the_event_changes_nothing(db: Database) -> None:
    message = await attempted(db)
    await receive(db, event(message, "open", **{"smtp-id": "<abc@geopod>"}))
    await apply_events(db)
    story = await whole_story(db, message.enrollment)

    await settle(db, message, Accepted("abc", 202))
    await settle(db, message, Unknown("late"), settled_by="rescuer")

    assert await whole_story(db, message.enrollment) == story
    assert (await position_of(db, message.enrollment))[:2] == ("active", "wait_click")


@pytest.mark.parametrize("refusal", [Rejected(Because.MESSAGE, 400, "no"), NotSent("no"), LATER])
async def test_acceptance_of_what_was_refused_is_an_alarm_and_never_sent_again(
    db: Database, refusal: Outcome
) -> None:
    message = await attempted(db)
    await settle(db, message, refusal)

    for _ in range(2):
        await settle(db, message, Accepted("abc"), settled_by="provider_log")

    assert await incidents(db) == [("contradiction", f"{message.id}:1")]
    assert (await message_of(db, message))[0] == "sent"
    assert (await attempt_of(db, message))[:2] == ("accepted", "provider_log")
    assert (await actions_of(db, message.enrollment))[0] == ("send", None, "intro", "done")
    assert (await claimed_now(db, message)).mails == []


# --- where the enrollment goes -----------------------------------------------------------------


async def test_timers_run_from_the_moment_of_acceptance(db: Database) -> None:
    enrollment = await enroll(db, await make_campaign(db))
    message = await make_message(db, enrollment, age=timedelta(hours=6))
    at = datetime.now(UTC) - timedelta(hours=5)

    await settle(db, message, Accepted("abc"), settled_by="event", at=at)

    rows = await run(
        db,
        "select due_at from scheduled_actions where kind = 'timeout' and enrollment_id = %(e)s",
        e=message.enrollment.id,
    )
    assert rows == [(at + timedelta(hours=72),)]
    rows = await run(db, "select accepted_at, latest_message_id, message_node_id from enrollments")
    assert rows == [(at, message.id, "intro")]


async def test_an_enrollment_that_ended_meanwhile_stays_ended(db: Database) -> None:
    message = await attempted(db)
    await run(
        db, "update enrollments set state = 'stopped', ended_at = now(), end_reason = 'replied'"
    )

    await settle(db, message, Accepted("abc", 202))

    assert (await message_of(db, message))[0] == "sent"
    assert await position_of(db, message.enrollment) == ("stopped", "intro", "replied")
    assert await actions_of(db, message.enrollment) == [("send", None, "intro", "done")]


@pytest.mark.parametrize("outcome", [NotSent("no connection"), LATER])
async def test_a_retry_of_an_ended_enrollment_fails_instead_of_waiting(
    db: Database, outcome: Outcome
) -> None:
    message = await attempted(db)
    await run(
        db, "update enrollments set state = 'stopped', ended_at = now(), end_reason = 'replied'"
    )
    await settle(db, message, outcome)
    assert (await message_of(db, message))[0] == "waiting_retry"

    await claimed_now(db, message)

    state, _, _, failure = await message_of(db, message)
    assert (state, failure) == ("failed", "enrollment_ended")
    assert await actions_of(db, message.enrollment) == [("send", None, "intro", "canceled")]


async def test_late_acceptance_after_a_move_starts_no_timers(db: Database) -> None:
    """The first mail is unknown, a reply to an earlier one moved the plan, and then it turns up."""
    message = await attempted(db)
    await settle(db, message, Unknown("timeout"))
    await move_to_bump(db, message.enrollment)
    later = await make_sent(db, message.enrollment, age=timedelta(0))
    before = await actions_of(db, message.enrollment)

    await settle(db, message, Accepted(None), settled_by="event")

    assert (await message_of(db, message))[0] == "sent"
    rows = await run(db, "select latest_message_id, message_node_id from enrollments")
    assert rows == [(later.id, "bump")], "the mail that was sent after it is still the latest"
    done = [("send", None, "intro", "done") if a[2:] == ("intro", "claimed") else a for a in before]
    assert await actions_of(db, message.enrollment) == done


async def test_late_acceptance_before_the_next_mail_makes_it_the_latest(db: Database) -> None:
    message = await attempted(db)
    await settle(db, message, Unknown("timeout"))
    await move_to_bump(db, message.enrollment)

    await settle(db, message, Accepted(None), settled_by="event")

    rows = await run(db, "select latest_message_id, message_node_id from enrollments")
    assert rows == [(message.id, "intro")]


async def move_to_bump(db: Database, enrollment: Enrollment) -> None:
    await run(
        db,
        """with moved as (update enrollments set current_node_id = 'bump',
          visits = '{"intro": 1, "bump": 1}' where id = %(e)s returning *)
        insert into scheduled_actions
          (tenant_id, enrollment_id, campaign_id, sender_id, node_id, visit, kind, due_at)
        select tenant_id, id, campaign_id, sender_id, 'bump', 1, 'send', now() from moved""",
        e=enrollment.id,
    )


FOLLOWS = {
    **PLAN,
    "nodes": [
        {
            **PLAN["nodes"][0],
            "transitions": [*PLAN["nodes"][0]["transitions"], {"on": "failed", "to": "bump"}],
        },
        *PLAN["nodes"][1:],
    ],
}


async def test_a_refused_message_follows_failed_where_the_plan_names_it(db: Database) -> None:
    message = await attempted(db, plan=FOLLOWS)

    await settle(db, message, Rejected(Because.MESSAGE, 400, "400 no"))

    assert (await position_of(db, message.enrollment))[:2] == ("active", "bump")
    assert await actions_of(db, message.enrollment) == [
        ("send", None, "intro", "done"),
        ("send", None, "bump", "pending"),
    ]
    assert await noes_of(db, message.enrollment) == [("refuse", "provider_refused", False)]


async def test_a_refused_message_fails_the_enrollment_where_it_does_not(db: Database) -> None:
    message = await attempted(db)

    await settle(db, message, Rejected(Because.MESSAGE, 400, "400 no"))

    expected = ("failed", "intro", "provider_refused")
    assert await position_of(db, message.enrollment) == expected
    assert (await message_of(db, message))[3] == "provider_refused"


# --- by the set --------------------------------------------------------------------------------


async def test_the_statements_do_not_grow_with_the_batch(db: Database) -> None:
    counts = []
    for size in (2, 40):
        campaign = await due_campaign(db, size)
        claim = await claim_batch(
            db, campaign.tenant_id, size_max=size, terms=TERMS, deadline_seconds=10.0
        )
        assert len(claim.mails) == size
        refused = Rejected(Because.MESSAGE, 400, "400 no")
        results = [
            Result(mail.message_id, 1, refused if n % 2 else Accepted(f"id{n}"), "answer")
            for n, mail in enumerate(claim.mails)
        ]
        with counted_statements() as seen:
            await record(db, campaign.tenant_id, results)
        counts.append(len(seen))
    assert counts[0] == counts[1]
