"""The short way of recording an acceptance leaves what the general way leaves, to the column."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from outreach.core.outcome import Accepted, NotSent, Outcome, Unknown
from outreach.db import Database, Role
from outreach.services.apply_events import apply_events
from outreach.services.outcomes import ArmedStep, Result, record_outcomes
from outreach.services.send import record
from tests.support.factories import (
    Message,
    enroll,
    event,
    make_campaign,
    make_message,
    receive,
    run,
)
from tests.support.statements import counted_statements

LONELY = {
    "version": "1.0",
    "timezone": "UTC",
    "start_node_id": "only",
    "nodes": [{"id": "only", "action": "send", "subject": "Once", "body": "Hello."}],
}
DAYS = {
    "version": "1.0",
    "timezone": "Europe/Berlin",
    "start_node_id": "first",
    "nodes": [
        {
            "id": "first",
            "action": "send",
            "subject": "Once",
            "body": "Hello.",
            "transitions": [
                {"on": "no_open", "to": "stop", "after": "P3D"},
                {"on": "no_click", "to": "stop", "after": "PT50H"},
                {"on": "replied", "to": "stop"},
            ],
        }
    ],
}

Act = Callable[[Database, Message], Awaitable[object]]


async def nothing(db: Database, message: Message) -> None:
    """What usually happens meanwhile."""


async def paused(db: Database, message: Message) -> None:
    await run(
        db,
        "update enrollments set state = 'paused', paused_at = now() where id = %(e)s",
        e=message.enrollment.id,
    )


async def stopped(db: Database, message: Message) -> None:
    await run(
        db,
        "update enrollments set state = 'stopped', ended_at = now(), end_reason = 'x'"
        " where id = %(e)s",
        e=message.enrollment.id,
    )


async def delivered(db: Database, message: Message) -> None:
    await receive(db, event(message, "delivered"))
    await apply_events(db)


async def opened(db: Database, message: Message) -> None:
    await receive(db, event(message, "open"))
    await apply_events(db)


async def story(db: Database, message: Message) -> list[Any]:
    """All that was written, without ids; moments as the distance from the acceptance."""
    return [
        await run(db, query, e=message.enrollment.id)
        for query in (
            "select a.kind, a.node_id, a.visit, a.trigger, a.state, a.held_by,"
            " a.message_id is not null, a.campaign_id = e.campaign_id, a.sender_id = e.sender_id,"
            " case when a.kind = 'timeout' then date_trunc('minute', a.due_at - e.accepted_at) end"
            " from scheduled_actions a join enrollments e on e.id = a.enrollment_id"
            " where a.enrollment_id = %(e)s order by a.kind, a.trigger",
            "select state, current_node_id, visits, latest_message_id is not null,"
            " message_node_id, previous, end_reason, accepted_at is not null"
            " from enrollments where id = %(e)s",
            "select state, attempts, counted_attempts, accepted_attempt,"
            " provider_message_id, wake_at is null, failure_code, sent_at is not null,"
            " delivery from outbound_messages where enrollment_id = %(e)s",
            "select a.attempt, a.outcome, a.settled_by, a.http_status, a.detail"
            " from send_attempts a join outbound_messages m on m.id = a.message_id"
            " where m.enrollment_id = %(e)s",
            "select from_node_id, to_node_id, visit, trigger, code, reason"
            " from campaign_transitions where enrollment_id = %(e)s order by id",
            "select verdict, reason from send_refusals where enrollment_id = %(e)s",
            "select k.state from campaigns k join enrollments e on e.campaign_id = k.id"
            " where e.id = %(e)s",
        )
    ]


async def twin(db: Database, plan: dict[str, Any] | None, act: Act) -> tuple[Message, ArmedStep]:
    """A message on its way in a campaign of its own, and what its claim knew."""
    campaign = await make_campaign(db, plan=plan)
    message = await make_message(db, await enroll(db, campaign))
    node = campaign.plan.start_node_id
    step = ArmedStep(
        message.enrollment.id, node, 1, 1, campaign.plan, ZoneInfo(campaign.plan.timezone)
    )
    await act(db, message)
    return message, step


@pytest.mark.parametrize("plan", [None, LONELY, DAYS], ids=["timers", "complete", "days"])
@pytest.mark.parametrize("act", [nothing, paused, stopped, delivered, opened])
@pytest.mark.parametrize("outcome", [Accepted("abc", 202), NotSent("no"), Unknown("eh", 500)])
async def test_both_ways_leave_the_same(
    db: Database, plan: dict[str, Any] | None, act: Act, outcome: Outcome
) -> None:
    (short, step), (general, _) = await twin(db, plan, act), await twin(db, plan, act)

    await record(db, short.tenant_id, [Result(short.id, 1, outcome, "answer", step=step)])
    async with db.transaction(Role.WORKER, general.tenant_id) as tx:
        await record_outcomes(tx, general.tenant_id, [Result(general.id, 1, outcome, "answer")])

    assert await story(db, short) == await story(db, general)


async def test_a_repeated_answer_changes_nothing(db: Database) -> None:
    message, step = await twin(db, None, nothing)
    result = Result(message.id, 1, Accepted("abc", 202), "answer", step=step)
    await record(db, message.tenant_id, [result])
    before = await story(db, message)
    await record(db, message.tenant_id, [result])
    assert await story(db, message) == before


async def test_a_timer_of_days_ends_at_the_same_wall_clock(db: Database) -> None:
    message, step = await twin(db, DAYS, nothing)
    await record(
        db, message.tenant_id, [Result(message.id, 1, Accepted("abc", 202), "answer", step=step)]
    )
    [(due_at, accepted_at)] = await run(
        db,
        "select a.due_at, e.accepted_at from scheduled_actions a"
        " join enrollments e on e.id = a.enrollment_id where a.trigger = 'no_open'",
    )
    berlin = ZoneInfo("Europe/Berlin")
    begun, ends = accepted_at.astimezone(berlin), due_at.astimezone(berlin)
    assert ends.replace(tzinfo=None) - begun.replace(tzinfo=None) == timedelta(days=3)
    assert due_at.astimezone(UTC) > accepted_at


async def test_the_statements_do_not_depend_on_how_many(db: Database) -> None:
    campaign = await make_campaign(db)
    zone = ZoneInfo(campaign.plan.timezone)
    counts = []
    for size in (2, 12):
        results = []
        for _ in range(size):
            message = await make_message(db, await enroll(db, campaign))
            step = ArmedStep(message.enrollment.id, "intro", 1, 1, campaign.plan, zone)
            results.append(
                Result(message.id, 1, Accepted(message.id.hex, 202), "answer", step=step)
            )
        with counted_statements() as statements:
            await record(db, campaign.tenant_id, results)
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 5
