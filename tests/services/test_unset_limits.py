"""Limits taken back: the wider rule or the default holds again, for that one and nobody else."""

from __future__ import annotations

from uuid import uuid4

import pytest

from outreach.core.errors import Invalid, NotFound
from outreach.core.limits import Override, Scope
from outreach.db import Database
from outreach.services import limits, senders, unset_limits
from outreach.services.senders import NewSender
from tests.support.factories import run
from tests.support.people import ACTOR, ask, new_tenant
from tests.support.sending import drain, due_campaign, sending

ACTS = "select subject, detail->'limits'->>'per_minute' from audit_log where act = 'limits_unset'"


@pytest.mark.parametrize("rule", [Override(per_minute=5), Override(per_minute=5, is_off=True)])
async def test_the_default_counts_again_at_the_next_claim(db: Database, rule: Override) -> None:
    campaign = await due_campaign(db, 30, is_limited=True)
    tenant_id, sender = campaign.tenant_id, Scope.SENDER
    await limits.set_for_tenant(db, tenant_id, sender, rule, actor=ACTOR)
    async with sending(db) as (context, sandbox):
        await drain(context, tenant_id)
        assert len(sandbox.accepted) == 5
        row = await unset_limits.unset_for_tenant(db, tenant_id, sender, actor=ACTOR)
        assert row is not None
        assert (row.scope, row.key, row.per_minute_max) == ("sender", "", 5)
        await drain(context, tenant_id)
        assert len(sandbox.accepted) == 20, "the default of a minute, what was sent counted in"
    assert await run(db, ACTS) == [("sender", "5")]


async def test_unsetting_one_sender_leaves_the_rules_of_others(db: Database) -> None:
    tenant_id = await new_tenant(db)
    for name in ("ann", "bob"):
        new = NewSender(f"{name}@acme.example", name)
        await senders.add(db, tenant_id, new, actor=ACTOR)
        await limits.set_for_tenant(
            db, tenant_id, Scope.SENDER, Override(per_minute=7), name=new.email, actor=ACTOR
        )
    every = Override(per_minute=9)
    await limits.set_for_tenant(db, tenant_id, Scope.SENDER, every, actor=ACTOR)
    row = await unset_limits.unset_for_tenant(
        db, tenant_id, Scope.SENDER, name="ANN@acme.example", actor=ACTOR
    )
    assert row is not None
    assert row.key == "ann@acme.example"
    minutes = {u.key: u.limit for u in await limits.show(db, tenant_id) if u.window_seconds == 60}
    assert minutes == {"ann@acme.example": 9, "bob@acme.example": 7}


async def test_what_is_not_set_changes_nothing(db: Database) -> None:
    tenant_id = await new_tenant(db)
    parked = "update tenants set parked_until = now() + interval '1 hour' returning 1"
    await ask(db, tenant_id, parked)
    for scope in (Scope.SENDER, Scope.TENANT, Scope.DOMAIN, Scope.POOL):
        row = await unset_limits.unset_for_tenant(db, tenant_id, scope, actor=ACTOR)
        assert row is None
    assert await unset_limits.unset_for_installation(db, actor=ACTOR) is None
    assert await run(db, ACTS) == []
    assert await ask(db, tenant_id, "select parked_until is null from tenants") == [(False,)]


async def test_the_installation_is_as_a_new_one(db: Database) -> None:
    tenant_id = await new_tenant(db)
    columns = "per_minute_max, per_hour_max, per_day_max, concurrent_max, is_limit_off"
    new = await run(db, f"select {columns} from installation")
    given = Override(per_minute=5, concurrent=3, is_off=True)
    await limits.set_for_installation(db, given, actor=ACTOR)
    parked = "update tenants set parked_until = now() + interval '1 hour' returning 1"
    await ask(db, tenant_id, parked)
    row = await unset_limits.unset_for_installation(db, actor=ACTOR)
    assert row is not None
    assert (row.per_minute_max, row.concurrent_max, row.is_off) == (5, 3, True)
    assert await run(db, f"select {columns} from installation") == new
    assert await run(db, ACTS) == [("installation", "5")]
    assert await ask(db, tenant_id, "select parked_until from tenants") == [(None,)]


async def test_what_nobody_knows_is_refused(db: Database) -> None:
    tenant_id = await new_tenant(db)
    for scope, name, error in (
        (Scope.SENDER, "no@acme.example", NotFound),
        (Scope.POOL, f"pool-{uuid4()}", NotFound),
        (Scope.DOMAIN, "a b", Invalid),
    ):
        with pytest.raises(error):
            await unset_limits.unset_for_tenant(db, tenant_id, scope, name=name, actor=ACTOR)
