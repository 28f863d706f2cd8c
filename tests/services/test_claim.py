"""A claim: all that may go now, no more reading than that, and everything or nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, LiteralString
from uuid import UUID

from outreach.core.limits import HOUR, bucket_of
from outreach.core.outcome import Accepted
from outreach.db import Database, Role, lock_tenant
from outreach.services.claim import Claim, claim_batch
from outreach.services.intended import settle_intended
from outreach.services.outcomes import Result, record_outcomes
from outreach.store import counters
from tests.support.factories import Campaign, make_campaign, run
from tests.support.outcomes import TERMS
from tests.support.sending import due_campaign, enroll_many
from tests.support.statements import counted_statements
from tests.support.waiting import eventually


async def claim(db: Database, tenant_id: UUID, size_max: int = 100) -> Claim:
    return await claim_batch(db, tenant_id, size_max=size_max, terms=TERMS, deadline_seconds=10.0)


async def one(db: Database, query: LiteralString, **params: object) -> Any:
    ((found,),) = await run(db, query, **params)
    return found


async def ledger(db: Database) -> list[Any]:
    """All that a claim writes."""
    return [
        await run(db, query)
        for query in (
            "select count(*), max(updated_at) from outbound_messages",
            "select count(*) from send_attempts",
            "select count(*) from send_refusals",
            "select count(*) from send_holds where ended_at is null",
            "select state, held_by, count(*), max(due_at) from scheduled_actions"
            " group by 1, 2 order by 1, 2",
            "select scope, key, window_seconds, bucket_used from rate_limit_counters"
            " order by 1, 2, 3",
        )
    ]


# --- how much is read --------------------------------------------------------------------------


async def test_the_statements_do_not_grow_with_batch_or_backlog(db: Database) -> None:
    counts = []
    for size, waiting in ((1, 1), (50, 50), (50, 2000)):
        campaign = await due_campaign(db, waiting)
        with counted_statements() as seen:
            found = await claim(db, campaign.tenant_id, size)
        assert len(found.mails) == size
        counts.append(len(seen))
    assert len(set(counts)) == 1
    assert counts[0] <= 12


async def test_the_statements_do_not_grow_with_what_is_refused(db: Database) -> None:
    counts = []
    for waiting in (2, 60):
        campaign = await due_campaign(db, waiting)
        await run(
            db,
            "insert into suppressions (tenant_id, value, reason)"
            " select tenant_id, email, 'manual' from contacts where tenant_id = %(t)s"
            " and right(first_name, 1)::int %% 2 = 0",
            t=campaign.tenant_id,
        )
        with counted_statements() as seen:
            found = await claim(db, campaign.tenant_id)
        assert (len(found.mails), len(found.refused)) == (waiting // 2, waiting // 2)
        counts.append(len(seen))
    assert counts[0] == counts[1]


async def test_a_claim_takes_the_oldest_first(db: Database) -> None:
    campaign = await due_campaign(db, 20)
    await run(
        db,
        "update scheduled_actions a set due_at = now() - make_interval(mins => n::int)"
        " from (select id, row_number() over (order by id) n from scheduled_actions) o"
        " where o.id = a.id",
    )
    oldest = await run(db, "select id from scheduled_actions order by due_at limit 5")

    await claim(db, campaign.tenant_id, 5)

    taken = await run(db, "select id from scheduled_actions where state = 'claimed'")
    assert sorted(taken) == sorted(oldest)


async def test_an_empty_claim_writes_nothing(db: Database) -> None:
    campaign = await make_campaign(db)
    before = await ledger(db)

    found = await claim(db, campaign.tenant_id)

    assert (found.seen, found.mails) == (0, [])
    assert await ledger(db) == before


async def test_an_unknown_tenant_has_nothing_to_send(db: Database) -> None:
    assert (await claim(db, UUID(int=3))).seen == 0


# --- senders take turns ------------------------------------------------------------------------


async def by_sender(db: Database) -> Counter[UUID]:
    rows = await run(
        db, "select sender_id, count(*) from scheduled_actions where state = 'claimed' group by 1"
    )
    return Counter(dict(rows))


async def test_senders_share_a_batch_in_equal_turns(db: Database) -> None:
    crowd = await due_campaign(db, 200)
    others = [await make_campaign(db, crowd.tenant_id) for _ in range(3)]
    for other in others:
        await enroll_many(db, other, 30)

    found = await claim(db, crowd.tenant_id, 80)

    assert len(found.mails) == 80
    assert set((await by_sender(db)).values()) == {20}


async def test_what_a_short_sender_leaves_goes_to_those_after_it(db: Database) -> None:
    short = await due_campaign(db, 100)
    other = await make_campaign(db, short.tenant_id)
    await enroll_many(db, other, 100)
    await run(
        db,
        "insert into send_rate_limits (tenant_id, scope, key, per_minute_max)"
        " values (%(t)s, 'sender', %(k)s, 3)",
        t=short.tenant_id,
        k=str(short.sender_id),
    )
    # The one with few tokens has waited longest.
    await run(
        db,
        "update scheduled_actions set due_at = due_at - interval '1 hour' where sender_id = %(s)s",
        s=short.sender_id,
    )

    await claim(db, short.tenant_id, 50)

    assert await by_sender(db) == {short.sender_id: 3, other.sender_id: 47}


async def test_a_paused_sender_holds_its_own_mail_only(db: Database) -> None:
    campaign = await due_campaign(db, 5)
    other = await make_campaign(db, campaign.tenant_id)
    await enroll_many(db, other, 5)
    await run(
        db,
        "update sender_identities set paused_at = now(), pause_reason = 'x' where id = %(s)s",
        s=campaign.sender_id,
    )

    for _ in range(2):
        await claim(db, campaign.tenant_id)

    assert await by_sender(db) == {other.sender_id: 5}
    rows = await run(db, "select scope, subject_id, reason from send_holds")
    assert rows == [("sender", campaign.sender_id, "sender_paused")]
    rows = await run(
        db, "select verdict, reason, count(*) from send_decisions group by 1, 2 order by 1"
    )
    assert rows == [("hold", "sender_paused", 5), ("send", None, 5)]


# --- pauses park -------------------------------------------------------------------------------


async def pause_campaign(db: Database, campaign: Campaign) -> None:
    await run(
        db,
        "update campaigns set state = 'paused', paused_at = now() where id = %(c)s",
        c=campaign.id,
    )


async def test_a_paused_campaign_is_parked_by_the_first_claim_that_meets_it(db: Database) -> None:
    paused = await due_campaign(db, 30)
    other = await make_campaign(db, paused.tenant_id)
    await enroll_many(db, other, 5)
    await run(db, "update scheduled_actions set sender_id = %(s)s", s=paused.sender_id)
    await pause_campaign(db, paused)

    first = await claim(db, paused.tenant_id)
    second = await claim(db, paused.tenant_id)

    assert (first.seen, len(first.mails)) == (35, 5)
    assert second.seen == 0, "what is parked is not read again"
    rows = await run(
        db, "select held_by, state::text, count(*) from scheduled_actions group by 1, 2 order by 2"
    )
    assert rows == [(None, "claimed", 5), ("campaign", "pending", 30)]
    rows = await run(db, "select count(*) from send_refusals")
    assert rows == [(0,)], "the pause of a set is stored once, with the campaign"


async def test_a_paused_enrollment_is_parked(db: Database) -> None:
    campaign = await due_campaign(db, 3)
    await run(
        db,
        "update enrollments set state = 'paused', paused_at = now()"
        " where id = (select id from enrollments limit 1)",
    )

    found = await claim(db, campaign.tenant_id)

    assert len(found.mails) == 2
    rows = await run(
        db, "select held_by, count(*) from scheduled_actions where state = 'pending' group by 1"
    )
    assert rows == [("enrollment", 1)]
    rows = await run(db, "select count(*) from send_refusals")
    assert rows == [(0,)], "the pause is stored once, with the enrollment"


async def test_a_paused_tenant_or_installation_claims_nothing(db: Database) -> None:
    campaign = await due_campaign(db, 3)
    for pause, resume in (
        (
            "update tenants set state = 'paused', paused_at = now()",
            "update tenants set state = 'active', paused_at = null",
        ),
        (
            "update installation set state = 'paused', paused_at = now()",
            "update installation set state = 'active', paused_at = null",
        ),
    ):
        before = await ledger(db)
        await run(db, pause)
        assert (await claim(db, campaign.tenant_id)).seen == 0
        assert await ledger(db) == before
        assert await one(db, "select parked_until > now() from tenants")
        await run(db, resume)
    assert len((await claim(db, campaign.tenant_id)).mails) == 3


# --- it waits for no row -----------------------------------------------------------------------


async def test_rows_that_somebody_holds_are_left_for_the_next_claim(db: Database) -> None:
    campaign = await due_campaign(db, 4)
    ids = [row[0] for row in await run(db, "select id from enrollments order by id")]
    contact = await one(db, "select contact_id from enrollments where id = %(e)s", e=ids[1])
    async with db.transaction(Role.APP, campaign.tenant_id) as tx:
        await tx.execute("select from enrollments where id = %(e)s for update", {"e": ids[0]})
        await tx.execute(
            "update contacts set suppressed_at = now(), suppressed_reason = 'manual'"
            " where id = %(c)s",
            {"c": contact},
        )
        async with asyncio.timeout(10):
            found = await claim(db, campaign.tenant_id)
        assert len(found.mails) == 2
    found = await claim(db, campaign.tenant_id)
    assert len(found.mails) == 1
    assert [refused.reason for _, refused in found.refused] == ["suppressed_manual"]


async def test_a_suppression_under_way_is_never_overtaken(db: Database) -> None:
    """Of one that commits while a claim waits for the tenant's lock, the claim knows."""
    campaign = await due_campaign(db, 1)
    async with db.transaction(Role.APP, campaign.tenant_id) as tx:
        await lock_tenant(tx, campaign.tenant_id)
        claiming = asyncio.create_task(claim(db, campaign.tenant_id))
        await eventually(lambda: waits_for_a_lock(db))
        await tx.execute(
            "insert into suppressions (tenant_id, value, reason)"
            " values (%(t)s, '@cust.example', 'legal')",
            {"t": campaign.tenant_id},
        )
    found = await claiming
    assert found.mails == []
    assert [refused.reason for _, refused in found.refused] == ["suppressed_domain"]


