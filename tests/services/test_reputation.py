"""Bounces and complaints are counted with their events, and slow or stop their sender."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from outreach.core.errors import NotFound
from outreach.core.limits import Override, Scope
from outreach.core.states import Reputation
from outreach.db import Database
from outreach.services import limits
from outreach.services.apply_events import apply_events
from outreach.services.explain import explain
from outreach.services.reputation import forgive, judge_senders
from tests.support.factories import (
    Campaign,
    Message,
    enroll,
    event,
    make_campaign,
    make_sent,
    receive,
    run,
)
from tests.support.people import ACTOR
from tests.support.sending import drain, due_campaign, enroll_many, sending


async def outcomes(db: Database) -> list[tuple[Any, ...]]:
    return await run(db, "select sum(settled), sum(bounced), sum(complained) from sender_outcomes")


async def regard(db: Database, campaign: Campaign) -> str:
    ((found,),) = await run(
        db,
        "select reputation::text from sender_identities where id = %(s)s",
        s=campaign.sender_id,
    )
    return str(found)


async def heard(db: Database, campaign: Campaign, **counts: int) -> None:
    """So many outcomes in the present hour."""
    await run(
        db,
        "insert into sender_outcomes (tenant_id, sender_id, hour_at, settled, bounced, complained)"
        " values (%(t)s, %(s)s, date_trunc('hour', now()), %(settled)s, %(bounced)s, %(bad)s)"
        " on conflict (tenant_id, sender_id, hour_at) do update set settled = excluded.settled,"
        " bounced = excluded.bounced, complained = excluded.complained, updated_at = now()",
        t=campaign.tenant_id,
        s=campaign.sender_id,
        settled=counts.get("settled", 0),
        bounced=counts.get("bounced", 0),
        bad=counts.get("complained", 0),
    )


async def pass_hours(db: Database, hours: int) -> None:
    """Let hours go by, for all that reputation looks at."""
    await run(
        db,
        "update sender_outcomes set hour_at = hour_at - make_interval(hours => %(h)s),"
        " updated_at = updated_at - make_interval(hours => %(h)s)",
        h=hours,
    )
    await run(
        db,
        "update sender_identities set"
        " reputation_at = reputation_at - make_interval(hours => %(h)s),"
        " reputation_calm_at = reputation_calm_at - make_interval(hours => %(h)s),"
        " first_sent_at = first_sent_at - make_interval(hours => %(h)s)",
        h=hours,
    )


async def alarms(db: Database, *, is_open: bool = True) -> list[str]:
    rows = await run(
        db,
        "select code from incidents where (closed_at is null) = %(o)s order by code",
        o=is_open,
    )
    return [code for (code,) in rows]


# --- what is counted ---------------------------------------------------------------------------


async def test_each_message_is_counted_once_whatever_is_said_of_it(db: Database) -> None:
    campaign = await make_campaign(db)
    messages: list[Message] = []
    for _ in range(4):
        messages.append(await make_sent(db, await enroll(db, campaign)))
    delivered, bounced, late, accused = messages
    await receive(db, event(delivered, "delivered"), event(bounced, "bounce", type="bounce"))
    await receive(db, event(late, "delivered"), event(accused, "delivered"))
    await receive(db, event(late, "bounce", type="bounce"), event(accused, "spamreport"))
    await receive(db, event(late, "bounce", type="bounce", id="again"), event(delivered, "open"))
    await receive(db, event(delivered, "delivered"), event(bounced, "deferred"))

    while await apply_events(db):
        pass

    assert await outcomes(db) == [(4, 2, 1)]
    stored = await run(
        db,
        "select count(*) filter (where delivery >= 'delivered'),"
        " count(*) filter (where delivery = 'bounced'),"
        " count(*) filter (where delivery = 'complained') from outbound_messages",
    )
    assert stored == [(4, 2, 1)]


async def test_appliers_beside_each_other_lose_no_count(db: Database) -> None:
    campaign = await make_campaign(db)
    for _ in range(12):
        message = await make_sent(db, await enroll(db, campaign))
        await receive(db, event(message, "delivered"))

    await asyncio.gather(*(drained(db) for _ in range(4)))

    assert await outcomes(db) == [(12, 0, 0)]


async def drained(db: Database) -> None:
    while await apply_events(db, deliveries_max=2):
        pass


# --- what follows ------------------------------------------------------------------------------


async def test_a_sender_over_a_threshold_goes_at_half_its_limits(db: Database) -> None:
    campaign = await due_campaign(db, 40, is_limited=True)
    await heard(db, campaign, settled=100, bounced=6)
    assert await judge_senders(db) == 1
    assert await judge_senders(db) == 0, "once"

    async with sending(db) as (context, sandbox):
        await drain(context, campaign.tenant_id)

        assert len(sandbox.accepted) == 10, "of twenty a minute"
    assert await regard(db, campaign) == "slowed"
    assert await alarms(db) == ["reputation_slowed"]
    rows = await run(db, "select distinct reason from send_decisions where verdict = 'hold'")
    assert rows == [("reputation_slowed",)]
    shown = [u for u in await limits.show(db, campaign.tenant_id) if u.scope is Scope.SENDER]
    assert [(u.window_seconds, u.limit) for u in shown] == [(60, 10), (3600, 500), (86_400, 100)]
    assert {u.reputation for u in shown} == {Reputation.SLOWED}
    assert shown[0].frees_at is not None


async def test_a_sender_far_over_it_stops_and_only_that_one(db: Database) -> None:
    campaign = await due_campaign(db, 5)
    other = await make_campaign(db, campaign.tenant_id)
    await enroll_many(db, other, 5)
    await heard(db, campaign, settled=1_000, complained=4)
    await judge_senders(db)

    async with sending(db) as (context, sandbox):
        await drain(context, campaign.tenant_id)

        assert len(sandbox.accepted) == 5
    rows = await run(
        db,
        "select distinct reason, detail->>'threshold' from send_decisions where verdict = 'hold'",
    )
    assert rows == [("reputation_stopped", "5 % bounces or 0.1 % complaints")]
    ((email,),) = await run(
        db,
        "select c.email from scheduled_actions a"
        " join enrollments e on e.id = a.enrollment_id join contacts c on c.id = e.contact_id"
        " where a.state = 'pending' and a.kind = 'send' limit 1",
    )
    story = await explain(db, campaign.tenant_id, email)
    assert (
        "Bounces or complaints are over 5 % bounces or 0.1 % complaints; the sender is stopped."
        in [entry.summary for entry in story.entries]
    )


async def test_it_comes_back_by_itself_in_steps(db: Database) -> None:
    campaign = await due_campaign(db, 5)
    await run(db, "update sender_identities set first_sent_at = now()")
    await heard(db, campaign, settled=100, bounced=20)
    await judge_senders(db)
    seen = [await regard(db, campaign)]
    for _ in range(10):
        await pass_hours(db, 24)
        await judge_senders(db)
        seen.append(await regard(db, campaign))
    assert seen == ["stopped"] * 8 + ["slowed"] * 2 + ["good"], "a week, and calm days"
    assert await alarms(db) == []
    assert await alarms(db, is_open=False) == ["reputation_slowed", "reputation_stopped"]
    ((lost,),) = await run(db, "select warmup_lost_seconds / 86400 from sender_identities")
    assert lost == pytest.approx(8 + 1.0, abs=0.01), "the warm-up stood still, then went at half"
    async with sending(db) as (context, sandbox):
        await drain(context, campaign.tenant_id)
        assert len(sandbox.accepted) == 5


async def test_a_good_sender_is_left_alone(db: Database) -> None:
    campaign = await make_campaign(db)
    await heard(db, campaign, settled=1_000, bounced=40, complained=1)
    before = await run(db, "select updated_at from sender_identities")

    assert await judge_senders(db) == 0

    assert await run(db, "select updated_at from sender_identities") == before
    assert await alarms(db) == []


async def test_thresholds_are_set_for_a_sender_and_for_all(db: Database) -> None:
    campaign = await make_campaign(db)
    other = await make_campaign(db, campaign.tenant_id)
    tenant_id = campaign.tenant_id
    await limits.set_for_tenant(
        db, tenant_id, Scope.SENDER, Override(bounce_percent=1.0), actor=ACTOR
    )
    ((email,),) = await run(
        db, "select from_email from sender_identities where id = %(s)s", s=other.sender_id
    )
    own = Override(bounce_percent=50.0)
    await limits.set_for_tenant(db, tenant_id, Scope.SENDER, own, name=email, actor=ACTOR)
    for one in (campaign, other):
        await heard(db, one, settled=200, bounced=4)

    await judge_senders(db)

    assert (await regard(db, campaign), await regard(db, other)) == ("slowed", "good")


async def test_a_judgement_that_was_overtaken_changes_nothing(db: Database) -> None:
    """Two maintainers at once: the second finds another regard than it judged."""
    campaign = await make_campaign(db)
    await heard(db, campaign, settled=100, bounced=6)

    changed = await asyncio.gather(*(judge_senders(db) for _ in range(3)))

    assert sum(changed) == 1
    assert await alarms(db) == ["reputation_slowed"]


# --- a person's word ---------------------------------------------------------------------------


async def test_a_person_forgives(db: Database) -> None:
    campaign = await due_campaign(db, 3)
    await heard(db, campaign, settled=100, bounced=50)
    await judge_senders(db)
    ((email,),) = await run(db, "select from_email from sender_identities")
    async with sending(db) as (context, sandbox):
        await drain(context, campaign.tenant_id)
        assert sandbox.accepted == []

        await forgive(db, campaign.tenant_id, email.upper(), actor=ACTOR, reason="a bad list")

        assert await judge_senders(db) == 0
        await drain(context, campaign.tenant_id)
        assert len(sandbox.accepted) == 3
    assert await alarms(db) == []
    acts = await run(db, "select actor, act, subject, reason from audit_log")
    assert acts == [(ACTOR, "sender_forgiven", email, "a bad list")]


async def test_nobody_unknown_is_forgiven(db: Database) -> None:
    campaign = await make_campaign(db)
    with pytest.raises(NotFound):
        await forgive(db, campaign.tenant_id, "no@acme.example", actor=ACTOR)
    with pytest.raises(NotFound):
        await forgive(db, UUID(int=5), "ana@acme.example", actor=ACTOR)
