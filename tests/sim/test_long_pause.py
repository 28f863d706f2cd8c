"""A pause of thirty days ends, of a campaign or of all: nobody twice, nobody forgotten, no flood.

What happened in the pause counts: who opened, bounced, was suppressed, erased, stopped, or moved to
where it is night. Time is moved by moving what is due and what the windows have counted.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import pytest

from outreach.core.states import SuppressionReason
from outreach.db import Database
from outreach.dev.sandbox import SandboxServer
from outreach.services import campaign_control, control, enrollment_control, suppress
from outreach.services.apply_events import apply_events
from outreach.services.fire_timers import fire_timers
from outreach.services.send import SendContext
from outreach.services.suppress import SuppressionEntry
from tests.support.factories import (
    PLAN,
    Campaign,
    Enrollment,
    Message,
    enroll,
    event,
    make_campaign,
    make_sent,
    position_of,
    receive,
    run,
)
from tests.support.people import ACTOR
from tests.support.sending import accepted_by_message, drain, lift_limits, sending

pytestmark = pytest.mark.slow

CAP = 10  # of the sender, a minute
MINUTES_MAX = 40
PAUSED_FOR = timedelta(days=30)
NOW = datetime.now(UTC)
ELSEWHERE = "Etc/GMT-10"  # ten hours ahead, where it is night

LIMIT: LiteralString = """
insert into send_rate_limits (tenant_id, scope, key, per_minute_max, is_off)
values (%(t)s, 'sender', %(s)s::text, %(cap)s, true)
"""
DUE_AGO: LiteralString = """
update scheduled_actions set due_at = now() - %(ago)s
where enrollment_id = any (%(ids)s) and state = 'pending'
"""
# The resume is what wrote last; each minute from then on, by sender.
BY_MINUTE: LiteralString = """
select sender_id, floor(extract(epoch from due_at - updated_at) / 60)::int, count(*)
from scheduled_actions
where state = 'pending' and held_by is null and trigger is distinct from 'idle'
  and updated_at = (select max(updated_at) from scheduled_actions)
group by 1, 2
"""
# A minute and the seconds by which a window's last sub-bucket may hold on longer.
NEXT_MINUTE: LiteralString = """
with due as (
  update scheduled_actions set due_at = greatest(due_at - interval '64 seconds', now())
  where state = 'pending' and due_at > now()
),
parking as (
  update tenants set parked_until = null where parked_until is not null
)
update rate_limit_counters
set promised_until = promised_until - interval '64 seconds',
  bucket_at = array(
    select b.at - case window_seconds when 60 then 64 when 3600 then 1 else 0 end
    from unnest(bucket_at) with ordinality as b (at, place) order by b.place
  )
