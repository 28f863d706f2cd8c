"""Workers that are killed at chosen points, and started again: nothing twice, nothing lost.

At points and moments by chance they are killed in `tests/chaos`.
"""

from __future__ import annotations

from itertools import groupby
from typing import LiteralString

import pytest

from outreach.db import Database
from tests.sim.child import POINTS, Kill
from tests.sim.judge import Ends, violations
from tests.sim.world import BATCH_MAX, BATCHES_IN_FLIGHT, world
from tests.support.factories import run

# One trial for each part of the work, with a kill at each of its points, one after the other.
PARTS = {part: list(points) for part, points in groupby(POINTS, lambda p: p.split(":")[0])}
# What the last of these recovers: attempts of which it is certain that they never left.
PARTS["request"].insert(-1, "claim: committed")

UNKNOWN: LiteralString = "select count(*) from outbound_messages where state = 'unknown'"

pytestmark = pytest.mark.slow


async def trial(db: Database, conninfo: str, undisturbed: Ends, kills: list[Kill]) -> list[Kill]:
    """Play with these kills and judge; the kills that were never reached."""
    async with world(db, conninfo) as here:
        left = await here.play(kills)
        assert here.kills == len(kills) - len(left)
        assert len(here.lost) <= here.kills * BATCH_MAX * BATCHES_IN_FLIGHT
        ((unknown,),) = await run(db, UNKNOWN)
        print(f"kills {here.kills}, in flight {len(here.lost)}, unknown {unknown}")
        found = await violations(db, here.sandbox, lost=here.lost, expected=undisturbed)
    assert found == [], kills
    return left


@pytest.mark.parametrize("part", PARTS)
async def test_killed_at_each_point_nothing_goes_twice_and_nothing_is_lost(
    db: Database, conninfo: str, undisturbed: Ends, part: str
) -> None:
    left = await trial(db, conninfo, undisturbed, [Kill(point) for point in PARTS[part]])
    assert left == [], "these points were never reached"
