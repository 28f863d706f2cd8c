"""Limits set and shown, and what is looked at again after a change."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from outreach.core.errors import Invalid, NotFound
from outreach.core.limits import Override, Scope, bucket_of
from outreach.db import Database, Role
from outreach.services import limits, senders
from outreach.services.senders import NewSender
from tests.support.people import ACTOR, ask, new_tenant

ANN = NewSender("ann@acme.example", "Ann")


async def caps(db: Database, tenant_id: UUID) -> dict[tuple[str, str, int], int | None]:
    shown = await limits.show(db, tenant_id)
    return {(u.scope.value, u.key, u.window_seconds): u.limit for u in shown}


async def take(db: Database, tenant_id: UUID, scope: str, key: str, window: int, used: int) -> None:
    query = (
        "insert into rate_limit_counters (tenant_id, scope, key, window_seconds, bucket_at,"
        " bucket_used, promised_until) values (%(t)s, %(s)s, %(k)s, %(w)s, %(b)s, %(u)s, now())"
    )
    bucket = bucket_of(datetime.now(UTC), window)
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        params = {"t": tenant_id, "s": scope, "k": key, "w": window}
        await tx.execute(query, {**params, "b": [bucket - 70, bucket], "u": [9, used]})


async def test_the_defaults_stand_where_nothing_is_set(db: Database) -> None:
    tenant_id = await new_tenant(db)
    await senders.add(db, tenant_id, ANN, actor=ACTOR)
    assert await caps(db, tenant_id) == {
        ("sender", ANN.email, 60): 20,
        ("sender", ANN.email, 3600): 1_000,
        ("sender", ANN.email, 86_400): 200,
        ("tenant", "", 3600): 5_000,
        ("installation", "", 3600): 20_000,
    }


async def test_the_most_particular_word_counts(db: Database) -> None:
    tenant_id = await new_tenant(db)
    await senders.add(db, tenant_id, ANN, actor=ACTOR)
    await senders.add(db, tenant_id, NewSender("bob@acme.example", "Bob"), actor=ACTOR)
    every = Override(per_minute=5, per_day=100)
    await limits.set_for_tenant(db, tenant_id, Scope.SENDER, every, actor=ACTOR)
    own = Override(per_minute=7)
    row = await limits.set_for_tenant(
        db, tenant_id, Scope.SENDER, own, name="ANN@acme.example", actor=ACTOR
    )
    assert (row.key, row.per_minute_max, row.per_hour_max) == (ANN.email, 7, None)
    shown = await caps(db, tenant_id)
    assert shown["sender", ANN.email, 60] == 7
    assert shown["sender", ANN.email, 86_400] == 100
    assert shown["sender", "bob@acme.example", 60] == 5


async def test_off_lifts_every_window_and_a_number_ends_it(db: Database) -> None:
    tenant_id = await new_tenant(db)
    tenant = Scope.TENANT
    await limits.set_for_tenant(
        db, tenant_id, tenant, Override(per_hour=9, concurrent=3), actor="m"
    )
    row = await limits.set_for_tenant(db, tenant_id, tenant, Override(is_off=True), actor="m")
    assert (row.is_off, row.per_hour_max, row.concurrent_max) == (True, None, 3)
    assert (await caps(db, tenant_id))["tenant", "", 3600] is None
    row = await limits.set_for_tenant(db, tenant_id, tenant, Override(per_minute=2), actor="m")
    assert (row.is_off, row.per_minute_max) == (False, 2)
    assert (await caps(db, tenant_id))["tenant", "", 3600] == 5_000


async def test_what_is_used_is_what_still_counts(db: Database) -> None:
    tenant_id = await new_tenant(db)
    sender = await senders.add(db, tenant_id, ANN, actor=ACTOR)
    await take(db, tenant_id, "sender", str(sender.id), 60, 4)
    await take(db, tenant_id, "domain", "example.com", 3600, 6)
    shown = {(u.scope.value, u.key, u.window_seconds): u for u in await limits.show(db, tenant_id)}
    minute, domain = shown["sender", ANN.email, 60], shown["domain", "example.com", 3600]
    assert (minute.used, minute.limit, domain.used, domain.limit) == (4, 20, 6, 200)
    assert minute.resets_at is not None
    assert 50 < (minute.resets_at - datetime.now(UTC)).total_seconds() < 70
    assert shown["tenant", "", 3600].resets_at is None


async def test_a_change_has_everything_looked_at_again(db: Database) -> None:
    tenant_id = await new_tenant(db)
    await take(db, tenant_id, "domain", "example.com", 3600, 6)
    await ask(
        db,
        tenant_id,
        "insert into send_holds (tenant_id, scope, subject_id, reason) values"
        " (%(t)s, 'tenant', %(t)s, 'limit_tenant'), (%(t)s, 'tenant', %(t)s, 'tenant_paused')"
        " returning 1",
        t=tenant_id,
    )
    parked = "update tenants set parked_until = now() + interval '1 hour' returning 1"
    await ask(db, tenant_id, parked)
    await limits.set_for_tenant(db, tenant_id, Scope.DOMAIN, Override(is_off=True), actor=ACTOR)
    holds = "select reason, ended_at is null from send_holds order by reason"
    assert await ask(db, tenant_id, holds) == [("limit_tenant", False), ("tenant_paused", True)]
    assert await ask(db, tenant_id, "select parked_until from tenants") == [(None,)]
    promised = "select promised_until from rate_limit_counters"
    assert await ask(db, tenant_id, promised) == [(None,)]
    jobs = "select task_name from procrastinate_jobs where status = 'todo'"
    assert await ask(db, tenant_id, jobs) == [("send_due",)]


async def test_the_installations_limit_is_everybodys(db: Database) -> None:
    ours, theirs = await new_tenant(db, "ours"), await new_tenant(db, "theirs")
    row = await limits.set_for_installation(db, Override(per_hour=50, per_minute=5), actor="ops")
    assert (row.scope, row.per_hour_max, row.is_off) == ("installation", 50, False)
    for tenant_id in (ours, theirs):
        shown = await caps(db, tenant_id)
        assert (shown["installation", "", 60], shown["installation", "", 3600]) == (5, 50)
    await limits.set_for_installation(db, Override(is_off=True), actor="ops")
    assert (await caps(db, ours))["installation", "", 3600] is None
    acts = (
        "select act, subject, detail->'limits'->>'per_hour' from audit_log where tenant_id is null"
    )
    assert await ask(db, None, acts + " order by created_at") == [
        ("limits_set", "installation", "50"),
        ("limits_set", "installation", None),
    ]


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        (Override(), ["$"]),
        (Override(per_minute=-1, per_day=2**31), ["$.per_minute", "$.per_day"]),
        (Override(concurrent=0), ["$.max_concurrent"]),
    ],
)
async def test_what_cannot_be_a_limit_is_refused(
    db: Database, given: Override, paths: list[str]
) -> None:
    tenant_id = await new_tenant(db)
    with pytest.raises(Invalid) as refused:
        await limits.set_for_tenant(db, tenant_id, Scope.TENANT, given, actor=ACTOR)
    assert [problem.path for problem in refused.value.problems] == paths
    assert await ask(db, tenant_id, "select count(*) from send_rate_limits") == [(0,)]


async def test_a_limit_of_nothing_known_is_refused(db: Database) -> None:
    tenant_id = await new_tenant(db)
    one = Override(per_hour=1)
    with pytest.raises(NotFound):
        await limits.set_for_tenant(
            db, tenant_id, Scope.SENDER, one, name="no@acme.example", actor=ACTOR
        )
    with pytest.raises(Invalid):
        await limits.set_for_tenant(db, tenant_id, Scope.DOMAIN, one, name="a b", actor=ACTOR)
