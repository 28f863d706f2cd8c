"""The statements of a claim on a real database: tokens, lanes, and the grant, as the worker."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

import pytest

from outreach import ids
from outreach.core.limits import (
    DEFAULTS,
    HOUR,
    MINUTE,
    WINDOWS,
    Counter,
    Scope,
    bucket_of,
    expired_bucket,
)
from outreach.db import Database, Role, set_actor
from outreach.sql import Tx, value
from outreach.store import counters, dispatch
from outreach.store.counters import Tokens
from outreach.store.dispatch import NO_CAP, Grant
from tests.support.factories import Campaign, make_campaign, run
from tests.support.sending import due_campaign, enroll_many

START = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
KEY = "sender"


@pytest.fixture
async def tenant(tx: Tx) -> AsyncIterator[UUID]:
    """A tenant for whom the transaction acts as a worker."""
    tenant_id = ids.new_id()
    await tx.execute(
        "insert into tenants (id, slug, name) values (%(t)s, 'acme', 'Acme')", {"t": tenant_id}
    )
    await set_actor(tx, Role.WORKER, tenant_id)
    yield tenant_id


async def stored(tx: Tx, tenant_id: UUID, window: int) -> Counter:
    rows = await counters.list_counters(tx, tenant_id, [(KEY, "k")])
    found = {row.window_seconds: Counter.of(row.bucket_at, row.bucket_used) for row in rows}
    return found.get(window, Counter())


# --- tokens ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("window", WINDOWS)
async def test_tokens_taken_and_given_back_are_those_of_a_simple_ledger(
    tx: Tx, tenant: UUID, window: int, seed: int
) -> None:
    """Against a list of what was taken when, which is asked and pruned in no clever way."""
    rng = random.Random(f"{window} {seed}")
    taken: list[datetime] = []
    now = START
    for _ in range(40):
        now += timedelta(seconds=rng.expovariate(20 / window))
        if taken and rng.random() < 0.3:
            at = taken.pop(rng.randrange(len(taken)))
            back = Tokens(KEY, "k", window, bucket_of(at, window), 1)
            await counters.give_back_tokens(tx, tenant, [back])
        else:
            count = rng.randint(1, 4)
            new = Tokens(KEY, "k", window, bucket_of(now, window), count)
            await counters.take_tokens(tx, tenant, [new], at=now)
            taken += [now] * count
        dead = expired_bucket(now, window)
        counter = await stored(tx, tenant, window)
        live = [at for at in taken if bucket_of(at, window) > dead]
        assert counter.live(now, window) == len(live)
        assert list(counter.bucket_at) == sorted(set(counter.bucket_at))


async def test_dead_buckets_are_dropped(tx: Tx, tenant: UUID) -> None:
    for minutes in range(200):
        at = START + timedelta(minutes=minutes)
        tokens = [Tokens(KEY, "k", window, bucket_of(at, window), 1) for window in WINDOWS]
        await counters.take_tokens(tx, tenant, tokens, at=at)
    lengths = [len((await stored(tx, tenant, window)).bucket_at) for window in WINDOWS]
    assert max(lengths) <= 128
    assert lengths[2] <= 10


async def test_no_more_comes_back_than_was_taken(tx: Tx, tenant: UUID) -> None:
    bucket = bucket_of(START, MINUTE)
    await counters.take_tokens(tx, tenant, [Tokens(KEY, "k", MINUTE, bucket, 2)], at=START)
    stray = [
        Tokens(KEY, "k", MINUTE, bucket, 5),
        Tokens(KEY, "k", MINUTE, bucket + 1, 1),
        Tokens(KEY, "nobody", MINUTE, bucket, 1),
        Tokens(KEY, "k", HOUR, bucket_of(START, HOUR), 1),
    ]
    await counters.give_back_tokens(tx, tenant, stray)
    assert await stored(tx, tenant, MINUTE) == Counter((bucket,), (0,))
    assert await stored(tx, tenant, HOUR) == Counter()


async def test_several_buckets_of_one_counter_get_theirs_back_at_once(tx: Tx, tenant: UUID) -> None:
    bucket = bucket_of(START, MINUTE)
    for number in (bucket, bucket + 1, bucket + 2):
        await counters.take_tokens(tx, tenant, [Tokens(KEY, "k", MINUTE, number, 3)], at=START)
        taken = [(MINUTE, number, 9)]
        assert await counters.take_installation(tx, 3, taken, at=START) == {MINUTE}
    back = [Tokens(KEY, "k", MINUTE, bucket, 1), Tokens(KEY, "k", MINUTE, bucket + 2, 2)]

    await counters.give_back_tokens(tx, tenant, back)
    await counters.give_back_installation(tx, [(MINUTE, bucket, 1), (MINUTE, bucket + 2, 2)])

    numbers = (bucket, bucket + 1, bucket + 2)
    assert await stored(tx, tenant, MINUTE) == Counter(numbers, (2, 3, 1))
    rows = await counters.list_installation_counters(tx)
    assert [row.bucket_used for row in rows if row.window_seconds == MINUTE] == [[2, 3, 1]]


async def test_the_installation_gives_all_windows_or_says_which(tx: Tx, tenant: UUID) -> None:
    def windows(minute: int, hour: int) -> list[tuple[int, int, int]]:
        return [
            (MINUTE, bucket_of(START, MINUTE), minute),
            (HOUR, bucket_of(START, HOUR), hour),
        ]

    both = {MINUTE, HOUR}
    assert await counters.take_installation(tx, 3, windows(3, 9), at=START) == both
    assert await counters.take_installation(tx, 1, windows(3, 9), at=START) == {HOUR}
    later = START + timedelta(seconds=63)
    fresh = [(MINUTE, bucket_of(later, MINUTE), 3)]
    assert await counters.take_installation(tx, 3, fresh, at=later) == {MINUTE}
    await counters.give_back_installation(tx, [(MINUTE, bucket_of(later, MINUTE), 2)])
    assert await counters.take_installation(tx, 2, fresh, at=later) == {MINUTE}
    assert await counters.take_installation(tx, 1, fresh, at=later) == set()


async def test_a_workers_tokens_are_its_tenants(tx: Tx, tenant: UUID) -> None:
    bucket = bucket_of(START, MINUTE)
    await counters.take_tokens(tx, tenant, [Tokens(KEY, "k", MINUTE, bucket, 2)], at=START)
    await set_actor(tx, Role.WORKER, ids.new_id())
    assert await stored(tx, tenant, MINUTE) == Counter()
    await counters.give_back_tokens(tx, tenant, [Tokens(KEY, "k", MINUTE, bucket, 2)])
    await set_actor(tx, Role.WORKER, tenant)
    assert await stored(tx, tenant, MINUTE) == Counter((bucket,), (2,))


async def test_promises_are_kept_with_their_counter(tx: Tx, tenant: UUID) -> None:
    bucket = bucket_of(START, HOUR)
    await counters.take_tokens(tx, tenant, [Tokens(KEY, "k", HOUR, bucket, 2)], at=START)
    await counters.promise(tx, tenant, {(KEY, "k", HOUR): START, (KEY, "no", HOUR): START})
    (row,) = await counters.list_counters(tx, tenant, [(KEY, "k"), (KEY, "no")])
    assert row.promised_until == START


# --- the budget and the lanes ------------------------------------------------------------------


async def test_a_budget_says_all_that_bounds_a_batch(db: Database) -> None:
    campaign = await make_campaign(db)
    async with db.connection() as tx, tx.transaction():
        await dispatch.begin_claim(tx, campaign.tenant_id)
        budget = await dispatch.read_budget(tx, campaign.tenant_id, unheard_seconds=1.0)
        assert await value(tx, "select current_user::text") == "outreach_worker"
    assert budget is not None
    assert abs(budget.granted_at - datetime.now(UTC)) < timedelta(seconds=5)
    assert budget.tenant_caps == budget.installation_caps == [None, None, None]
    assert budget.tenant_live == budget.installation_live == [0, 0, 0]
    assert (budget.tenant_armed, budget.installation_armed) == (0, 0)
    assert not budget.is_held_by_limit


async def lanes(db: Database, campaign: Campaign) -> list[dispatch.Lane]:
    async with db.transaction(Role.WORKER, campaign.tenant_id) as tx:
        return await dispatch.list_lanes(tx, campaign.tenant_id)


async def test_a_lane_is_a_sender_with_something_due(db: Database) -> None:
    campaign = await due_campaign(db, 3, is_limited=True)
    idle = await make_campaign(db, campaign.tenant_id)

    (lane,) = await lanes(db, campaign)

    default = DEFAULTS[Scope.SENDER]
    assert lane.sender_id == campaign.sender_id
    assert lane.sender_id != idle.sender_id
    assert (lane.minute_cap, lane.hour_cap, lane.day_cap) == (
        default.per_minute,
        default.per_hour,
        default.warm_up,
    )
    assert lane.free == default.per_minute
    assert lane.is_verified
    assert not lane.is_paused


@pytest.mark.parametrize(
    "change",
    [
        "update scheduled_actions set due_at = now() + interval '1 minute'",
        "update scheduled_actions set held_by = 'campaign'",
        "update scheduled_actions set state = 'canceled'",
        "update scheduled_actions set kind = 'timeout', trigger = 'no_open'",
    ],
)
async def test_what_is_not_due_makes_no_lane(db: Database, change: LiteralString) -> None:
    campaign = await due_campaign(db, 3)
    assert len(await lanes(db, campaign)) == 1
    await run(db, change)
    assert await lanes(db, campaign) == []


async def test_the_longest_waiting_lane_comes_first(db: Database) -> None:
    campaign = await due_campaign(db, 1)
    other = await make_campaign(db, campaign.tenant_id)
    await enroll_many(db, other, 1)
    for first in (campaign, other):
        await run(
            db,
            "update scheduled_actions"
            " set due_at = now() - case when sender_id = %(s)s then interval '2 hours'"
            " else interval '1 hour' end",
            s=first.sender_id,
        )
        assert (await lanes(db, campaign))[0].sender_id == first.sender_id


async def test_the_claim_reads_lanes_by_their_index(db: Database) -> None:
    """However much is waiting, a lane is the head of an index and not a scan."""
    campaign = await due_campaign(db, 2000)
    await run(db, "analyze scheduled_actions")
    async with db.transaction(Role.WORKER, campaign.tenant_id) as tx:
        plan = await (
            await tx.execute(
                "explain select a.due_at from scheduled_actions a"
                " where a.tenant_id = %(t)s and a.sender_id = %(s)s and a.priority = 1::smallint"
                " and a.state = 'pending' and a.kind = 'send' and a.held_by is null"
                " and a.due_at <= now()"
                " order by a.due_at, a.id limit 10",
                {"t": campaign.tenant_id, "s": campaign.sender_id},
            )
        ).fetchall()
    assert "scheduled_actions_lane" in str(plan)
    assert "Sort" not in str(plan)


async def test_domains_have_their_own_and_the_general_cap(db: Database) -> None:
    campaign = await make_campaign(db)
    await run(
        db,
        "insert into send_rate_limits (tenant_id, scope, key, per_minute_max, per_hour_max, is_off)"
        " values (%(t)s, 'domain', '', 9, 90, false),"
        " (%(t)s, 'domain', 'big.example', 5, null, true)",
        t=campaign.tenant_id,
    )
    async with db.transaction(Role.WORKER, campaign.tenant_id) as tx:
        rows = await dispatch.list_domain_tokens(
            tx, campaign.tenant_id, ["big.example", "small.example"]
        )
    caps = {row.domain: (row.minute_cap, row.hour_cap, row.day_cap, row.free) for row in rows}
    assert caps == {
        "big.example": (5, NO_CAP, NO_CAP, 5),
        "small.example": (9, 90, NO_CAP, 9),
    }


# --- the grant ---------------------------------------------------------------------------------


async def arm(db: Database, campaign: Campaign, grants: list[Grant]) -> set[UUID]:
    async with db.transaction(Role.WORKER, campaign.tenant_id) as tx:
        return await dispatch.arm_sends(
            tx,
            campaign.tenant_id,
            grants,
            granted_at=START,
            deadline_at=START + timedelta(seconds=15),
        )


async def grants_of(db: Database, campaign: Campaign) -> list[Grant]:
    rows = await run(db, "select id, enrollment_id from scheduled_actions order by id")
    found = []
    for action_id, enrollment_id in rows:
        key = ids.dedupe_key(enrollment_id, "intro", 1)
        message_id = ids.message_id(campaign.tenant_id, key)
        found.append(Grant(action_id, message_id, 1, key, None, "Subject", "Text", "<p>Html</p>"))
    return found


async def test_a_grant_is_a_message_an_attempt_and_a_claimed_action(db: Database) -> None:
    campaign = await due_campaign(db, 2)
    grants = await grants_of(db, campaign)

    assert await arm(db, campaign, grants[:1]) == {grants[0].message_id}

    rows: list[tuple[Any, ...]] = await run(
        db,
        "select m.id, m.state::text, m.attempts, m.action_id, m.to_address = k.email, m.wake_at,"
        "  a.attempt, a.outcome::text, a.armed_at, a.deadline_at, s.state::text, s.message_id"
        " from outbound_messages m join send_attempts a on a.message_id = m.id"
        " join scheduled_actions s on s.id = m.action_id join contacts k on k.id = m.contact_id",
    )
    deadline = START + timedelta(seconds=15)
    one = grants[0]
    assert rows == [
        (
            *(one.message_id, "sending", 1, one.action_id, True, deadline),
            *(1, "armed", START, deadline, "claimed", one.message_id),
        )
    ]


async def test_a_message_that_is_there_is_not_armed_and_does_not_stop_the_others(
    db: Database,
) -> None:
    campaign = await due_campaign(db, 3)
    grants = await grants_of(db, campaign)
    await arm(db, campaign, grants[:1])

    assert await arm(db, campaign, grants) == {grant.message_id for grant in grants[1:]}
    assert await run(db, "select count(*), max(attempt) from send_attempts") == [(3, 1)]


async def test_nothing_of_another_tenant_can_be_armed(db: Database) -> None:
    campaign, other = await due_campaign(db, 1), await make_campaign(db)
    grants = await grants_of(db, campaign)

    assert await arm(db, other, grants) == set()
    assert await run(db, "select count(*) from outbound_messages") == [(0,)]
