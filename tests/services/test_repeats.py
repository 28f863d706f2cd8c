"""Repeats change nothing: a replay of all that came, and a batch 46 times in any order."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from outreach.core.outcome import Because, Rejected, Unknown
from outreach.db import Database
from outreach.services.apply_events import apply_events
from outreach.services.replay import replay
from tests.support.database import Databases
from tests.support.factories import (
    enroll,
    event,
    make_campaign,
    make_message,
    make_sent,
    receive,
    run,
)
from tests.support.fingerprints import fingerprints
from tests.support.outcomes import settle
from tests.support.rebuilding import everything_happens
from tests.support.stories import drain, story_of

NOW = datetime.now(UTC)
SINCE, UNTIL = NOW - timedelta(days=1), NOW + timedelta(days=1)
TIMES = 46


async def test_a_replay_of_everything_leaves_every_row_as_it_was(db: Database) -> None:
    await everything_happens(db)
    await receive(db, raw=b"no events")
    await drain(db)
    before = await fingerprints(db)
    assert len(before) > 25, "every table is looked at"
    assert await replay(db, SINCE, UNTIL) == 2
    assert await replay(db, SINCE, UNTIL) == 2
    after = await fingerprints(db)
    assert [table for table in before if before[table] != after[table]] == []


async def a_batch(db: Database) -> list[dict[str, Any]]:
    """What one body says of messages of three tenants, and of nobody."""
    at = NOW.replace(microsecond=0) - timedelta(minutes=20)
    events: list[dict[str, Any]] = [event(None, "open", sg_message_id="Xnobody.0")]
    for _ in range(2):
        events += story_of(await make_sent(db, await enroll(db, await make_campaign(db))))
    campaign = await make_campaign(db)
    clicked, bounced, complained = [
        await make_sent(db, await enroll(db, campaign)) for _ in range(3)
    ]
    silent, refused = [await make_message(db, await enroll(db, campaign)) for _ in range(2)]
    await settle(db, silent, Unknown("its worker ended"), settled_by="rescuer")
    await settle(db, refused, Rejected(Because.MESSAGE, 400, "400 no"))
    events += [
        event(clicked, "delivered", at=at),
        event(clicked, "click", at=at + timedelta(minutes=1), url="https://acme.example/a"),
        event(clicked, "open", at=at + timedelta(minutes=2)),
        event(bounced, "processed", at=at),
        event(bounced, "bounce", type="bounce", at=at + timedelta(minutes=1)),
        event(complained, "delivered", at=at),
        event(complained, "spamreport", at=at + timedelta(minutes=3)),
        event(silent, "processed", at=at),
        event(silent, "deferred", at=at + timedelta(minutes=1)),
        event(refused, "processed", at=at),
        event(refused, "delivered", at=at + timedelta(minutes=1)),
    ]
    return events


async def left_by(conninfo: str, bodies: list[list[dict[str, Any]]]) -> dict[str, str]:
    """What these bodies leave, but for the bodies themselves."""
    async with Database.at(conninfo) as db:
        for body in bodies:
            await receive(db, *body)
        while await apply_events(db, deliveries_max=7):
            pass
        assert await run(
            db, "select count(*) from webhook_deliveries where state <> 'applied'"
        ) == [(0,)]
        return await fingerprints(db, alike=True, without={"webhook_deliveries"})


async def test_a_batch_46_times_and_shuffled_is_the_batch_once_and_in_order(
    databases: Databases,
) -> None:
    names = [databases.create()]
    try:
        async with Database.at(databases.conninfo(names[0])) as db:
            batch = await a_batch(db)
        names += [databases.create(template=names[0]) for _ in range(2)]
        shuffler = random.Random(46)
        repeats = [shuffler.sample(batch, len(batch)) for _ in range(TIMES)]
        once = await left_by(databases.conninfo(names[1]), [batch])
        often = await left_by(databases.conninfo(names[2]), repeats)
        assert [table for table in once if once[table] != often[table]] == []
        untouched = await left_by(databases.conninfo(names[0]), [])
        changed = {table for table in once if once[table] != untouched[table]}
        assert changed >= {"enrollments", "outbound_messages", "message_events", "suppressions"}
    finally:
        for name in names:
            databases.drop(name)
