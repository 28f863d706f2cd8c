"""Who paused it and why, in the contact's story: at every level, in force and after its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from outreach.db import Database
from outreach.services import campaign_control, control, enrollment_control, senders
from outreach.services.claim import claim_batch
from outreach.services.compose import Terms
from outreach.services.explain import explain
from tests.support.factories import Enrollment, enroll, make_campaign, run
from tests.support.sending import SECRET

WHY = "a typo"
TERMS = Terms("http://127.0.0.1:8000", (SECRET,), None)

Act = Callable[[Database, Enrollment], Awaitable[object]]


async def slug(db: Database, one: Enrollment) -> str:
    ((found,),) = await run(db, "select slug from tenants where id = %(t)s", t=one.tenant_id)
    return str(found)


async def address(db: Database, one: Enrollment) -> str:
    ((found,),) = await run(db, "select from_email from sender_identities")
    return str(found)


async def pause_campaign(db: Database, one: Enrollment) -> object:
    name = str(one.campaign.id)
    return await campaign_control.pause(db, one.tenant_id, name, actor="mei", reason=WHY)


async def resume_campaign(db: Database, one: Enrollment) -> object:
    return await campaign_control.resume(db, one.tenant_id, str(one.campaign.id), actor="mei")


async def pause_contact(db: Database, one: Enrollment) -> object:
    return await enrollment_control.pause(db, one.tenant_id, one.email, actor="mei", reason=WHY)


async def resume_contact(db: Database, one: Enrollment) -> object:
    return await enrollment_control.resume(db, one.tenant_id, one.email, actor="mei")


async def pause_sender(db: Database, one: Enrollment) -> object:
    email = await address(db, one)
    return await senders.pause(db, one.tenant_id, email, actor="mei", reason=WHY)


async def resume_sender(db: Database, one: Enrollment) -> object:
    return await senders.resume(db, one.tenant_id, await address(db, one), actor="mei")


async def pause_tenant(db: Database, one: Enrollment) -> object:
    return await control.pause_tenant(db, await slug(db, one), actor="mei", reason=WHY)


async def resume_tenant(db: Database, one: Enrollment) -> object:
    return await control.resume_tenant(db, await slug(db, one), actor="mei")


async def pause_all(db: Database, _: Enrollment) -> object:
    return await control.pause_installation(db, actor="mei", reason=WHY)


async def resume_all(db: Database, _: Enrollment) -> object:
    return await control.resume_installation(db, actor="mei")


LEVELS: dict[str, tuple[Act, Act]] = {
    "campaign": (pause_campaign, resume_campaign),
    "enrollment": (pause_contact, resume_contact),
    "sender": (pause_sender, resume_sender),
    "tenant": (pause_tenant, resume_tenant),
    "installation": (pause_all, resume_all),
}


@pytest.mark.parametrize("level", LEVELS)
async def test_the_story_tells_of_a_pause_once(db: Database, level: str) -> None:
    pause, resume = LEVELS[level]
    one = await enroll(db, await make_campaign(db))

    async def told(code: str) -> list[str]:
        story = await explain(db, one.tenant_id, one.email)
        return [entry.summary for entry in story.entries if entry.code == code]

    assert await told(f"{level}_paused") == []
    await pause(db, one)
    await claim_batch(db, one.tenant_id, size_max=5, terms=TERMS, deadline_seconds=10.0)
    assert await run(db, "select count(*) from send_attempts") == [(0,)]
    (in_force,) = await told(f"{level}_paused")
    assert "by mei" in in_force
    assert WHY in in_force
    await run(db, "update scheduled_actions set held_by = null, due_at = now() + interval '1 day'")
    assert await told(f"{level}_paused") == [in_force], "also when nothing is due"
    await resume(db, one)
    assert await told(f"{level}_paused") == [in_force]
    assert len(await told(f"{level}_resumed")) == 1


@pytest.mark.parametrize("level", [level for level in LEVELS if level != "installation"])
async def test_another_tenants_story_tells_nothing_of_it(db: Database, level: str) -> None:
    pause, _ = LEVELS[level]
    one = await enroll(db, await make_campaign(db))
    await pause(db, one)
    other = await enroll(db, await make_campaign(db))
    story = await explain(db, other.tenant_id, other.email)
    codes = [entry.code for entry in story.entries]
    assert f"{level}_paused" not in codes