async def waits_for_a_lock(db: Database) -> bool:
    return bool(
        await one(
            db,
            "select count(*) from pg_stat_activity"
            " where datname = current_database() and wait_event_type = 'Lock'",
        )
    )


# --- everything or nothing ---------------------------------------------------------------------


async def test_a_full_installation_undoes_the_whole_claim(db: Database) -> None:
    """Another tenant takes the last tokens between this claim's look and its grant."""
    campaign = await due_campaign(db, 20)
    await run(db, "update installation set is_limit_off = false, per_hour_max = 10")
    before = await ledger(db)
    other = await make_campaign(db)
    async with db.transaction(Role.WORKER, other.tenant_id) as tx:
        ((at,),) = await (await tx.execute("select now()")).fetchall()
        windows = [(HOUR, bucket_of(at, HOUR), 10)]
        assert await counters.take_installation(tx, 10, windows, at=at) == {HOUR}
        claiming = asyncio.create_task(claim(db, campaign.tenant_id))
        await eventually(lambda: waits_for_a_lock(db))
    found = await claiming

    assert (found.seen, found.mails) == (0, [])
    after = await ledger(db)
    assert after[3] == [(1,)], "and the second look said why"
    assert after[:3] + after[4:] == before[:3] + before[4:]
    assert await run(db, "select scope, reason from send_holds") == [
        ("installation", "limit_installation")
    ]
    assert await one(db, "select sum(u) from installation_counters, unnest(bucket_used) u") == 10


