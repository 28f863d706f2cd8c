"""Where an enrollment stood at a moment: what was said of it then is what is said of it later."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outreach.core.errors import NotFound
from outreach.db import Database
from outreach.services import enrollment_control
from outreach.services.apply_events import apply_events
from outreach.services.fire_timers import fire_timers
from outreach.services.hindsight import View, view
from tests.support.factories import (
    Enrollment,
    enroll,
    event,
    make_campaign,
    make_sent,
    receive,
    run,
)

Act = Callable[[], Coroutine[Any, Any, object]]


async def clock(db: Database) -> datetime:
    ((now,),) = await run(db, "select clock_timestamp()")
    moment: datetime = now
    return moment


async def seen(db: Database, enrollment: Enrollment, at: datetime | None = None) -> View:
    (one,) = await view(db, enrollment.tenant_id, enrollment.email, at=at)
    return one


async def story(db: Database) -> tuple[Enrollment, list[Act]]:
    """A mail, its timer, an open that comes late, a click that a pause does not stop."""
    campaign = await make_campaign(db)
    enrollment = await enroll(db, campaign)
    why = {"reason": "asked", "actor": "ana"}

    async def sent() -> None:
        message = await make_sent(db, enrollment, age=timedelta(hours=73))
        opened_at = datetime.now(UTC) - timedelta(hours=70)
        bodies.append([event(message, "delivered"), event(message, "open", at=opened_at)])
        bodies.append([event(message, "unsubscribe")])

    async def heard() -> None:
        await receive(db, *bodies.pop(0))
        await apply_events(db)

    async def pause() -> None:
        await enrollment_control.pause(db, campaign.tenant_id, enrollment.email, **why)

    bodies: list[list[dict[str, Any]]] = []
    return enrollment, [sent, lambda: fire_timers(db, campaign.tenant_id), heard, pause, heard]


async def test_each_moment_is_told_as_it_was(db: Database) -> None:
    before = await clock(db)
    enrollment, acts = await story(db)
    moments, told, stored = [await clock(db)], [await seen(db, enrollment)], []
    position = "select state::text, current_node_id, end_reason from enrollments"
    stored += await run(db, position)
    for act in acts:
        await act()
        moments.append(await clock(db))
        told.append(await seen(db, enrollment))
        stored += await run(db, position)

    later = [await seen(db, enrollment, at) for at in moments]
    assert [(one.state, one.node_id, one.end_reason) for one in later] == stored
    for then, now in zip(told, later, strict=True):
        assert (then.because, then.held_by) == (now.because, now.held_by)
        assert then.pending == now.pending
    # The first moment lies before the mail was made, but the mail says that it is three days old.
    assert [one.mails for one in later[1:]] == [one.mails for one in told[1:]]
    assert [one.because and one.because.code for one in later] == [
        "entered",
        "entered",
        "timer",
        "event",
        "event",
        "stopped",
    ]
    assert [[p.trigger or p.kind for p in one.pending] for one in later] == [
        ["send"],
        ["no_open"],
        ["send"],
        ["no_click"],
        ["no_click"],
        [],
    ]
    assert later[4].held_by == ["enrollment_paused"]
    deliveries = [mail.delivery for one in later[1:] for mail in one.mails]
    assert deliveries == ["none"] * 2 + ["delivered"] * 3
    with pytest.raises(NotFound, match="enrollment"):
        await seen(db, enrollment, before)


async def test_only_the_campaign_asked_for_and_only_known_people(db: Database) -> None:
    enrollment = await enroll(db, await make_campaign(db))
    tenant_id, email = enrollment.tenant_id, enrollment.email
    with pytest.raises(NotFound, match="Autumn"):
        await view(db, tenant_id, email, campaign="Autumn")
    with pytest.raises(NotFound, match="nobody"):
        await view(db, tenant_id, "nobody@cust.example")
