"""Floors: a claim begins where something waits, and what a floor hides is found within a minute."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import LiteralString
from uuid import UUID

from outreach.db import Database, Role
from outreach.services import sweep
from outreach.services.fire_timers import fire_timers
from outreach.sql import Tx
from outreach.store import dispatch, enroll
from outreach.store.sweep import list_due_work
from tests.support.factories import Campaign, make_campaign, run
from tests.support.sending import due_campaign, enroll_many

FLOORS: LiteralString = """
select priority, now() - due_at, action_id from lane_floors where sender_id = %(s)s order by 1
"""
AGE_FLOORS: LiteralString = "update lane_floors set updated_at = now() - interval '2 seconds'"
ALL_DUE: LiteralString = """
update scheduled_actions set due_at = now() - make_interval(secs => %(s)s) where state = 'pending'
"""
NOBODY = UUID(int=0)


async def claim(db: Database, campaign: Campaign, take: int) -> list[UUID]:
    """Look at the lanes and take so many, which are done then."""
    async with db.transaction(Role.WORKER, campaign.tenant_id) as tx:
        lanes = await dispatch.list_lanes(tx, campaign.tenant_id)
        if any(lane.is_floor_low for lane in lanes):
            await dispatch.raise_floors(tx, campaign.tenant_id)
        takes = {lane.sender_id: take for lane in lanes}
        found = await dispatch.claim_sends(tx, campaign.tenant_id, takes) if takes else []
    ids = [one.action_id for one in found]
    await run(db, "update scheduled_actions set state = 'done' where id = any (%(ids)s)", ids=ids)
    return ids


async def works(db: Database) -> set[str]:
    async with db.transaction(Role.WORKER) as tx:
        return {work.task for work in await list_due_work(tx)}


async def test_a_claim_raises_the_floor_to_what_it_found(db: Database) -> None:
    campaign = await due_campaign(db, 9)
    await run(db, ALL_DUE, s=3600)
    assert await sweep.look_below_floors(db) == 0, "the first look hides nothing"
    order = [row[0] for row in await run(db, "select id from scheduled_actions order by id")]
    floors = []
    for start in (0, 3, 6):
        assert sorted(await claim(db, campaign, 3)) == order[start : start + 3]
        floors.append((await run(db, FLOORS, s=campaign.sender_id))[0])
        await run(db, AGE_FLOORS)
    assert [floor[2] for floor in floors] == [order[0], order[3], order[6]]
    assert {floor[0] for floor in floors} == {1}
    assert await claim(db, campaign, 3) == []


async def test_a_floor_is_raised_once_a_second_and_keeps_its_distance_from_now(
    db: Database,
) -> None:
    campaign = await due_campaign(db, 3)
    await sweep.look_below_floors(db)
    await run(db, AGE_FLOORS)
    await claim(db, campaign, 1)
    ((_, behind, action_id),) = await run(db, FLOORS, s=campaign.sender_id)
    assert behind >= timedelta(seconds=10)
    assert action_id == NOBODY

    await run(db, ALL_DUE, s=5)
    await run(db, "update lane_floors set updated_at = now()")
    await claim(db, campaign, 1)
    assert (await run(db, FLOORS, s=campaign.sender_id))[0][1] > behind, "it is left alone"


async def hide(db: Database, campaign: Campaign) -> UUID:
    """One action, dated below the floor of its lane and of its tenant."""
    await sweep.look_below_floors(db)
    ((action_id,),) = await run(
        db, "select id from scheduled_actions where state = 'pending' order by id limit 1"
    )
    await run(
        db,
        "update scheduled_actions set due_at = now() - interval '1 hour' where id = %(id)s",
        id=action_id,
    )
    await run(
        db,
        "update scheduled_actions set state = 'done' where id <> %(id)s",
        id=action_id,
    )
    assert await claim(db, campaign, 5) == []
    return UUID(str(action_id))


async def test_what_is_dated_below_the_floor_is_found_by_the_minutes_look(db: Database) -> None:
    campaign = await due_campaign(db, 3)
    action_id = await hide(db, campaign)
    assert await works(db) == set()
    await sweep.keep_house(db)
    assert await works(db) == {"send_due"}
    assert await claim(db, campaign, 5) == [action_id]
    assert await sweep.look_below_floors(db) == 0


async def test_who_asks_whether_all_is_done_looks_below_the_floors(db: Database) -> None:
    campaign = await due_campaign(db, 3)
    await hide(db, campaign)
    assert not await sweep.is_idle(db)
    await claim(db, campaign, 5)
    assert await sweep.is_idle(db)


async def test_a_timer_below_the_floor_is_found_by_the_minutes_look(db: Database) -> None:
    campaign = await due_campaign(db, 1)
    await run(db, "update scheduled_actions set kind = 'timeout', trigger = 'no_open'")
    assert await works(db) == {"fire_timers"}
    await sweep.look_below_floors(db)
    await run(db, ALL_DUE, s=3600)
    assert await works(db) == set()
    assert await fire_timers(db, campaign.tenant_id) == 0
    await sweep.look_below_floors(db)
    assert await works(db) == {"fire_timers"}
    assert await fire_timers(db, campaign.tenant_id) == 1


async def test_nobody_waits_for_a_floor_that_somebody_holds(db: Database) -> None:
    campaign = await due_campaign(db, 6)
    await run(db, ALL_DUE, s=3600)
    await sweep.look_below_floors(db)
    await claim(db, campaign, 3)
    await run(db, AGE_FLOORS)
    before = await run(db, FLOORS, s=campaign.sender_id)
    async with db.connection() as other, other.transaction():
        await other.execute("select from lane_floors for update")
        assert len(await claim(db, campaign, 3)) == 3
    assert (await run(db, FLOORS, s=campaign.sender_id))[0][2] == before[0][2]


async def test_a_long_launch_lowers_the_floors_that_passed_it(db: Database) -> None:
    campaign = await due_campaign(db, 2)
    await sweep.look_below_floors(db)
    async with db.transaction(Role.APP, campaign.tenant_id) as tx:
        await tx.execute("update scheduled_actions set due_at = now()")
        await run(db, "update lane_floors set due_at = now() + interval '1 hour'")
        assert await claim(db, campaign, 1) == []
        await enroll.lower_floors(tx, campaign.tenant_id)
    assert len(await claim(db, campaign, 1)) == 1
    # One that nobody has passed stays where it is.
    await run(db, "update lane_floors set due_at = '2026-01-01Z', action_id = %(id)s", id=NOBODY)
    async with db.transaction(Role.APP, campaign.tenant_id) as tx:
        await enroll.lower_floors(tx, campaign.tenant_id)
    assert await run(db, "select due_at = '2026-01-01Z' from lane_floors") == [(True,)]


# --- the order inside a sender -------------------------------------------------------------------


async def test_conversations_that_run_go_before_first_touches(db: Database) -> None:
    campaign = await due_campaign(db, 6)
    await run(
        db,
        "update scheduled_actions set priority = 0, due_at = now()"
        " where id in (select id from scheduled_actions order by id desc limit 2)",
    )
    running = {
        row[0] for row in await run(db, "select id from scheduled_actions where priority = 0")
    }
    assert set(await claim(db, campaign, 2)) == running
    assert len(await claim(db, campaign, 3)) == 3


async def test_no_more_is_locked_than_is_taken(db: Database) -> None:
    campaign = await due_campaign(db, 6)
    await run(
        db,
        "update scheduled_actions set priority = 0"
        " where id in (select id from scheduled_actions order by id limit 3)",
    )
    takes = {campaign.sender_id: 2}
    async with db.transaction(Role.WORKER, campaign.tenant_id) as tx:
        first = await dispatch.claim_sends(tx, campaign.tenant_id, takes)
        async with db.transaction(Role.WORKER, campaign.tenant_id) as other:
            second = await dispatch.claim_sends(other, campaign.tenant_id, takes)
            async with db.transaction(Role.WORKER, campaign.tenant_id) as third:
                last = await dispatch.claim_sends(third, campaign.tenant_id, takes)
    found = [{one.action_id for one in some} for some in (first, second, last)]
    assert [len(some) for some in found] == [2, 2, 2]
    assert len(set.union(*found)) == 6


# --- how dead entries go -----------------------------------------------------------------------

HOT = {
    "enrollments",
    "lane_floors",
    "outbound_messages",
    "procrastinate_events",
    "procrastinate_jobs",
    "rate_limit_counters",
    "scheduled_actions",
    "send_attempts",
    "tenant_floors",
}
CLOSELY_VACUUMED: LiteralString = """
select c.relname from pg_class c
cross join lateral pg_options_to_table(c.reloptions) as o
where o.option_name = 'autovacuum_vacuum_scale_factor' and o.option_value::float <= 0.02
"""


async def test_what_every_message_touches_is_vacuumed_closely(tx: Tx) -> None:
    rows = await (await tx.execute(CLOSELY_VACUUMED)).fetchall()
    assert {row[0] for row in rows} >= HOT


# --- how they are read -------------------------------------------------------------------------


async def index_conditions(tx: Tx, query: LiteralString, **params: object) -> list[str]:
    """How a statement's plan reads the index of the lanes."""
    nothing = dict.fromkeys(re.findall(r"%\((\w+)\)s", query))
    plan = await (await tx.execute("explain " + query, nothing | params)).fetchall()
    lines = [row[0].strip() for row in plan]
    return [lines[at + 1] for at, line in enumerate(lines) if "scheduled_actions_lane" in line]


async def test_a_lane_is_the_head_of_an_index_from_its_floor_on(db: Database) -> None:
    """Not a filter: what is below the floor is not even read."""
    campaign = await due_campaign(db, 500)
    for _ in range(9):
        await enroll_many(db, await make_campaign(db, campaign.tenant_id), 500)
    await sweep.look_below_floors(db)
    await run(db, "analyze scheduled_actions")
    takes = {"sender_ids": [campaign.sender_id], "takes": [10]}
    async with db.transaction(Role.WORKER, campaign.tenant_id) as tx:
        given = {"tenant_id": campaign.tenant_id}
        lanes = await index_conditions(tx, dispatch.SQL["list_lanes"], **given)
        floors = await index_conditions(tx, dispatch.SQL["raise_floors"], **given)
        sends = await index_conditions(tx, dispatch.SQL["claim_sends"], **given, **takes)
    for conditions in (lanes, floors, sends):
        (condition,) = conditions
        assert condition.startswith("Index Cond")
        for part in ("tenant_id", "sender_id", "priority", "due_at", "ROW("):
            assert part in condition
