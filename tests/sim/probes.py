"""Meetings that lose something when a lock is missing: did the invariant hold?"""

from __future__ import annotations

import asyncio
from typing import LiteralString

from outreach.core.outcome import Accepted
from outreach.core.states import SuppressionReason
from outreach.db import Database, Role
from outreach.services import campaign_control, enrollment_control
from outreach.services import suppress as suppressing
from outreach.services.apply_events import apply_events
from outreach.services.fire_timers import fire_timers
from outreach.services.outcomes import Result
from outreach.services.send import record
from outreach.services.suppress import SuppressionEntry
from outreach.sql import Tx
from outreach.store import enrollments, timers, unknowns
from tests.sim.meetings import Act, Probe, armed, claim, gate, opened, waits
from tests.support.campaigns import enroll_all, new_campaign, new_contacts, new_sender
from tests.support.factories import (
    Campaign,
    Enrollment,
    enroll,
    event,
    make_campaign,
    make_sent,
    receive,
    run,
)
from tests.support.people import ACTOR, new_contact, new_tenant
from tests.support.sending import due_campaign

TIMERS_DUE: LiteralString = """
update scheduled_actions set due_at = now() - interval '1 second'
where tenant_id = %(t)s and kind = 'timeout' and state = 'pending'
"""
LEFT: LiteralString = """
select count(*) from campaign_transitions where tenant_id = %(t)s and from_node_id = 'intro'
"""
PENDING_AFTER_AN_END: LiteralString = """
select count(*) from scheduled_actions a
join enrollments e on e.tenant_id = a.tenant_id and e.id = a.enrollment_id
where a.tenant_id = %(t)s and a.state = 'pending' and e.ended_at is not null
"""
END: LiteralString = """
update enrollments set state = 'stopped', ended_at = now(), end_reason = 'a_test'
where tenant_id = %(t)s and id = %(e)s
"""
CANCEL: LiteralString = """
update scheduled_actions set state = 'canceled' where tenant_id = %(t)s and state = 'pending'
"""


# --- acts that stop a send, each touching one row or lock of those that a claim holds ------------


async def suppress_address(db: Database, campaign: Campaign) -> None:
    ((email,),) = await run(
        db, "select email from contacts where tenant_id = %(t)s", t=campaign.tenant_id
    )
    entry = SuppressionEntry(email, SuppressionReason.MANUAL, source="test")
    await suppressing.add(db, campaign.tenant_id, [entry], actor=ACTOR)


async def suppress_domain(db: Database, campaign: Campaign) -> None:
    entry = SuppressionEntry("@cust.example", SuppressionReason.MANUAL, source="test")
    await suppressing.add(db, campaign.tenant_id, [entry], actor=ACTOR)


async def pause_campaign(db: Database, campaign: Campaign) -> None:
    await campaign_control.pause(db, campaign.tenant_id, str(campaign.id), actor=ACTOR)


async def pause_enrollment(db: Database, campaign: Campaign) -> None:
    ((email,),) = await run(
        db, "select email from contacts where tenant_id = %(t)s", t=campaign.tenant_id
    )
    await enrollment_control.pause(db, campaign.tenant_id, email, reason="a test", actor=ACTOR)


def touch(statement: LiteralString) -> Act:
    """The row alone, where the service takes the tenant's lock too and so is kept twice."""

    async def act(db: Database, campaign: Campaign) -> None:
        await run(db, statement, t=campaign.tenant_id)

    return act


# --- loss of data --------------------------------------------------------------------------------

APPROVED: LiteralString = """
update installation set fence_system_identifier = 1, fence_timeline = 1, fence_approved_at = now(),
  fence_database = (select oid::bigint from pg_database where datname = current_database()),
  fence_started_at = pg_postmaster_start_time()
"""
HELD: LiteralString = """
update installation set data_loss_held_at = now(), data_loss_reason = 'a test'
"""
RESTARTED: LiteralString = """
update installation set fence_started_at = fence_started_at - interval '1 hour'
"""
CLONED: LiteralString = "update installation set fence_database = fence_database + 1"
UNFENCED: LiteralString = """
update installation set data_loss_held_at = null, data_loss_reason = null,
  fence_system_identifier = null, fence_timeline = null, fence_approved_at = null,
  fence_database = null, fence_started_at = null
"""


