"""Mail that went out and that the database forgot: found by its events, and not sent again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from outreach.core.fence import Open
from outreach.db import Database
from outreach.ids import dedupe_key, message_id, new_id
from outreach.services import fence
from outreach.services.apply_events import apply_events
from outreach.services.fence_marks import Marks
from outreach.services.fence_watch import Watch
from outreach.services.regain import LATE, Gap, look_for_lost, reconcile
from tests.support.factories import (
    Enrollment,
    Message,
    enroll,
    event,
    make_campaign,
    position_of,
    receive,
    run,
)
from tests.support.sending import drain, lift_limits, sending

EVER = datetime(2020, 1, 1, tzinfo=UTC)


def forgotten(enrollment: Enrollment, node: str = "intro", visit: int = 1) -> Message:
    """A mail that went out at that step, and of which the database has no trace."""
    key = dedupe_key(enrollment.id, node, visit)
    return Message(enrollment, message_id(enrollment.tenant_id, key), 1, None)


async def kept(db: Database, *events: dict[str, object]) -> None:
    """The events have come in and belong to nobody."""
    await receive(db, *events)
    await apply_events(db)


async def ledger(db: Database, message: Message) -> list[tuple[object, ...]]:
    return await run(
        db,
        "select m.state::text, a.outcome::text, a.settled_by, m.delivery::text"
        " from outbound_messages m join send_attempts a on a.message_id = m.id"
        " where m.id = %(m)s",
        m=message.id,
    )


async def is_held(db: Database) -> str | None:
    return (await fence.status(db)).fence.reason


async def one_forgotten(db: Database) -> Message:
    return forgotten(await enroll(db, await make_campaign(db)))


async def test_an_event_of_a_forgotten_mail_holds_everything_and_puts_it_back(
    db: Database,
) -> None:
    message = await one_forgotten(db)
    await kept(db, event(message, "processed"), event(message, "delivered"))

    gap = await look_for_lost(db, since=EVER)

    assert (gap.messages, gap.events, gap.unproven) == (1, 2, [])
    assert await is_held(db) == "event_of_unknown_message"
    await apply_events(db)
    assert await ledger(db, message) == [("sent", "accepted", "event", "delivered")]
    actions = await run(
        db, "select kind::text, state::text from scheduled_actions order by created_at, kind"
    )
    assert actions == [("send", "done"), ("timeout", "pending")]
    assert await run(db, "select code from incidents") == [("sent_and_forgotten",)]
    again = await look_for_lost(db, since=EVER)
    assert again.messages == 0


async def test_the_step_is_not_sent_again(db: Database) -> None:
    async with sending(db) as (context, sandbox):
        message = await one_forgotten(db)
        await lift_limits(db, message.tenant_id)
        await kept(db, event(message, "processed"))
        await reconcile(db, actor="ops")
        await fence.approve(db, reason="looked", actor="ops")

        await drain(context, message.tenant_id)
        assert len(sandbox.accepted) == 0
        assert await ledger(db, message) == [("sent", "accepted", "event", "none")]


async def test_a_step_that_lies_ahead_goes_on_when_it_comes(db: Database) -> None:
    async with sending(db) as (context, sandbox):
        first = await one_forgotten(db)
        second = forgotten(first.enrollment, "bump")
        await lift_limits(db, first.tenant_id)
        await kept(db, event(second, "processed"), event(second, "delivered"))
        await reconcile(db, actor="ops")
        await fence.approve(db, reason="looked", actor="ops")

        await drain(context, first.tenant_id)
        assert [a.outreach_message_id for a in sandbox.accepted] == [str(first.id)]
        await run(
            db,
            "with t as (update scheduled_actions set kind = 'send', trigger = null, due_at = now(),"
            "  node_id = 'bump' where kind = 'timeout' and state = 'pending')"
            " update enrollments set current_node_id = 'bump', accepted_at = null,"
            "  visits = visits || '{\"bump\": 1}'",
        )
        await drain(context, first.tenant_id)

        assert len(sandbox.accepted) == 1, "the second was sent before the loss"
        assert await position_of(db, first.enrollment) == ("completed", "bump", "completed")
        reasons = await run(db, "select reason from send_refusals")
        assert reasons == [("already_intended",)]


async def test_a_forgotten_mails_bounce_suppresses_and_ends_as_ever(db: Database) -> None:
    message = await one_forgotten(db)
    await kept(db, event(message, "bounce", type="bounce"))

    await reconcile(db, actor="ops")

    assert await ledger(db, message) == [("sent", "accepted", "event", "bounced")]
    assert (await position_of(db, message.enrollment))[0] == "stopped"
    assert await run(db, "select reason::text from suppressions") == [("bounce",)]


async def test_what_comes_out_nowhere_is_counted_and_moves_nothing(db: Database) -> None:
    message = await one_forgotten(db)
    lost_enrollment = Message(message.enrollment, new_id(), 1, None)
    foreign = event(lost_enrollment, "processed", outreach_tenant=str(new_id()))
    nobody = event(lost_enrollment, "processed", email="stranger@cust.example")
    hurt = event(lost_enrollment, "processed", email=["no", "text"], id="hurt")
    await kept(db, event(lost_enrollment, "processed"), foreign, nobody, hurt)

    gap = await look_for_lost(db, since=EVER)

    assert (gap.messages, gap.unproven) == (0, [str(lost_enrollment.id)])
    assert gap.events == 3, "the foreign one is not ours to count"
    assert await is_held(db) is None
    assert await ledger(db, lost_enrollment) == []


async def test_an_id_of_another_address_proves_nothing(db: Database) -> None:
    message = await one_forgotten(db)
    other = await enroll(db, message.enrollment.campaign)
    await kept(db, event(message, "processed", email=other.email))

    assert (await look_for_lost(db, since=EVER)).messages == 0


async def test_what_an_operator_has_approved_already_is_no_news(db: Database) -> None:
    watch = Watch(db, Marks(None))
    assert await watch.look() == Open("first_run")
    late = await one_forgotten(db)
    before = datetime.now(UTC) - timedelta(hours=1)
    await kept(db, event(late, "processed", at=before), event(late, "open"))

    gap = await look_for_lost(db, since=EVER)
    assert gap.messages == 1, "it is put back all the same"
    assert await is_held(db) is None


async def test_a_late_kind_of_event_is_news_only_days_after_the_approval(db: Database) -> None:
    await Watch(db, Marks(None)).look()
    campaign = await make_campaign(db)
    soon = forgotten(await enroll(db, campaign))
    await kept(db, event(soon, "delivered"))
    await look_for_lost(db, since=EVER)
    assert await is_held(db) is None

    await run(
        db,
        "update installation set fence_approved_at = now() - %(age)s",
        age=LATE + timedelta(hours=1),
    )
    later = forgotten(await enroll(db, campaign))
    await kept(db, event(later, "delivered", at=datetime.now(UTC) + timedelta(minutes=1)))
    await look_for_lost(db, since=EVER)
    assert await is_held(db) == "event_of_unknown_message"


async def test_the_watch_hears_of_it(db: Database) -> None:
    watch = Watch(db, Marks(None))
    await watch.look()
    message = await one_forgotten(db)
    at = datetime.now(UTC) + timedelta(seconds=2)
    await kept(db, event(message, "processed", at=at))
    # Nothing happens after it is heard of, so the clocks' word of it is this moment's.
    await watch.listen()

    assert await ledger(db, message) == [("sending", "armed", None, "none")]


async def test_a_second_attempt_is_put_back_as_what_it_is(db: Database) -> None:
    message = await one_forgotten(db)
    await kept(db, event(message, "processed", outreach_attempt="2"))
    await reconcile(db, actor="ops")

    rows = await run(db, "select attempt, outcome::text from send_attempts")
    assert rows == [(2, "accepted")]


async def test_reconciling_again_changes_nothing_and_both_are_on_the_record(db: Database) -> None:
    message = await one_forgotten(db)
    await kept(db, event(message, "processed"))
    first, second = await reconcile(db, actor="ops"), await reconcile(db, actor="ops")

    assert (first.messages, second.messages) == (1, 0)
    assert isinstance(first, Gap)
    assert first.first_at == first.last_at
    rows = await run(
        db, "select detail ->> 'messages' from audit_log where act = 'data_loss_reconciled'"
    )
    assert rows == [("1",), ("0",)]


async def test_a_paused_or_ended_enrollment_takes_its_mail_back_and_stays(db: Database) -> None:
    message = await one_forgotten(db)
    await run(
        db,
        "with gone as (update scheduled_actions set state = 'canceled')"
        " update enrollments set state = 'stopped', ended_at = now(), end_reason = 'stopped'",
    )
    await kept(db, event(message, "processed"))
    await reconcile(db, actor="ops")

    assert await ledger(db, message) == [("sent", "accepted", "event", "none")]
    assert (await position_of(db, message.enrollment))[0] == "stopped"
