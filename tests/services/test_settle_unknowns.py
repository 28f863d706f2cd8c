"""Messages of which nobody knows: settled by the provider's logs, else by a policy."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from outreach.core.errors import OutreachError, Refused, Unavailable
from outreach.core.outcome import Accepted
from outreach.db import Database
from outreach.dev.sandbox import Act, FaultOrder, When
from outreach.providers.sendgrid_activity import SendGridActivity
from outreach.services.apply_events import apply_events
from outreach.services.settle_unknowns import settle_unknowns
from tests.support.factories import PLAN, Message, enroll, event, position_of, receive, run
from tests.support.outcomes import (
    actions_of,
    attempt_of,
    claimed_now,
    incidents,
    message_of,
    noes_of,
    settle,
)
from tests.support.sending import drain, due_campaign, message_states, sending, settings_for
from tests.support.unknowns import HOUR, Logs, evidence_of, make_due, other_sends, unknown

MINUTES = timedelta(minutes=1)


async def looks_in(db: Database, message: Message) -> float:
    """In how many minutes the message is looked at again."""
    (row,) = await run(
        db,
        "select extract(epoch from wake_at - now()) / 60 from outbound_messages where id = %(m)s",
        m=message.id,
    )
    return round(float(row[0]))


# --- the provider's logs -------------------------------------------------------------------------


async def test_what_the_logs_show_was_sent_and_the_plan_goes_on(db: Database) -> None:
    message = await unknown(db, 6 * MINUTES)

    await settle_unknowns(db, Logs({message.id}))

    assert (await message_of(db, message))[0] == "sent"
    assert (await attempt_of(db, message))[:2] == ("accepted", "provider_log")
    assert ("timeout", "no_open", "intro", "pending") in await actions_of(db, message.enrollment)
    assert await evidence_of(db, message) == [(1, "provider_log", "accepted", 1)]


async def test_the_feed_settles_a_mail_whose_answer_was_lost(db: Database) -> None:
    campaign = await due_campaign(db, 2)
    async with sending(db) as (context, sandbox):
        sandbox.order(FaultOrder(act=Act.RESET, when=When.AFTER_ACCEPT))
        sandbox.order(FaultOrder(act=Act.RESET, when=When.BEFORE_ACCEPT))
        await drain(context, campaign.tenant_id)
        assert await message_states(db) == {"unknown": 2}
        await run(db, "update send_attempts set armed_at = armed_at - interval '6 minutes'")
        await make_due(db)
        async with SendGridActivity(settings_for(sandbox)) as logs:
            await settle_unknowns(db, logs)
        assert len(sandbox.accepted) == 1
        sent = await run(db, "select id::text from outbound_messages where state = 'sent'")
        assert sent == [(sandbox.accepted[0].outreach_message_id,)]
    assert await message_states(db) == {"sent": 1, "unknown": 1}


async def test_logs_are_asked_three_times_and_absence_settles_nothing(db: Database) -> None:
    message = await unknown(db, 6 * MINUTES)
    logs = Logs()
    waits = []
    for minutes in (0, 25, 10, 325, 200):
        await run(
            db,
            "update send_attempts set armed_at = armed_at - %(m)s * interval '1 minute'",
            m=minutes,
        )
        await run(
            db,
            "update outcome_evidence set updated_at = updated_at - %(m)s * interval '1 minute'",
            m=minutes,
        )
        await run(db, "update provider_log_slots set asked_at = '-infinity'")
        await make_due(db)
        await settle_unknowns(db, logs)
        waits.append(await looks_in(db, message))

    assert logs.asked == [(message.id, 1, message.enrollment.email)] * 3
    assert (await message_of(db, message))[0] == "unknown"
    assert waits == [24, 329, 319, 25 * 60 - 366, 25 * 60 - 566]
    assert await evidence_of(db, message) == [(1, "provider_log", "no_match", 3)]


@pytest.mark.parametrize(
    "error", [Unavailable("429", 60.0), Refused("provider_refused", "403")], ids=("away", "refused")
)
async def test_logs_that_do_not_answer_say_nothing(db: Database, error: OutreachError) -> None:
    message = await unknown(db, 6 * MINUTES)

    await settle_unknowns(db, Logs({message.id}, error))

    assert (await message_of(db, message))[0] == "unknown"
    assert await evidence_of(db, message) == []
    assert await looks_in(db, message) == 1


async def test_a_worker_that_dies_while_it_asks_leaves_all_as_it_was(db: Database) -> None:
    message = await unknown(db, 6 * MINUTES)
    logs = Logs({message.id}, hangs=True)
    task = asyncio.create_task(settle_unknowns(db, logs))
    await logs.is_asked.wait()
    task.cancel()
    await asyncio.wait({task})

    assert (await message_of(db, message))[0] == "unknown"
    assert await evidence_of(db, message) == []
    await settle_unknowns(db, Logs({message.id}))
    assert (await message_of(db, message))[0] == "sent"


async def test_nobody_asks_logs_that_are_not_there(db: Database) -> None:
    message = await unknown(db, 6 * MINUTES)

    await settle_unknowns(db, None)

    assert (await message_of(db, message))[0] == "unknown"
    assert await looks_in(db, message) == 25 * 60 - 6


async def test_six_questions_a_minute_over_all_workers_the_oldest_first(db: Database) -> None:
    messages = [await unknown(db, (20 - n) * MINUTES) for n in range(10)]
    workers = [Logs() for _ in range(3)]

    await asyncio.gather(*(settle_unknowns(db, logs) for logs in workers))
    await make_due(db)
    await settle_unknowns(db, workers[0])

    asked = [question[0] for logs in workers for question in logs.asked]
    assert len(asked) == 6
    assert set(asked) <= {message.id for message in messages[:6]}

    await run(db, "update provider_log_slots set asked_at = asked_at - interval '71 seconds'")
    await make_due(db)
    late = Logs()
    await settle_unknowns(db, late)
    assert 0 < len(late.asked) <= 6


# --- at most once --------------------------------------------------------------------------------


async def test_after_a_day_without_a_word_it_is_given_up(db: Database) -> None:
    message = await unknown(db, 26 * HOUR)
    await other_sends(db, message.enrollment, 3, age=2 * HOUR)

    await settle_unknowns(db, None)

    assert (await message_of(db, message))[0::3] == ("abandoned", "outcome_unknown")
    assert await position_of(db, message.enrollment) == ("failed", "intro", "outcome_unknown")
    assert await noes_of(db, message.enrollment) == [("refuse", "abandoned", False)]
    assert await actions_of(db, message.enrollment) == [("send", None, "intro", "done")]
    assert (await attempt_of(db, message))[0] == "unknown", "nobody knows, and it says so"
    assert await evidence_of(db, message) == [(1, "policy", "given_up", 1)]


@pytest.mark.parametrize("trouble", ["too early", "silent", "never told", "not applied"])
async def test_it_is_not_given_up_while_its_event_may_still_come(
    db: Database, trouble: str
) -> None:
    message = await unknown(db, 24 * HOUR if trouble == "too early" else 26 * HOUR)
    told = {"silent": 1, "never told": 0}.get(trouble, 3)
    if trouble != "never told":
        await other_sends(db, message.enrollment, 3, age=2 * HOUR, told=told)
    if trouble == "not applied":
        await receive(db, event(message, "processed"))
        await run(db, "update webhook_deliveries set received_at = now() - interval '6 minutes'")

    await settle_unknowns(db, None)

    assert (await message_of(db, message))[0] == "unknown"
    assert (await position_of(db, message.enrollment))[0] == "active"
    assert await looks_in(db, message) == 60


async def test_a_quiet_account_is_judged_by_the_mails_before(db: Database) -> None:
    message = await unknown(db, 26 * HOUR)
    await other_sends(db, message.enrollment, 3, age=72 * HOUR)

    await settle_unknowns(db, None)

    assert (await message_of(db, message))[0] == "abandoned"


async def test_what_is_given_up_follows_failed_where_the_plan_names_it(db: Database) -> None:
    first, *others = PLAN["nodes"]
    intro = {**first, "transitions": [*first["transitions"], {"on": "failed", "to": "bump"}]}
    message = await unknown(db, 26 * HOUR, plan={**PLAN, "nodes": [intro, *others]})
    await other_sends(db, message.enrollment, 3, age=2 * HOUR)

    await settle_unknowns(db, None)

    assert (await position_of(db, message.enrollment))[:2] == ("active", "bump")
    assert ("send", None, "bump", "pending") in await actions_of(db, message.enrollment)
    assert (await run(db, "select task_name from procrastinate_jobs")) == [("send_due",)]


async def test_late_evidence_makes_what_was_given_up_sent(db: Database) -> None:
    message = await unknown(db, 26 * HOUR)
    await other_sends(db, message.enrollment, 3, age=2 * HOUR)
    await settle_unknowns(db, None)

    await receive(db, event(message, "delivered"))
    await apply_events(db)

    assert (await message_of(db, message))[0::3] == ("sent", None)
    assert await position_of(db, message.enrollment) == ("failed", "intro", "outcome_unknown")
    assert await incidents(db) == []


async def test_at_most_once_never_sends_again_whatever_the_signs(db: Database) -> None:
    message = await unknown(db, 2 * HOUR)
    await other_sends(db, message.enrollment, 30, age=HOUR)

    await settle_unknowns(db, None)

    assert (await message_of(db, message))[0] == "unknown"
    assert (await claimed_now(db, message)).mails == []


# --- resend after --------------------------------------------------------------------------------


async def resendable(db: Database, *, age: timedelta = 2 * HOUR, sends: int = 20) -> Message:
    """A message for which every condition of a resend holds."""
    message = await unknown(db, age, policy="resend_after")
    await other_sends(db, message.enrollment, sends, age=age / 2)
    return message


async def test_what_all_signs_say_did_not_leave_is_sent_again(db: Database) -> None:
    message = await resendable(db)

    await settle_unknowns(db, None)

    assert (await message_of(db, message))[0] == "waiting_retry"
    assert (await attempt_of(db, message))[:2] == ("not_sent", "policy")
    assert await evidence_of(db, message) == [(1, "policy", "presumed_not_accepted", 1)]
    grounds = await run(db, "select detail->>'accepted_after', detail->>'are_later_sends_told'"
        " from outcome_evidence")  # fmt: skip
    assert grounds == [("20", "true")]
    (mail,) = (await claimed_now(db, message)).mails
    assert (mail.message_id, mail.attempt) == (message.id, 2)


@pytest.mark.parametrize(
    "trouble",
    ["young", "few sends", "one untold", "late webhook", "quarantined", "waiting", "logs early"],
)
async def test_one_missing_sign_keeps_it_from_being_sent_again(db: Database, trouble: str) -> None:
    age = {"young": 59 * MINUTES}.get(trouble, 2 * HOUR)
    message = await resendable(db, age=age, sends=19 if trouble == "few sends" else 20)
    if trouble == "one untold":
        await run(
            db, "delete from message_events where ctid = (select min(ctid) from message_events)"
        )
    if trouble in ("late webhook", "quarantined", "waiting"):
        await receive(db, event(None, "processed"))
        query = "update webhook_deliveries set signed_at = received_at - interval '6 minutes'"
        if trouble == "late webhook":
            await run(db, query)
        if trouble != "waiting":
            await run(
                db,
                "update webhook_deliveries"
                " set applied_at = now(), state = %(state)s::webhook_state",
                state="quarantined" if trouble == "quarantined" else "applied",
            )
    logs = Logs() if trouble == "logs early" else None
    if logs is not None:
        await run(db, "update provider_log_slots set asked_at = now()")

    await settle_unknowns(db, logs)

    assert (await message_of(db, message))[0] == "unknown"
    assert (await claimed_now(db, message)).mails == []


async def test_logs_that_show_nothing_do_not_stand_in_the_way(db: Database) -> None:
    message = await resendable(db)
    await settle_unknowns(db, Logs())
    assert (await message_of(db, message))[0] == "waiting_retry"


async def test_the_tokens_of_what_is_only_presumed_stay_taken(db: Database) -> None:
    message = await resendable(db)
    before = await run(db, "select * from rate_limit_counters")
    await settle_unknowns(db, None)
    assert (await message_of(db, message))[0] == "waiting_retry"
    assert await run(db, "select * from rate_limit_counters") == before


async def test_a_wrong_presumption_found_in_time_sends_nothing(db: Database) -> None:
    message = await resendable(db)
    await settle_unknowns(db, None)

    await receive(db, event(message, "delivered"))
    await apply_events(db)

    assert (await message_of(db, message))[0] == "sent"
    assert await incidents(db) == [("contradiction", f"{message.id}:1")]
    assert (await claimed_now(db, message)).mails == []


async def test_a_wrong_presumption_found_too_late_is_a_double_send(db: Database) -> None:
    message = await resendable(db)
    await settle_unknowns(db, None)
    await claimed_now(db, message)
    await receive(db, event(message, "delivered"))
    await apply_events(db)
    assert (await message_of(db, message))[0] == "sending", "the second is on its way"

    await settle(db, message, Accepted("Xtwo", 202), attempt=2)

    assert (await message_of(db, message))[0] == "sent"
    assert await incidents(db) == [
        ("contradiction", f"{message.id}:1"),
        ("double_send", str(message.id)),
    ]


async def test_another_tenants_campaign_has_its_own_policy(db: Database) -> None:
    message = await resendable(db)
    other = await unknown(db, 2 * HOUR)
    await settle_unknowns(db, None)
    assert (await message_of(db, message))[0] == "waiting_retry"
    assert (await message_of(db, other))[0] == "unknown"


async def test_an_enrollment_that_ended_meanwhile_stays_ended(db: Database) -> None:
    message = await unknown(db, 26 * HOUR)
    await other_sends(db, message.enrollment, 3, age=2 * HOUR)
    await run(
        db, "update enrollments set state = 'stopped', ended_at = now(), end_reason = 'replied'"
    )

    await settle_unknowns(db, None)

    assert (await message_of(db, message))[0] == "abandoned"
    assert await position_of(db, message.enrollment) == ("stopped", "intro", "replied")


async def test_two_workers_settle_each_once(db: Database) -> None:
    message = await unknown(db, 26 * HOUR)
    await enroll(db, message.enrollment.campaign)
    await other_sends(db, message.enrollment, 3, age=2 * HOUR)

    await asyncio.gather(*(settle_unknowns(db, None) for _ in range(4)))

    assert (await message_of(db, message))[0] == "abandoned"
    assert await noes_of(db, message.enrollment) == [("refuse", "abandoned", False)]