def nothing_is_armed_behind_the_fence(statement: LiteralString) -> Probe:
    """What was approved is approved no more: not this server run, not this database, not at all."""

    async def probe(db: Database) -> bool:
        campaign, other = await due_campaign(db, 1), await due_campaign(db, 1)
        await run(db, APPROVED)
        await claim(db, other)
        assert await armed(db, other) == 1, "an approved database sends"
        await run(db, statement)
        await claim(db, campaign)
        await run(db, UNFENCED)
        return await armed(db, campaign) == 0

    return probe


# --- limits --------------------------------------------------------------------------------------


async def two_claims_take_one_token(db: Database) -> bool:
    """Two claims of a tenant whose sender may send one mail a minute."""
    campaign = await due_campaign(db, 2, is_limited=True)
    await run(
        db,
        "insert into send_rate_limits (tenant_id, scope, per_minute_max)"
        " values (%(t)s, 'sender', 1)",
        t=campaign.tenant_id,
    )
    async with gate(db, "send_attempts"):
        first = asyncio.create_task(claim(db, campaign))
        assert await waits(db, first)
        second = asyncio.create_task(claim(db, campaign))
        assert await waits(db, second, others=1)
    await asyncio.gather(first, second)
    return await armed(db, campaign) == 1


async def two_tenants_take_one_token(db: Database) -> bool:
    """A claim of each of two tenants while everybody together may send one mail a minute."""
    both = [await due_campaign(db, 1), await due_campaign(db, 1)]
    await run(db, "update installation set is_limit_off = false, per_minute_max = 1")
    await run(db, "update installation_counters set bucket_at = '{}', bucket_used = '{}'")
    async with gate(db, "send_attempts"):
        first = asyncio.create_task(claim(db, both[0]))
        assert await waits(db, first)
        second = asyncio.create_task(claim(db, both[1]))
        assert await waits(db, second, others=1)
    await asyncio.gather(first, second)
    await run(db, "update installation set is_limit_off = true, per_minute_max = null")
    return sum([await armed(db, campaign) for campaign in both]) == 1


async def two_askers_stay_within_the_budget(db: Database) -> bool:
    """Two workers that ask the provider's logs, of which there are six questions a minute."""
    await run(db, "update provider_log_slots set asked_at = now() - interval '1 hour'")

    async def ask() -> int:
        async with db.transaction(Role.WORKER) as tx:
            return await unknowns.take_log_slots(tx, 100, window_seconds=60)

    async with db.transaction(Role.WORKER) as tx:
        taken = await unknowns.take_log_slots(tx, 100, window_seconds=60)
        other = asyncio.create_task(ask())
        await waits(db, other)
    assert taken > 0
    return await other == 0


# --- steps of an enrollment ----------------------------------------------------------------------


async def _sent(db: Database) -> Enrollment:
    enrollment = await enroll(db, await make_campaign(db))
    await make_sent(db, enrollment)
    return enrollment


async def two_events_make_one_step(db: Database) -> bool:
    """Two opens, applied at once by two workers: the enrollment leaves its node once."""
    enrollment = await enroll(db, await make_campaign(db))
    message = await make_sent(db, enrollment)
    async with gate(db, "campaign_transitions"):
        await receive(db, event(message, "open", id="first"))
        first = asyncio.create_task(apply_events(db))
        assert await waits(db, first)
        await receive(db, event(message, "open", id="second"))
        second = asyncio.create_task(apply_events(db))
        assert await waits(db, second, others=1)
    await asyncio.gather(first, second)
    return await run(db, LEFT, t=enrollment.tenant_id) == [(1,)]


