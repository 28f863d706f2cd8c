"""Suppressing and lifting: what a contact's row says, whoever comes at the same time."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from psycopg.pq import TransactionStatus

from outreach.core.errors import Invalid, NotFound
from outreach.core.states import SuppressionReason
from outreach.db import Database, Role
from outreach.services.suppress import (
    SuppressionEntry,
    add,
    lift,
    list_all,
    pages_in_force,
    suppress,
)
from tests.support.people import ACTOR, ask, new_contact, new_tenant
from tests.support.waiting import eventually

BOUNCE, COMPLAINT = SuppressionReason.BOUNCE, SuppressionReason.COMPLAINT
UNSUBSCRIBE, MANUAL = SuppressionReason.UNSUBSCRIBE, SuppressionReason.MANUAL


def entry(value: str, reason: SuppressionReason = UNSUBSCRIBE) -> SuppressionEntry:
    return SuppressionEntry(value, reason, source="test", by=ACTOR)


async def flag(db: Database, tenant_id: UUID, email: str) -> object:
    query = "select suppressed_reason::text from contacts where email_key = lower(%(email)s)"
    [(reason,)] = await ask(db, tenant_id, query, email=email)
    return reason


async def test_the_contact_carries_it_whatever_the_spelling(db: Database) -> None:
    tenant_id = await new_tenant(db)
    await new_contact(db, tenant_id, "Ann@example.com")
    await new_contact(db, tenant_id, "bob@example.com")
    assert await add(db, tenant_id, [entry("  ann@EXAMPLE.com ")], actor=ACTOR) == 1
    assert await flag(db, tenant_id, "ann@example.com") == "unsubscribe"
    assert await flag(db, tenant_id, "bob@example.com") is None


async def test_again_changes_nothing_and_another_reason_adds_one(db: Database) -> None:
    tenant_id = await new_tenant(db)
    await new_contact(db, tenant_id, "ann@example.com")
    twice = [entry("ann@example.com"), entry("ANN@example.com")]
    assert await add(db, tenant_id, twice, actor=ACTOR) == 1
    assert await add(db, tenant_id, twice, actor=ACTOR) == 0
    assert await add(db, tenant_id, [entry("ann@example.com", BOUNCE)], actor=ACTOR) == 1
    assert await flag(db, tenant_id, "ann@example.com") == "bounce"


async def test_lifting_leaves_what_is_still_in_force(db: Database) -> None:
    tenant_id = await new_tenant(db)
    await new_contact(db, tenant_id, "ann@example.com")
    await add(db, tenant_id, [entry("ann@example.com", COMPLAINT)], actor=ACTOR)
    await add(db, tenant_id, [entry("ann@example.com", BOUNCE)], actor=ACTOR)
    lifted = await lift(db, tenant_id, "Ann@example.com", reason=BOUNCE, actor=ACTOR, why="moved")
    assert lifted == ["bounce"]
    assert await flag(db, tenant_id, "ann@example.com") == "complaint"
    assert await lift(db, tenant_id, "ann@example.com", actor=ACTOR) == ["complaint"]
    assert await flag(db, tenant_id, "ann@example.com") is None
    known = await list_all(db, tenant_id, value="ann@example.com", with_lifted=True)
    assert {(row.reason, row.lifted_by, row.lift_reason) for row in known} == {
        ("bounce", ACTOR, "moved"),
        ("complaint", ACTOR, None),
    }
    assert await list_all(db, tenant_id) == []


async def test_lifting_what_is_not_there_is_not_found(db: Database) -> None:
    tenant_id = await new_tenant(db)
    with pytest.raises(NotFound, match=r"nobody@example\.com"):
        await lift(db, tenant_id, "nobody@example.com", actor=ACTOR)


@pytest.mark.parametrize(
    "value", ["", "@", "ann", "@com", "a b@example.com", "ann@example.com\x00"]
)
async def test_what_is_no_address_is_invalid_and_adds_nothing(db: Database, value: str) -> None:
    tenant_id = await new_tenant(db)
    with pytest.raises(Invalid):
        await add(db, tenant_id, [entry("ann@example.com"), entry(value)], actor=ACTOR)
    assert await list_all(db, tenant_id) == []


async def test_a_domain_is_one_row_and_waits_for_the_tenants_lock(db: Database) -> None:
    tenant_id = await new_tenant(db)
    async with db.transaction(Role.APP, tenant_id) as tx:
        assert await suppress(tx, tenant_id, [entry("@Bücher.example", MANUAL)]) == 1
        held = await (
            await tx.execute(
                "select count(*) from pg_locks"
                " where locktype = 'advisory' and mode = 'ExclusiveLock' and pid = pg_backend_pid()"
            )
        ).fetchone()
    assert held == (1,)
    [row] = await list_all(db, tenant_id)
    assert row.value == "@xn--bcher-kva.example"


async def test_another_tenant_is_not_touched(db: Database) -> None:
    ours, theirs = await new_tenant(db, "ours"), await new_tenant(db, "theirs")
    for tenant_id in (ours, theirs):
        await new_contact(db, tenant_id, "ann@example.com")
    await add(db, ours, [entry("ann@example.com")], actor=ACTOR)
    assert await flag(db, theirs, "ann@example.com") is None
    assert await list_all(db, theirs) == []


async def test_a_lift_waits_for_an_addition_under_way(db: Database) -> None:
    tenant_id = await new_tenant(db)
    await new_contact(db, tenant_id, "ann@example.com")
    await add(db, tenant_id, [entry("ann@example.com", BOUNCE)], actor=ACTOR)
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        await suppress(tx, tenant_id, [entry("ann@example.com", COMPLAINT)])
        lifting = asyncio.create_task(
            lift(db, tenant_id, "ann@example.com", reason=BOUNCE, actor=ACTOR)
        )
        await until_somebody_waits_for_a_lock(db)
        assert not lifting.done()
        assert tx.info.transaction_status is TransactionStatus.INTRANS
    await lifting
    assert await flag(db, tenant_id, "ann@example.com") == "complaint"


async def test_the_act_is_on_record(db: Database) -> None:
    tenant_id = await new_tenant(db)
    await add(db, tenant_id, [entry("ann@example.com")], actor="mei")
    await lift(db, tenant_id, "ann@example.com", actor="mei", why="asked us")
    acts = await ask(
        db, tenant_id, "select act, actor, subject, reason from audit_log order by created_at, act"
    )
    assert acts[1:] == [
        ("suppressions_added", "mei", "ann@example.com", None),
        ("suppression_lifted", "mei", "ann@example.com", "asked us"),
    ]


async def test_everything_in_force_comes_in_pages(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outreach.services.suppress.PAGE_ROWS", 3)
    tenant_id = await new_tenant(db)
    entries = [entry(f"n{n}@example.com", reason) for n in range(3) for reason in (BOUNCE, MANUAL)]
    await add(db, tenant_id, entries, actor=ACTOR)
    pages = [page async for page in pages_in_force(db, tenant_id)]
    assert [len(page) for page in pages] == [3, 3]
    assert [(row.value, row.reason) for page in pages for row in page] == sorted(
        (e.value, e.reason.value) for e in entries
    )


async def until_somebody_waits_for_a_lock(db: Database) -> None:
    async def somebody_waits() -> bool:
        return await ask(db, None, "select count(*) from pg_locks where not granted") != [(0,)]

    await eventually(somebody_waits)
