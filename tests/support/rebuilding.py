"""A run in which everything happens, and the comparison of `rebuild --check` over what is left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from outreach.core.outcome import Because, NotSent, Rejected, Unknown
from outreach.core.rebuilt import Difference
from outreach.db import Database
from outreach.services import enrollment_control
from outreach.services.apply_events import apply_events
from outreach.services.fire_timers import fire_timers
from outreach.services.rebuild import START, compare_page
from outreach.services.suppress import lift
from outreach.sql import Tx
from tests.support.factories import (
    Campaign,
    Message,
    enroll,
    event,
    make_campaign,
    make_message,
    make_sent,
    receive,
)
from tests.support.outcomes import LATER, settle

NOW = datetime.now(UTC)


async def everything_happens(db: Database) -> Campaign:
    """Opens, bounces, unsubscribes, refusals, silence, pauses, stops, and a step taken back."""
    campaign = await make_campaign(db)

    async def mailed(**at: timedelta) -> Message:
        return await make_sent(db, await enroll(db, campaign), **at)

    opened, bounced, left, complained, dropped, lifted = [await mailed() for _ in range(6)]
    late = await mailed(age=timedelta(hours=73))
    paused = await mailed()
    refused, waiting, silent, proven, again, armed = [
        await make_message(db, await enroll(db, campaign)) for _ in range(6)
    ]
    await settle(db, refused, Rejected(Because.MESSAGE, 400, "400 no"))
    await settle(db, waiting, LATER)
    await settle(db, silent, Unknown("its worker ended"), settled_by="rescuer")
    await settle(db, proven, Unknown("its worker ended"), settled_by="rescuer")
    await settle(db, again, NotSent("no connection"))
    assert await fire_timers(db, campaign.tenant_id) == 1
    await receive(
        db,
        event(opened, "delivered"),
        event(opened, "open"),
        event(opened, "click", url="https://acme.example/a"),
        event(bounced, "bounce", type="bounce"),
        event(left, "unsubscribe"),
        event(complained, "spamreport"),
        event(dropped, "dropped", reason="Invalid"),
        event(lifted, "unsubscribe"),
        event(late, "open", at=NOW - timedelta(hours=70)),
        event(proven, "deferred"),
        event(again, "processed"),
        event(paused, "open"),
    )
    await apply_events(db)
    await lift(db, campaign.tenant_id, lifted.enrollment.email, actor="ana")
    tenant_id, why = campaign.tenant_id, {"reason": "asked", "actor": "ana"}
    for one in (paused, late):
        await enrollment_control.pause(db, tenant_id, one.enrollment.email, **why)
    await enrollment_control.resume(db, tenant_id, late.enrollment.email, actor="ana")
    await enrollment_control.stop(db, tenant_id, armed.enrollment.email, **why)
    return campaign


async def compared_in(tx: Tx, tenant_id: UUID, *, rows_max: int = 1_000) -> list[Difference]:
    """All differences of a tenant, also those that are not committed."""
    found: list[Difference] = []
    place = START
    while True:
        page = await compare_page(tx, tenant_id, place, rows_max=rows_max)
        found += page.differences
        if page.next is None:
            return found
        place = page.next