async def a_timer_fires_once(db: Database) -> bool:
    """One due timer and two workers."""
    enrollment = await _sent(db)
    await run(db, TIMERS_DUE, t=enrollment.tenant_id)
    async with gate(db, "campaign_transitions"):
        first = asyncio.create_task(fire_timers(db, enrollment.tenant_id))
        assert await waits(db, first)
        second = asyncio.create_task(fire_timers(db, enrollment.tenant_id))
        await waits(db, second, others=1)
    await asyncio.gather(first, second)
    return await run(db, LEFT, t=enrollment.tenant_id) == [(1,)]


async def no_timer_starts_after_the_end(db: Database) -> bool:
    """An acceptance is recorded while somebody ends the enrollment."""
    campaign = await due_campaign(db, 1)
    taken = await claim(db, campaign)
    ((mail,), (step,)) = taken.mails, taken.steps
    result = Result(mail.message_id, mail.attempt, Accepted("id", 202), "answer", step=step)
    async with opened(db) as tx:
        await tx.execute(END, {"t": campaign.tenant_id, "e": step.enrollment_id})
        recording = asyncio.create_task(record(db, campaign.tenant_id, [result]))
        assert await waits(db, recording)
    await recording
    return await run(db, PENDING_AFTER_AN_END, t=campaign.tenant_id) == [(0,)]


def a_stop_takes_back_the_next_step(act: Act) -> Probe:
    """A person ends an enrollment that is just taking a step."""

    async def probe(db: Database) -> bool:
        enrollment = await _sent(db)
        where = {"t": enrollment.tenant_id, "e": enrollment.id}
        async with opened(db) as tx:
            await tx.execute(
                "update enrollments set current_node_id = 'bump'"
                " where tenant_id = %(t)s and id = %(e)s",
                where,
            )
            await tx.execute(
                "insert into scheduled_actions (tenant_id, enrollment_id, campaign_id, sender_id,"
                " node_id, visit, kind, due_at) select tenant_id, id, campaign_id, sender_id,"
                " 'bump', 1, 'send', now() from enrollments"
                " where tenant_id = %(t)s and id = %(e)s",
                where,
            )
            stopping = asyncio.create_task(act(db, enrollment.campaign))
            assert await waits(db, stopping)
        await stopping
        return await run(db, PENDING_AFTER_AN_END, t=enrollment.tenant_id) == [(0,)]

    return probe


async def stop_campaign(db: Database, campaign: Campaign) -> None:
    await campaign_control.stop(db, campaign.tenant_id, str(campaign.id), actor=ACTOR)


async def stop_enrollment(db: Database, campaign: Campaign) -> None:
    ((email,),) = await run(
        db, "select email from contacts where tenant_id = %(t)s", t=campaign.tenant_id
    )
    await enrollment_control.stop(db, campaign.tenant_id, email, reason="a test", actor=ACTOR)


# --- campaigns -----------------------------------------------------------------------------------


async def _end_one(tx: Tx, enrollment: Enrollment) -> None:
    await tx.execute(END, {"t": enrollment.tenant_id, "e": enrollment.id})


async def _complete(tx: Tx, enrollment: Enrollment) -> None:
    await enrollments.complete_campaigns(tx, enrollment.tenant_id, {enrollment.campaign.id})


async def _is_completed(db: Database, campaign: Campaign) -> bool:
    rows = await run(db, "select state::text from campaigns where id = %(c)s", c=campaign.id)
    return rows == [("completed",)]


async def the_later_of_two_ends_completes(db: Database) -> bool:
    """The last two enrollments have ended in two transactions, and then both look."""
    campaign = await make_campaign(db)
    one, two = await enroll(db, campaign), await enroll(db, campaign)
    async with opened(db) as later:
        async with opened(db) as earlier:
            await _end_one(earlier, one)
            await _end_one(later, two)
            await _complete(earlier, one)
            looking = asyncio.create_task(_complete(later, two))
            await waits(db, looking)
        await looking
    return await _is_completed(db, campaign)


