"""The account's breaker: trouble opens it, one mail tries, and its end decides how it goes on."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from outreach.db import Database, Role
from outreach.dev.sandbox import Act, FaultOrder, When
from outreach.services.send import OUTAGE_SECONDS, UNREACHABLE_SECONDS, SendContext
from outreach.store.breaker import open_breaker
from tests.support.factories import run
from tests.support.sending import drain, due_campaign, message_states, sending, smaller

TROUBLES = {
    "5xx": FaultOrder(status=503, times=None),
    "reset": FaultOrder(act=Act.RESET, when=When.BEFORE_ACCEPT, times=None),
    "silence": FaultOrder(act=Act.HANG, when=When.BEFORE_ACCEPT, times=None),
}


async def wait_of(db: Database) -> int | None:
    """For how many seconds nobody sends; None where it is closed."""
    ((seconds,),) = await run(
        db, "select extract(epoch from provider_later_until - updated_at) from installation"
    )
    return None if seconds is None else round(float(seconds))


async def probe(db: Database, context: SendContext, tenant_id: UUID) -> None:
    """The wait is over: whatever may go now tries."""
    await run(db, "update installation set provider_later_until = now()")
    await run(db, "update tenants set parked_until = null")
    await drain(context, tenant_id)


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_probe_that_fails_opens_it_for_longer_and_one_that_succeeds_closes_it(
    db: Database, trouble: str
) -> None:
    campaign = await due_campaign(db, 20)
    async with sending(db, send_deadline_seconds=1.0) as (context, sandbox):
        context = smaller(context, 5, batches_in_flight=1)
        sandbox.order(TROUBLES[trouble])
        await drain(context, campaign.tenant_id)
        waits = [await wait_of(db)]
        for _ in range(2):
            await probe(db, context, campaign.tenant_id)
            waits.append(await wait_of(db))
        assert waits == [60, 120, 240]
        assert await message_states(db) == {"unknown": 7}, "a probe is one mail"

        sandbox.clear_faults()
        await probe(db, context, campaign.tenant_id)
        assert await message_states(db) == {"unknown": 7, "sent": 13}
        assert await wait_of(db) is None
        assert await run(db, "select provider_failures from installation") == [(0,)]


async def test_nobody_there_is_tried_again_soon_and_then_ever_less_often(db: Database) -> None:
    campaign = await due_campaign(db, 4)
    async with sending(db) as (context, sandbox):
        await sandbox.__aexit__(None, None, None)
        await drain(context, campaign.tenant_id)
        waits = [await wait_of(db)]
        for _ in range(4):
            assert await run(db, "select code from incidents") == [], "a moment is no alarm"
            await run(db, "update scheduled_actions set due_at = now()")
            await probe(db, context, campaign.tenant_id)
            waits.append(await wait_of(db))
        await sandbox.__aenter__()
    assert waits == [5, 10, 20, 40, 60]
    assert await run(db, "select code from incidents") == [("provider_outage",)], "it lasts"
    assert await message_states(db) == {"waiting_retry": 4}


async def opened(db: Database, first: float, longest: float) -> float | None:
    async with db.transaction(Role.WORKER) as tx:
        return await open_breaker(tx, first_seconds=first, seconds_max=longest)


@pytest.mark.parametrize("bounds", [OUTAGE_SECONDS, UNREACHABLE_SECONDS])
async def test_waits_double_up_to_a_bound(db: Database, bounds: tuple[float, float]) -> None:
    waits = []
    for _ in range(30):
        waits.append(await opened(db, *bounds))
        await run(db, "update installation set provider_later_until = now()")
    expected = [min(bounds[0] * 2**n, bounds[1]) for n in range(30)]
    assert waits == expected


async def test_batches_that_fail_together_count_once(db: Database) -> None:
    found = await asyncio.gather(*(opened(db, 60.0, 900.0) for _ in range(5)))
    assert sorted(found, key=str) == [60.0, None, None, None, None]
    assert await run(db, "select provider_failures from installation") == [(1,)]
