"""What is made due or put back, by whichever act, lies above the floors; a look finds the rest."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import LiteralString

import pytest

from outreach.core.limits import Override, Scope
from outreach.core.outcome import Accepted, Because, NotSent, Outcome, Rejected
from outreach.db import Database, Role
from outreach.services import campaign_control, control, enrollment_control, limits, senders, sweep
from outreach.services.apply_events import apply_events
from outreach.services.claim import claim_batch
from outreach.services.fire_timers import fire_timers
from outreach.services.outcomes import Result
from outreach.services.send import record
from outreach.store import dispatch
from tests.support.factories import Campaign, enroll, make_campaign, receive, run
from tests.support.outcomes import TERMS
from tests.support.sending import lift_limits

HIDDEN: LiteralString = """
select 'a send', a.due_at, a.id from scheduled_actions a
join lane_floors f on f.sender_id = a.sender_id and f.priority = a.priority
where a.state = 'pending' and a.held_by is null and a.kind = 'send' and a.due_at <= now()
  and (a.due_at, a.id) < (f.due_at, f.action_id)
union all
select 'a timer', a.due_at, a.id from scheduled_actions a
join tenant_floors f on f.tenant_id = a.tenant_id
where a.state = 'pending' and a.held_by is null and a.kind = 'timeout' and a.due_at <= now()
  and a.due_at < f.timer_at
union all
select 'a tenant', a.due_at, a.id from scheduled_actions a
join tenant_floors f on f.tenant_id = a.tenant_id
where a.state = 'pending' and a.held_by is null and a.kind = 'send' and a.due_at <= now()
  and a.due_at < f.send_at
"""
TIME_PASSES: LiteralString = """
with action as (
  update scheduled_actions set due_at = due_at - %(by)s::interval where state = 'pending'
), enrollment as (
  update enrollments set entered_at = entered_at - %(by)s::interval,
    accepted_at = accepted_at - %(by)s::interval
), lane as (
  update lane_floors set due_at = due_at - %(by)s::interval,
    updated_at = updated_at - %(by)s::interval
), tenant as (
  update tenant_floors set send_at = send_at - %(by)s::interval,
    timer_at = timer_at - %(by)s::interval
)
update installation set provider_later_until = null, provider_paused_at = null,
  provider_pause_reason = null
"""
EVENT: LiteralString = """
select m.id::text, k.email, m.tenant_id::text from outbound_messages m
join contacts k on k.tenant_id = m.tenant_id and k.id = m.contact_id
where m.tenant_id = %(t)s and m.state = 'sent' order by m.id desc limit 1
"""
ACTIVE: LiteralString = """
select k.email from enrollments e
join contacts k on k.tenant_id = e.tenant_id and k.id = e.contact_id
where e.tenant_id = %(t)s and e.state = 'active' order by e.id desc limit 1
"""
Act = Callable[[Database, Campaign], Awaitable[object]]


def time_passes(by: timedelta) -> Act:
    async def act(db: Database, campaign: Campaign) -> None:
        await run(db, TIME_PASSES, by=by)

    return act


def send(outcome: Outcome) -> Act:
    """A batch, all of which comes to this."""

    async def act(db: Database, campaign: Campaign) -> None:
        tenant_id = campaign.tenant_id
        claim = await claim_batch(db, tenant_id, size_max=3, terms=TERMS, deadline_seconds=10.0)
        results = [Result(m.message_id, m.attempt, outcome, "answer") for m in claim.mails]
        if results:
            await record(db, tenant_id, results)

    return act


async def newcomers(db: Database, campaign: Campaign) -> None:
    for _ in range(3):
        await enroll(db, campaign)


async def timers(db: Database, campaign: Campaign) -> None:
    await fire_timers(db, campaign.tenant_id)


def event(name: str, ago: timedelta) -> Act:
    """News of the latest message, which may come late: a timer's step is then taken back."""

    async def act(db: Database, campaign: Campaign) -> None:
        rows = await run(db, EVENT, t=campaign.tenant_id)
        ((at,),) = await run(db, "select extract(epoch from now() - %(ago)s)::int", ago=ago)
        for message_id, email, tenant_id in rows:
            body = {
                "event": name,
                "email": email,
                "timestamp": at,
                "sg_event_id": f"{name}-{message_id}",
                "outreach_tenant": tenant_id,
                "outreach_message_id": message_id,
                "outreach_attempt": "1",
            }
            await receive(db, body)
        while await apply_events(db):
            pass

    return act


async def pause_campaign(db: Database, campaign: Campaign) -> None:
    name = str(campaign.id)
    await campaign_control.pause(db, campaign.tenant_id, name, actor="mei")
    await send(Accepted("x"))(db, campaign)  # meets the pause, and parks what it meets
    await run(db, TIME_PASSES, by=timedelta(hours=1))
    await campaign_control.resume(db, campaign.tenant_id, name, actor="mei")


