"""An update of a plan meets a claim, a stop, another update and a crash, and is whole or is not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from outreach.core.errors import Conflict
from outreach.core.outcome import Accepted
from outreach.db import Database
from outreach.services import campaign_control, plan_update
from outreach.services.answers import record_answers
from outreach.services.outcomes import Result
from outreach.services.plan_update import Updated
from outreach.store import plan_update as store
from tests.services.test_plan_update import changed, everything
from tests.sim.meetings import claim, gate, waits
from tests.support.database import Databases
from tests.support.factories import Campaign, enroll, make_campaign, run
from tests.support.people import ACTOR
from tests.support.sending import due_campaign

SOON = {
    "subject": "New",
    "body": "New.",
    "transitions": [
        {"on": "opened", "to": "wait_click"},
        {"on": "no_open", "to": "bump", "after": "PT1H"},
    ],
}


@pytest.fixture(scope="module")
def conninfo(databases: Databases) -> Iterator[str]:
    """One database for all: each test has a tenant of its own."""
    name = databases.create()
    yield databases.conninfo(name)
    databases.drop(name)


async def update(
    db: Database, campaign: Campaign, node: Mapping[str, Any] = SOON, **given: Any
) -> Updated:
    return await plan_update.update(
        db,
        campaign.tenant_id,
        str(campaign.id),
        plan=json.dumps(changed(intro=dict(node))).encode(),
        mapping={},
        actor=ACTOR,
        **given,
    )


async def messages(db: Database, campaign: Campaign) -> list[Any]:
    return await run(
        db,
        "select subject, body_text like 'New.%%' from outbound_messages where campaign_id = %(c)s",
        c=campaign.id,
    )


async def hours_of_timers(db: Database, campaign: Campaign) -> list[Any]:
    return await run(
        db,
        "select round(extract(epoch from a.due_at - e.accepted_at) / 3600)::int"
        " from scheduled_actions a join enrollments e on e.id = a.enrollment_id"
        " where a.campaign_id = %(c)s and a.kind = 'timeout' and a.state = 'pending'",
        c=campaign.id,
    )


async def test_a_claim_that_came_before_keeps_its_words_and_starts_the_new_timers(
    db: Database,
) -> None:
    campaign = await due_campaign(db, 1)
    async with gate(db, "send_attempts"):
        claiming = asyncio.create_task(claim(db, campaign))
        assert await waits(db, claiming), "the claim has nothing to arm"
        updating = asyncio.create_task(update(db, campaign))
        assert await waits(db, updating, others=1), "the update waits for the claim"
    taken, done = await claiming, await updating
    assert (done.version, done.carried, done.preview.touched[0].on_the_way) == (2, 1, 1)
    (mail,) = taken.mails
    assert mail.subject == "A question"
    assert await messages(db, campaign) == [("A question", False)]
    answer = Result(mail.message_id, 1, Accepted("id", 202), "answer", step=taken.steps[0])
    await record_answers(db, campaign.tenant_id, [answer])
    await record_answers(db, campaign.tenant_id, [answer])
    assert await hours_of_timers(db, campaign) == [(1,)], "the new plan's, and once"
    assert (await claim(db, campaign)).mails == []


async def test_a_claim_that_comes_during_an_update_has_the_new_words(db: Database) -> None:
    campaign = await due_campaign(db, 2)
    async with gate(db, "campaign_plans"):
        updating = asyncio.create_task(update(db, campaign))
        assert await waits(db, updating)
        claiming = asyncio.create_task(claim(db, campaign))
        assert await waits(db, claiming, others=1), "the claim waits for the tenant's lock"
    await updating
    assert [mail.subject for mail in (await claiming).mails] == ["New", "New"]
    assert await messages(db, campaign) == [("New", True)] * 2
    assert (await claim(db, campaign)).mails == []


async def test_of_two_updates_of_one_version_one_is_told_of_the_other(db: Database) -> None:
    campaign = await due_campaign(db, 1)
    results = await asyncio.gather(
        update(db, campaign, {"subject": "One"}, if_version=1),
        update(db, campaign, {"subject": "Two"}, if_version=1),
        return_exceptions=True,
    )
    (refused,) = [one for one in results if isinstance(one, Conflict)]
    assert (refused.actual, refused.expected) == ("at version 2", "at version 1")
    (done,) = [one for one in results if isinstance(one, Updated)]
    assert done.version == 2


async def test_a_stop_that_comes_during_an_update_ends_everybody(db: Database) -> None:
    campaign = await due_campaign(db, 3)
    async with gate(db, "campaign_plans"):
        updating = asyncio.create_task(update(db, campaign))
        assert await waits(db, updating)
        stopping = asyncio.create_task(
            campaign_control.stop(db, campaign.tenant_id, str(campaign.id), actor=ACTOR)
        )
        assert await waits(db, stopping, others=1)
    assert (await updating).version == 2
    await stopping
    assert await states(db, campaign) == [("stopped", 3)]


async def test_an_update_that_comes_during_a_stop_is_refused(db: Database) -> None:
    campaign = await due_campaign(db, 3)
    async with gate(db, "enrollments"):
        stopping = asyncio.create_task(
            campaign_control.stop(db, campaign.tenant_id, str(campaign.id), actor=ACTOR)
        )
        assert await waits(db, stopping)
        updating = asyncio.create_task(update(db, campaign))
        assert await waits(db, updating, others=1)
    with pytest.raises(Conflict, match="is stopped"):
        await updating
    await stopping
    assert await states(db, campaign) == [("stopped", 3)]


async def states(db: Database, campaign: Campaign) -> list[Any]:
    return await run(
        db,
        "select state::text, count(*) from enrollments where campaign_id = %(c)s group by 1",
        c=campaign.id,
    )


async def test_a_crash_leaves_the_old_plan_whole(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = await make_campaign(db)
    await enroll(db, campaign)
    before = await everything(db, campaign)

    class Crash(BaseException):
        pass

    async def crash(*args: object, **given: object) -> None:
        raise Crash

    async with gate(db, "audit_log"):
        updating = asyncio.create_task(update(db, campaign, {"subject": "Lost"}))
        assert await waits(db, updating), "all but the record is written"
        updating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await updating
    assert await everything(db, campaign) == before
    with monkeypatch.context() as patch:
        patch.setattr(store, "set_senders", crash)
        with pytest.raises(Crash):
            await update(db, campaign, {"subject": "Lost too"})
    assert await everything(db, campaign) == before
    await update(db, campaign)
    await run(
        db, "update scheduled_actions set due_at = now() where campaign_id = %(c)s", c=campaign.id
    )
    assert [mail.subject for mail in (await claim(db, campaign)).mails] == ["New"]