async def test_what_is_left_of_the_installation_is_taken_at_the_second_look(db: Database) -> None:
    campaign = await due_campaign(db, 20)
    await run(db, "update installation set is_limit_off = false, per_hour_max = 10")
    other = await make_campaign(db)
    async with db.transaction(Role.WORKER, other.tenant_id) as tx:
        ((at,),) = await (await tx.execute("select now()")).fetchall()
        await counters.take_installation(tx, 7, [(HOUR, bucket_of(at, HOUR), 10)], at=at)
        claiming = asyncio.create_task(claim(db, campaign.tenant_id))
        await eventually(lambda: waits_for_a_lock(db))
    assert len((await claiming).mails) == 3


async def test_a_pause_between_claim_and_settling_loses_no_step(db: Database) -> None:
    """Of an action whose message is sent already: the enrollment goes on, and stays paused."""
    campaign = await due_campaign(db, 1)
    mails = (await claim(db, campaign.tenant_id)).mails
    accepted = Result(mails[0].message_id, 1, Accepted("x", 202), "answer")
    async with db.transaction(Role.WORKER, campaign.tenant_id) as tx:
        await record_outcomes(tx, campaign.tenant_id, [accepted])
    # As after a loss of data: the step is due once more, and the enrollment does not know better.
    await run(
        db,
        "with action as (update scheduled_actions set state = 'pending', due_at = now(),"
        "  message_id = null"
        "  where kind = 'send'), timer as (delete from scheduled_actions where kind = 'timeout')"
        " update enrollments set accepted_at = null, latest_message_id = null",
    )
    found = await claim(db, campaign.tenant_id)
    assert len(found.intended) == 1
    await run(db, "update enrollments set state = 'paused', paused_at = now()")

    assert await settle_intended(db, campaign.tenant_id, found.intended) == 1

    rows = await run(db, "select e.state::text, e.accepted_at is not null from enrollments e")
    assert rows == [("paused", True)]
    rows = await run(
        db, "select kind::text, state::text from scheduled_actions order by kind, state"
    )
    assert ("timeout", "pending") in rows