async def an_end_waits_for_a_look(db: Database) -> bool:
    """One has ended and looked, and only then the other ends, and looks."""
    campaign = await make_campaign(db)
    one, two = await enroll(db, campaign), await enroll(db, campaign)

    async def end_and_look() -> None:
        async with opened(db) as tx:
            await _end_one(tx, two)
            await _complete(tx, two)

    async with opened(db) as earlier:
        await _end_one(earlier, one)
        await _complete(earlier, one)
        ending = asyncio.create_task(end_and_look())
        await waits(db, ending)
    await ending
    return await _is_completed(db, campaign)


async def who_is_enrolled_during_a_launch_starts(db: Database) -> bool:
    """Contacts are enrolled while somebody launches their campaign."""
    tenant_id = await new_tenant(
        db, slug=f"t{(await run(db, 'select count(*) from tenants'))[0][0]}"
    )
    await new_sender(db, tenant_id)
    await new_contacts(db, tenant_id, 1)
    campaign_id = await new_campaign(db, tenant_id)
    async with opened(db) as tx:
        await tx.execute(
            "update campaigns set state = 'active', launched_at = now() where id = %(c)s",
            {"c": campaign_id},
        )
        enrolling = asyncio.create_task(enroll_all(db, tenant_id))
        await waits(db, enrolling)
    await enrolling
    rows = await run(
        db, "select state::text from enrollments where campaign_id = %(c)s", c=campaign_id
    )
    return rows == [("active",)]


async def no_timer_stays_parked(db: Database) -> bool:
    """A timer is parked for a pause while the campaign is resumed."""
    enrollment = await _sent(db)
    campaign = enrollment.campaign
    await pause_campaign(db, campaign)
    await run(db, TIMERS_DUE, t=campaign.tenant_id)
    ((timer_id,),) = await run(
        db,
        "select id from scheduled_actions where tenant_id = %(t)s and kind = 'timeout'",
        t=campaign.tenant_id,
    )
    async with db.transaction(Role.WORKER, campaign.tenant_id) as tx:
        found = await timers.share_paused_campaigns(tx, campaign.tenant_id, [campaign.id])
        assert found == {campaign.id}
        resuming = asyncio.create_task(
            campaign_control.resume(db, campaign.tenant_id, str(campaign.id), actor=ACTOR)
        )
        await waits(db, resuming)
        await timers.park_timers(tx, campaign.tenant_id, {timer_id: "campaign"})
    await resuming
    return await run(db, "select held_by from scheduled_actions where id = %(a)s", a=timer_id) == [
        (None,)
    ]


# --- suppressions --------------------------------------------------------------------------------


async def a_lift_leaves_what_is_just_added(db: Database) -> bool:
    """One reason is lifted while another is added: the contact stays suppressed."""
    campaign = await make_campaign(db)
    tenant_id, email = campaign.tenant_id, "eve@cust.example"
    await new_contact(db, tenant_id, email)
    manual = SuppressionEntry(email, SuppressionReason.MANUAL, source="test")
    complaint = SuppressionEntry(email, SuppressionReason.COMPLAINT, source="test")
    await suppressing.add(db, tenant_id, [manual], actor=ACTOR)
    async with db.transaction(Role.APP, tenant_id) as tx:
        await suppressing.suppress(tx, tenant_id, [complaint])
        lifting = asyncio.create_task(
            suppressing.lift(db, tenant_id, email, reason=SuppressionReason.MANUAL, actor=ACTOR)
        )
        assert await waits(db, lifting)
    await lifting
    rows = await run(
        db,
        "select suppressed_reason::text from contacts where tenant_id = %(t)s and email = %(e)s",
        t=tenant_id,
        e=email,
    )
    return rows == [("complaint",)]
