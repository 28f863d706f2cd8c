"""A worker that freezes, is taken for dead, and goes on: it stops nobody and repeats nothing."""

from __future__ import annotations

import pytest

from outreach.db import Database
from tests.sim.judge import Ends, violations
from tests.sim.world import BATCH_MAX, BATCHES_IN_FLIGHT, world

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "point",
    [
        "claim: tokens taken, not committed",
        "claim: committed",
        "request: answered",
        "record: settled, not committed",
        "events: stored, not folded",
    ],
)
async def test_a_frozen_worker_comes_too_late(
    db: Database, conninfo: str, undisturbed: Ends, point: str
) -> None:
    async with world(db, conninfo) as here:
        if point.startswith("events"):
            assert not await here.live()
            assert await here.sandbox.flush()
        async with here.frozen(point):
            assert len(here.lost) <= BATCH_MAX * BATCHES_IN_FLIGHT
            await here.pass_time()
            assert not await here.live(), "others go on meanwhile"
        await here.play()
        found = await violations(db, here.sandbox, lost=here.lost, expected=undisturbed)
    assert found == []
