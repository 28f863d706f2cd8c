"""Mails applied: whose they are, what follows, and that nothing follows twice."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import date, timedelta
from typing import Any

import pytest

from outreach.db import Database, Role
from outreach.services import apply_replies as service
from outreach.services.apply_replies import OTHER_RECIPIENT, UNMATCHED, apply_replies
from outreach.services.fire_timers import fire_timers
from outreach.services.replies import ReceivedMail, take_in
from outreach.services.sweep import is_idle, sweep_once
from outreach.store.dispatch import read_budget
from tests.support.factories import PLAN, Message, position_of, run
from tests.support.mails import answer, bounced
from tests.support.stories import delivery_of, drain, sent, state_of, stored, suppressed

BRANCHING: dict[str, Any] = {
    **PLAN,
    "nodes": [
        {
            **PLAN["nodes"][0],
            "transitions": [
                {"on": "replied", "to": "wait_click"},
                {"on": "no_reply", "to": "bump", "after": "PT72H"},
            ],
        },
        *PLAN["nodes"][1:],
    ],
}


async def come(
    db: Database, mail: bytes, *, to: str = "in@acme.example", sender: str = "ann@cust.example"
) -> bool:
    """A mail is taken in."""
    envelope = b'{"to": ["%s"], "from": "%s"}' % (to.encode(), sender.encode())
    return await take_in(db, ReceivedMail(mail, len(mail), hashlib.sha256(mail).digest(), envelope))


async def apply(db: Database) -> None:
    """Mails, then the events that they are."""
    while await apply_replies(db):
        pass
    await drain(db)


async def rows(db: Database) -> list[tuple[Any, ...]]:
    """State, class, match, problem and repeat of each mail, the oldest first."""
    return await run(
        db,
        "select state::text, class::text, matched_by, problem, is_repeat"
        " from inbound_messages order by received_at, id",
    )


def to(message: Message, letter: str = "r") -> str:
    return f"{letter}+{message.id.hex}@in.acme.example"


async def test_a_reply_stops_the_plan(db: Database) -> None:
    message = await sent(db)
    await come(db, answer(message), to=to(message))
    await apply(db)
    assert await rows(db) == [("applied", "reply", "address", None, False)]
    assert await stored(db, message) == [("replied", False)]
    assert await position_of(db, message.enrollment) == ("stopped", "intro", "replied")
    assert await suppressed(db, message) == []
    found = await run(
        db,
        "select tenant_id, outbound_message_id, enrollment_id, from_address, subject, body_text"
        " from inbound_messages",
    )
    email = message.enrollment.email
    ids = message.tenant_id, message.id, message.enrollment.id
    assert found == [(*ids, email, "Re: Subject", "Yes, call me.")]


async def test_a_reply_moves_a_plan_that_asks_for_it_and_ends_its_timer(db: Database) -> None:
    message = await sent(db, BRANCHING)
    await come(db, answer(message), to=to(message))
    await apply(db)
    assert await position_of(db, message.enrollment) == ("active", "wait_click", None)
    timers = await run(
        db, "select trigger, state::text from scheduled_actions where kind = 'timeout'"
    )
    assert ("no_reply", "canceled") in timers


@pytest.mark.parametrize("by", ["In-Reply-To", "References"])
async def test_without_its_address_a_mail_is_matched_by_what_it_answers(
    db: Database, by: str
) -> None:
    message = await sent(db)
    own = f"<{message.id.hex}.{message.tenant_id.hex}@acme.example>"
    headers = ["In-Reply-To: <other@x.example>", f"References: <first@x.example> {own}"]
    raw = answer(message) if by == "In-Reply-To" else answer(message, "Yes.", *headers)
    await come(db, raw)
    await apply(db)
    assert await rows(db) == [("applied", "reply", "references", None, False)]
    assert (await position_of(db, message.enrollment))[0] == "stopped"


async def test_the_providers_own_message_id_is_known_too(db: Database) -> None:
    message = await sent(db)
    raw = answer(message, "Yes.", f"In-Reply-To: <{message.provider_message_id}@geopod.example>")
    await come(db, raw)
    await apply(db)
    assert await rows(db) == [("applied", "reply", "references", None, False)]


async def test_what_names_no_message_is_kept_for_nobody(db: Database) -> None:
    message = await sent(db)
    lie = f"In-Reply-To: <{message.id.hex}.{message.id.hex}@acme.example>"
    await come(db, answer(message, "Yes.", "In-Reply-To: <other@x.example>"))
    await come(db, answer(message, "No.", lie), to=f"r+{'0' * 32}@in.acme.example")
    before = await state_of(db)
    await apply(db)
    assert await rows(db) == [("applied", "reply", None, UNMATCHED, False)] * 2
    assert await state_of(db) == before


@pytest.mark.parametrize("letter", ["r", "u"])
async def test_who_wants_no_more_is_suppressed(db: Database, letter: str) -> None:
    message = await sent(db)
    body = "Please remove me from your list." if letter == "r" else "Hello."
    await come(db, answer(message, body), to=to(message, letter))
    await apply(db)
    assert await rows(db) == [("applied", "unsubscribe_request", "address", None, False)]
    email = message.enrollment.email
    assert await suppressed(db, message) == [(email, "unsubscribe", "unsubscribe")]
    assert (await position_of(db, message.enrollment))[0] == "stopped"
    assert await stored(db, message) == [("unsubscribed", False)]


async def test_a_permanent_bounce_suppresses(db: Database) -> None:
    message = await sent(db)
    await come(db, bounced(message), to=to(message), sender="")
    await apply(db)
    assert await rows(db) == [("applied", "bounce", "address", None, False)]
    assert await delivery_of(db, message) == "bounced"
    email = message.enrollment.email
    assert await suppressed(db, message) == [(email, "bounce", "bounce")]
    assert (await position_of(db, message.enrollment))[0] == "stopped"


@pytest.mark.parametrize(
    ("change", "problem"),
    [({"status": "4.2.2"}, None), ({"to": "else@cust.example"}, OTHER_RECIPIENT)],
)
async def test_a_bounce_that_is_not_for_good_or_not_ours_moves_nothing(
    db: Database, change: dict[str, str], problem: str | None
) -> None:
    message = await sent(db)
    before = await state_of(db)
    await come(db, bounced(message, **change), sender="")
    await apply(db)
    assert await rows(db) == [("applied", "bounce", "references", problem, False)]
    assert await state_of(db) == before


async def test_who_is_away_is_noted_with_the_day_and_nothing_moves(db: Database) -> None:
    message = await sent(db)
    before = await state_of(db)
    await come(
        db,
        answer(
            message,
            "I am out of the office until 3 December 2026.",
            "Auto-Submitted: auto-replied",
            "Date: Mon, 23 Nov 2026 10:00:00 +0000",
        ),
        to=to(message),
        sender="",
    )
    await apply(db)
    assert await rows(db) == [("applied", "out_of_office", "address", None, False)]
    assert await run(db, "select returns_on, detail -> 'marks' from inbound_messages") == [
        (date(2026, 12, 3), ["auto-submitted:auto-replied", "envelope:empty"])
    ]
    assert await state_of(db) == before


async def test_the_same_mail_twice_means_the_same_once(db: Database) -> None:
    message = await sent(db)
    raw = answer(message, "Unsubscribe")
    assert await come(db, raw, to=to(message))
    assert not await come(db, raw, to=to(message))
    await apply(db)
    before = await state_of(db)
    # By another way, so with other bytes: the Message-ID says that it is the same.
    again = b"Received: from elsewhere\r\n" + raw
    assert await come(db, again, to=to(message))
    assert await come(db, b"X-Other: way\r\n" + raw, to=to(message))
    await apply(db)
    assert await state_of(db) == before
    assert [row[4] for row in await rows(db)] == [False, True, True]


async def test_repeats_in_one_batch_are_repeats_too(db: Database) -> None:
    message = await sent(db)
    raw = answer(message)
    for n in range(3):
        await come(db, b"X-Way: %d\r\n" % n + raw, to=to(message))
    await apply(db)
    assert sorted(row[4] for row in await rows(db)) == [False, True, True]
    assert await stored(db, message) == [("replied", False)]


async def test_mails_of_many_tenants_are_each_its_own(db: Database) -> None:
    messages = [await sent(db) for _ in range(3)]
    for message in messages:
        await come(db, answer(message), to=to(message))
    await apply(db)
    for message in messages:
        assert await stored(db, message) == [("replied", False)]


async def test_what_cannot_be_read_is_set_aside_alone(db: Database) -> None:
    message = await sent(db)
    await come(db, b"\x00 no mail")
    await come(db, answer(message), to=to(message))
    await apply(db)
    states = [row[:2] for row in await rows(db)]
    assert states == [("quarantined", None), ("applied", "reply")]


async def test_what_the_database_refuses_is_set_aside_alone(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = await sent(db)
    await come(db, answer(message, "Yes.", "Subject: poison"), to=to(message))
    await come(db, answer(message, "Yes.", "Message-ID: <b@x.example>"), to=to(message))
    closing = service._closing

    def poisoned(*given: Any) -> dict[str, object]:
        found = closing(*given)
        return {**found, "class": "?"} if found["subject"] == "poison" else found

    monkeypatch.setattr(service, "_closing", poisoned)
    await apply(db)
    assert [row[:2] for row in await rows(db)] == [("quarantined", None), ("applied", "reply")]
    assert await stored(db, message) == [("replied", False)]


async def test_a_crash_before_the_commit_changes_nothing_and_the_sweep_asks_again(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = await sent(db)
    await come(db, answer(message), to=to(message))
    before = await state_of(db)

    async def dies(*_: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(service, "wake", dies)
        with pytest.raises(asyncio.CancelledError):
            await apply_replies(db)
    assert await state_of(db) == before
    assert [row[0] for row in await rows(db)] == ["received"]
    await run(db, "delete from procrastinate_jobs")
    assert not await is_idle(db)
    assert await sweep_once(db) == 1
    jobs = await run(db, "select task_name from procrastinate_jobs where status = 'todo'")
    assert jobs == [("apply_replies",)]
    await apply(db)
    assert await stored(db, message) == [("replied", False)]
    assert await is_idle(db)


@pytest.mark.parametrize("is_read", [False, True])
async def test_a_timer_waits_for_the_mail_that_came_before_it(db: Database, is_read: bool) -> None:
    message = await sent(db, BRANCHING, age=timedelta(hours=73))
    await come(db, answer(message), to=to(message))
    await run(db, "update inbound_messages set received_at = now() - interval '90 minutes'")
    if is_read:  # and what it means is not applied yet
        await apply_replies(db)
    assert await fire_timers(db, message.tenant_id) == 0
    await apply(db)
    await fire_timers(db, message.tenant_id)
    assert (await position_of(db, message.enrollment))[:2] == ("active", "wait_click")


async def test_sends_wait_for_mail_that_nobody_has_read(db: Database) -> None:
    message = await sent(db)
    await come(db, answer(message), to=to(message))
    await run(db, "update inbound_messages set received_at = now() - interval '90 seconds'")

    async def is_behind() -> bool:
        async with db.transaction(Role.WORKER, message.tenant_id) as tx:
            budget = await read_budget(tx, message.tenant_id, unheard_seconds=60.0)
        assert budget is not None
        return budget.is_behind

    assert await is_behind()
    await apply_replies(db)
    assert await is_behind()
    await apply(db)
    assert not await is_behind()


async def test_appliers_beside_each_other_apply_each_mail_once(db: Database) -> None:
    messages = [await sent(db) for _ in range(4)]
    for message in messages:
        await come(db, answer(message), to=to(message))
    counts = await asyncio.gather(*(apply_replies(db) for _ in range(4)))
    assert sum(counts) == 4
    await drain(db)
    for message in messages:
        assert await stored(db, message) == [("replied", False)]