async def test_a_step_that_was_intended_before_is_not_sent_again(db: Database) -> None:
    campaign = await due_campaign(db, 2)
    await claim(db, campaign.tenant_id)
    # A second action for the same step, as a restored backup or a faulty plan might leave it.
    await run(
        db,
        "insert into scheduled_actions"
        " (tenant_id, enrollment_id, campaign_id, sender_id, node_id, visit, kind, due_at)"
        " select tenant_id, enrollment_id, campaign_id, sender_id, node_id, visit, kind, now()"
        " from scheduled_actions limit 1",
    )

    found = await claim(db, campaign.tenant_id)

    assert (found.seen, found.mails) == (1, [])
    assert await one(db, "select count(*) from send_attempts") == 2
    assert await settle_intended(db, campaign.tenant_id, found.intended) == 0, "it is on its way"
    rows = await run(db, "select verdict, reason from send_refusals")
    assert rows == [("refuse", "already_intended")]
    rows = await run(
        db, "select state::text, count(*) from scheduled_actions group by 1 order by 1"
    )
    assert rows == [("canceled", 1), ("claimed", 2)]


async def test_a_retry_of_an_earlier_visit_is_not_sent(db: Database) -> None:
    """The plan has come back to the node meanwhile: that visit has a message of its own."""
    campaign = await due_campaign(db, 1)
    await run(db, "update enrollments set visits = '{\"intro\": 2}'")

    assert (await claim(db, campaign.tenant_id)).mails == []

    assert await run(db, "select state::text from scheduled_actions") == [("canceled",)]


async def test_a_retry_says_what_the_ledger_says(db: Database) -> None:
    campaign = await due_campaign(db, 1)
    (first,) = (await claim(db, campaign.tenant_id)).mails
    await run(
        db,
        "update send_attempts set outcome = 'rejected', settled_at = now(), settled_by = 'answer'",
    )
    await run(db, "update outbound_messages set state = 'waiting_retry'")
    await run(db, "update scheduled_actions set state = 'pending', due_at = now()")
    await run(
        db,
        "update sender_identities"
        " set from_name = 'Else', from_email = 'else@acme.example', reply_to = 'else@acme.example'",
    )
    await run(db, "update contacts set first_name = 'Another'")

    (second,) = (await claim(db, campaign.tenant_id)).mails

    assert second.attempt == 2
    for name in ("subject", "text", "html", "to_address", "from_address", "from_name", "reply_to"):
        assert getattr(second, name) == getattr(first, name), name
