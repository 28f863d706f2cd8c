"""A tenant with a queue of its own: its workers serve it alone, and others leave it alone."""

from __future__ import annotations

import pytest

from outreach.core.errors import Invalid, NotFound
from outreach.db import Database, Role
from outreach.dev.sandbox import SandboxServer, SandboxSettings
from outreach.services import sweep, tenants
from outreach.store.wakeups import SHARED_QUEUES, wake
from tests.support.factories import run
from tests.support.sending import due_campaign
from tests.support.workers import running_worker, settings_for

JOBS = "select queue_name, args ->> 'tenant_id' from procrastinate_jobs where status = 'todo'"
SLUG = "select slug from tenants where id = %(id)s"
SENT = "select tenant_id, count(*) from outbound_messages where state = 'sent' group by 1"


async def test_wake_ups_go_to_the_tenants_own_queue(db: Database) -> None:
    own, other = await due_campaign(db, 1), await due_campaign(db, 1)
    ((slug,),) = await run(db, SLUG, id=own.tenant_id)
    await tenants.share(db, slug, actor="mei", has_own_queue=True)
    await sweep.sweep_once(db)
    assert dict(await run(db, JOBS)) == {
        f"sends.{slug}": str(own.tenant_id),
        "sends": str(other.tenant_id),
    }
    async with db.transaction(Role.APP, own.tenant_id) as tx:
        await wake(tx, "fire_timers", tenant_id=own.tenant_id)
    assert ("timers", str(own.tenant_id)) in await run(db, JOBS), "timers need no worker of its own"


async def test_a_wake_up_that_waits_moves_with_its_tenant(db: Database) -> None:
    campaign = await due_campaign(db, 1)
    ((slug,),) = await run(db, SLUG, id=campaign.tenant_id)
    await sweep.sweep_once(db)
    for has_own, queue in ((True, f"sends.{slug}"), (False, "sends")):
        await tenants.share(db, slug, actor="mei", has_own_queue=has_own)
        assert await run(db, JOBS) == [(queue, str(campaign.tenant_id))]
    # One that was woken while the change was under way is found by the minute.
    await run(db, "update tenants set has_own_queue = true")
    await sweep.keep_house(db)
    assert await run(db, JOBS) == [(f"sends.{slug}", str(campaign.tenant_id))]


async def test_each_worker_drains_its_own_queues_and_is_idle_then(
    db: Database, conninfo: str
) -> None:
    own, other = await due_campaign(db, 3), await due_campaign(db, 4)
    ((slug,),) = await run(db, SLUG, id=own.tenant_id)
    await tenants.share(db, slug, actor="mei", has_own_queue=True)
    async with SandboxServer(SandboxSettings()) as sandbox:
        settings = settings_for(conninfo, sendgrid_base_url=sandbox.url)
        async with running_worker(settings, until_idle=True) as worker:
            await worker
        assert dict(await run(db, SENT)) == {other.tenant_id: 4}
        assert await sweep.is_idle(db)
        queues = [f"sends.{slug}"]
        assert not await sweep.is_idle(db, queues)
        async with running_worker(settings, until_idle=True, queues=queues) as worker:
            await worker
        assert dict(await run(db, SENT)) == {own.tenant_id: 3, other.tenant_id: 4}
        assert await sweep.is_idle(db, [*SHARED_QUEUES, *queues])


async def test_a_share_is_set_once_and_written_down(db: Database) -> None:
    campaign = await due_campaign(db, 1)
    ((slug,),) = await run(db, SLUG, id=campaign.tenant_id)
    for _ in range(2):
        tenant = await tenants.share(db, slug, actor="mei", weight=3)
        assert (tenant.weight, tenant.has_own_queue) == (3, False)
    acts = "select act, actor, detail ->> 'weight' from audit_log where act = 'tenant_share_set'"
    assert await run(db, acts) == [("tenant_share_set", "mei", "3")]
    assert (await tenants.share(db, slug, actor="mei")).weight == 3


@pytest.mark.parametrize("weight", [0, -1, 101])
async def test_a_weight_that_is_none_is_refused(db: Database, weight: int) -> None:
    with pytest.raises(Invalid):
        await tenants.share(db, "acme", actor="mei", weight=weight)
    with pytest.raises(Invalid):
        await tenants.create(db, tenants.NewTenant("acme", "Acme", weight=weight), actor="mei")
    with pytest.raises(NotFound):
        await tenants.share(db, "acme", actor="mei", weight=1)