async def pause_contact(db: Database, campaign: Campaign) -> None:
    for (address,) in await run(db, ACTIVE, t=campaign.tenant_id):
        given = {"actor": "mei", "reason": "r"}
        await enrollment_control.pause(db, campaign.tenant_id, address, **given)
        await send(Accepted("x"))(db, campaign)
        await run(db, TIME_PASSES, by=timedelta(hours=1))
        await enrollment_control.resume(db, campaign.tenant_id, address, **given)


async def pause_sender(db: Database, campaign: Campaign) -> None:
    query = "select from_email from sender_identities where id = %(s)s"
    ((email,),) = await run(db, query, s=campaign.sender_id)
    await senders.pause(db, campaign.tenant_id, email, reason="r", actor="mei")
    await send(Accepted("x"))(db, campaign)
    await run(db, TIME_PASSES, by=timedelta(hours=1))
    await senders.resume(db, campaign.tenant_id, email, actor="mei")


async def pause_everybody(db: Database, campaign: Campaign) -> None:
    await control.pause_installation(db, reason="r", actor="mei")
    await send(Accepted("x"))(db, campaign)
    await run(db, TIME_PASSES, by=timedelta(hours=1))
    await control.resume_installation(db, actor="mei")


async def change_limits(db: Database, campaign: Campaign) -> None:
    for per_hour in (1, 1_000_000):
        given = Override(None, per_hour, None)
        await limits.set_for_tenant(db, campaign.tenant_id, Scope.DOMAIN, given, actor="mei")
        await send(Accepted("x"))(db, campaign)


async def look(db: Database, campaign: Campaign) -> None:
    await sweep.look_below_floors(db)


SOON, LONG = timedelta(seconds=15), timedelta(hours=80)
ACTS: dict[str, Act] = {
    "some seconds": time_passes(SOON),
    "some days": time_passes(LONG),
    "accepted": send(Accepted("x")),
    "not sent": send(NotSent("no connection")),
    "later": send(Rejected(Because.LATER, 429, "later")),
    "newcomers": newcomers,
    "timers": timers,
    "opened": event("open", timedelta(0)),
    "clicked long ago": event("click", LONG),
    "campaign paused": pause_campaign,
    "contact paused": pause_contact,
    "sender paused": pause_sender,
    "everybody paused": pause_everybody,
    "limits changed": change_limits,
    "a look": look,
}
# Floors that follow closely: something due in the lane, and a claim that raises.
BEGINNING = ("newcomers", "a look", "some seconds", "accepted")


@pytest.mark.parametrize("seed", range(4))
async def test_no_act_leaves_anything_below_a_floor(db: Database, seed: int) -> None:
    chance = random.Random(seed)
    campaign = await make_campaign(db)
    await lift_limits(db, campaign.tenant_id)
    done: list[str] = []
    for name in [*BEGINNING, *chance.choices(sorted(ACTS), k=30)]:
        await ACTS[name](db, campaign)
        done.append(name)
        assert await run(db, HIDDEN) == [], f"found again within a minute only: {done}"


async def test_an_act_that_dated_back_would_be_seen(db: Database) -> None:
    campaign = await make_campaign(db)
    await lift_limits(db, campaign.tenant_id)
    for name in (*BEGINNING, "newcomers", "newcomers", "some seconds", "accepted"):
        await ACTS[name](db, campaign)
    back = "update scheduled_actions set due_at = due_at - interval '1 hour'"
    await run(db, back + " where state = 'pending'")
    assert await run(db, HIDDEN) != []


@pytest.mark.parametrize("seed", range(4))
async def test_a_look_finds_whatever_was_dated_back(db: Database, seed: int) -> None:
    """Whatever the floors, and whenever things were due: all is seen after the next look."""
    chance = random.Random(seed)
    campaign = await make_campaign(db)
    await lift_limits(db, campaign.tenant_id)
    for _ in range(6):
        await run(
            db,
            "update scheduled_actions set due_at = now() - make_interval(secs => %(age)s),"
            " priority = %(age)s %% 2 where enrollment_id = %(e)s",
            e=(await enroll(db, campaign)).id,
            age=chance.randrange(10_000),
        )
    await sweep.look_below_floors(db)
    moment = "now() - make_interval(secs => %(f)s)"
    await run(db, f"update lane_floors set due_at = {moment}", f=chance.randrange(9_000))
    await run(db, f"update tenant_floors set send_at = {moment}", f=chance.randrange(9_000))
    hidden = await run(db, HIDDEN)
    await sweep.look_below_floors(db)
    assert await run(db, HIDDEN) == []
    async with db.transaction(Role.WORKER, campaign.tenant_id) as tx:
        found = await dispatch.claim_sends(tx, campaign.tenant_id, {campaign.sender_id: 9})
    assert len(found) == 6, f"of which {len(hidden)} had been hidden"
