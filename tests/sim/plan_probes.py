"""A meeting of a plan's update that loses something when its lock is missing."""

from __future__ import annotations

import asyncio
import json

from outreach.core.errors import Invalid
from outreach.db import Database
from outreach.services.plan_update import update as update_plan
from tests.sim.meetings import opened, waits
from tests.support.factories import PLAN, enroll, make_campaign, make_sent
from tests.support.people import ACTOR


async def nobody_steps_on_a_node_that_vanishes(db: Database) -> bool:
    """A plan without the node to which somebody is just stepping: refused, for nobody is mapped."""
    enrollment = await enroll(db, await make_campaign(db))
    await make_sent(db, enrollment)
    campaign = enrollment.campaign
    plan = json.dumps(PLAN).replace('"bump"', '"nudge"').encode()
    async with opened(db) as tx:
        await tx.execute(
            "update enrollments set current_node_id = 'bump'"
            " where tenant_id = %(t)s and id = %(e)s",
            {"t": enrollment.tenant_id, "e": enrollment.id},
        )
        updating = asyncio.create_task(
            update_plan(
                db, campaign.tenant_id, str(campaign.id), plan=plan, mapping={}, actor=ACTOR
            )
        )
        assert await waits(db, updating)
    try:
        await updating
    except Invalid:
        return True
    return False