"""
OVERDUE: LiteralString = """
select count(*) from scheduled_actions
where state = 'pending' and held_by is null and due_at < now() + interval '1 hour'
"""
MAILS: LiteralString = """
select c.email, count(*), count(distinct m.node_id)
from outbound_messages m join contacts c on c.tenant_id = m.tenant_id and c.id = m.contact_id
group by c.email
"""


def clock(hours: int) -> str:
    """What a clock shows so many hours from now, in UTC."""
    return f"{NOW + timedelta(hours=hours):%H:%M}"


HOURS: dict[str, Any] = {
    "send_window": {"start": "00:00", "end": "24:00"},
    "quiet_hours": {"start": clock(6), "end": clock(14)},
}


@dataclass(slots=True)
class Cohorts:
    """Who stood where when the pause began."""

    first: list[Enrollment]  # the first mail comes due in the pause
    waiting: list[Message]  # the first mail was sent a day before; nothing was heard of it
    night: list[Enrollment]  # as `first`, and where they are it is night when the pause ends
    unmet: list[Enrollment]  # as `first`, and no worker looked when it came due


async def cohorts(db: Database, campaign: Campaign) -> Cohorts:
    """Everybody, as the pause found them."""
    found = Cohorts(
        first=[await enroll(db, campaign) for _ in range(30)],
        waiting=[
            await make_sent(db, await enroll(db, campaign), age=PAUSED_FOR + timedelta(days=1))
            for _ in range(30)
        ],
        night=[await enroll(db, campaign) for _ in range(5)],
        unmet=[await enroll(db, campaign) for _ in range(15)],
    )
    later = [one.id for one in (*found.night, *found.unmet)]
    await run(db, DUE_AGO, ids=later, ago=-timedelta(days=1))
    return found


async def slug_of(db: Database, campaign: Campaign) -> str:
    ((slug,),) = await run(db, "select slug from tenants where id = %(t)s", t=campaign.tenant_id)
    return str(slug)


async def pause(db: Database, campaign: Campaign, level: str) -> None:
    match level:
        case "campaign":
            name = str(campaign.id)
            await campaign_control.pause(db, campaign.tenant_id, name, actor=ACTOR, reason="a typo")
            await run(db, "update campaigns set paused_at = now() - %(ago)s", ago=PAUSED_FOR)
        case "tenant":
            slug = await slug_of(db, campaign)
            await control.pause_tenant(db, slug, actor=ACTOR, reason="a typo")
        case _:
            await control.pause_installation(db, actor=ACTOR, reason="a typo")


async def resume(db: Database, campaign: Campaign, level: str) -> None:
    match level:
        case "campaign":
            await campaign_control.resume(db, campaign.tenant_id, str(campaign.id), actor=ACTOR)
        case "tenant":
            await control.resume_tenant(db, await slug_of(db, campaign), actor=ACTOR)
        case _:
            await control.resume_installation(db, actor=ACTOR)


async def meanwhile(db: Database, campaign: Campaign, found: Cohorts) -> set[str]:
    """What happened in the pause; the addresses that nothing may go to any more."""
    tenant_id = campaign.tenant_id
    opened, found_open, bounced = found.waiting[:5], found.waiting[5:8], found.waiting[8:10]
    at = NOW - timedelta(days=29, hours=12)
    for message in opened:
        await receive(db, event(message, "open", at=at))
    for message in bounced:
        await receive(db, event(message, "bounce", at=at, type="bounce"))
    while await apply_events(db):
        pass
    ids = [message.enrollment.id for message in opened]  # who wait for a click since then
    await run(
        db, "update enrollments set entered_at = %(at)s where id = any (%(ids)s)", at=at, ids=ids
    )
    await run(db, DUE_AGO, ids=ids, ago=timedelta(days=28, hours=12))
    for message in found_open:  # stored, and nobody has acted on it: the timer must look
        await run(
            db,
            "insert into message_events (tenant_id, provider, provider_event_id,"
            " outbound_message_id, enrollment_id, event_type, event_at) values"
            " (%(t)s, 'sendgrid', %(m)s::text, %(m)s, %(e)s, 'opened', %(at)s)",
            t=tenant_id,
            m=message.id,
            e=message.enrollment.id,
            at=at,
        )
    suppressed, erased, stopped = found.first[:3], found.first[3:5], found.first[5:7]
    entries = [
        SuppressionEntry(one.email, SuppressionReason.MANUAL, source="test") for one in suppressed
    ]
    await suppress.add(db, tenant_id, entries, actor=ACTOR)
    ids = [one.contact_id for one in erased]
    await run(db, "update contacts set erased_at = now() where id = any (%(ids)s)", ids=ids)
    for one in stopped:
        await enrollment_control.stop(db, tenant_id, one.email, reason="no", actor=ACTOR)
    still = found.first[7:9]
    for one in still:
        await enrollment_control.pause(db, tenant_id, one.email, reason="later", actor=ACTOR)
    await run(
        db,
        "update contacts set timezone = %(zone)s where id = any (%(ids)s)",
        zone=ELSEWHERE,
        ids=[one.contact_id for one in found.night],
    )
    silent = (*suppressed, *erased, *stopped, *still)
    return {one.email for one in silent} | {
        message.enrollment.email for message in (*found_open, *bounced)
    }


async def work(db: Database, context: SendContext, campaign: Campaign) -> None:
    """Everything that can be done at this moment."""
    while await fire_timers(db, campaign.tenant_id):
        pass
    await drain(context, campaign.tenant_id)


async def minutes(
    db: Database, context: SendContext, sandbox: SandboxServer, campaign: Campaign
) -> list[int]:
    """Minute by minute until nothing is due within the hour; how many were sent in each."""
    sent: list[int] = []
    for _ in range(MINUTES_MAX):
        before = len(sandbox.accepted)
        await work(db, context, campaign)
        sent.append(len(sandbox.accepted) - before)
        ((left,),) = await run(db, OVERDUE)
        if not left:
            return sent
        await run(db, NEXT_MINUTE)
    raise AssertionError("it does not come to an end")


def addresses(sandbox: SandboxServer) -> Counter[str]:
    return Counter(address for one in sandbox.accepted for address in one.to)


def emails(enrollments: Sequence[Enrollment]) -> set[str]:
    return {one.email for one in enrollments}


@pytest.mark.parametrize("level", ["campaign", "tenant", "installation"])
async def test_a_long_pause_ends_without_a_flood(db: Database, level: str) -> None:
    campaign = await make_campaign(db, plan=PLAN | HOURS)
    tenant_id = campaign.tenant_id
    await lift_limits(db, tenant_id)
    await run(db, LIMIT, t=tenant_id, s=campaign.sender_id, cap=CAP)
    found = await cohorts(db, campaign)
    await pause(db, campaign, level)
    async with sending(db) as (context, sandbox):
        await run(db, DUE_AGO, ids=[one.id for one in found.first], ago=timedelta(days=20))
        await work(db, context, campaign)
        silent = await meanwhile(db, campaign, found)
        await run(db, DUE_AGO, ids=[one.id for one in found.night], ago=timedelta(days=1))
        await work(db, context, campaign)
        assert sandbox.accepted == []
        await run(db, DUE_AGO, ids=[one.id for one in found.unmet], ago=timedelta(hours=1))

        await resume(db, campaign, level)

        if level == "campaign":
            timetable = await run(db, BY_MINUTE)
            assert max(count for _, _, count in timetable) <= CAP
            assert sum(count for _, _, count in timetable) > 5 * CAP
        sent = await minutes(db, context, sandbox, campaign)
        assert max(sent) <= CAP
        everybody = {one.enrollment.email for one in found.waiting} | emails(
            (*found.first, *found.unmet)
        )
        assert addresses(sandbox) == Counter(everybody - silent)
        for one in found.night:
            assert await position_of(db, one) == ("active", "intro", None)
        waits = "select due_at from scheduled_actions where enrollment_id = %(e)s and kind = 'send'"
        for one in found.night:
            ((due_at,),) = await run(db, waits, e=one.id)
            assert due_at > NOW + timedelta(hours=3, minutes=50) - MINUTES_MAX * timedelta(
                minutes=1
            )

        await run(db, "update contacts set timezone = null")
        await run(db, DUE_AGO, ids=[one.id for one in found.night], ago=timedelta(0))
        await run(db, NEXT_MINUTE)
        await minutes(db, context, sandbox, campaign)
        assert addresses(sandbox) == Counter((everybody - silent) | emails(found.night))
        assert set(accepted_by_message(sandbox).values()) == {1}
        assert [row for row in await run(db, MAILS) if row[1] != row[2]] == []


async def test_a_resume_in_the_middle_of_a_claim_forgets_nobody(db: Database) -> None:
    campaign = await make_campaign(db)
    await lift_limits(db, campaign.tenant_id)
    everybody = [await enroll(db, campaign) for _ in range(20)]
    name = str(campaign.id)
    async with sending(db) as (context, sandbox):
        for _ in range(3):
            await campaign_control.pause(db, campaign.tenant_id, name, actor=ACTOR)
            await asyncio.gather(
                work(db, context, campaign),
                campaign_control.resume(db, campaign.tenant_id, name, actor=ACTOR),
            )
        await minutes(db, context, sandbox, campaign)
        assert addresses(sandbox) == Counter(emails(everybody))
