"""Workers killed at any moment, alone and in pairs: nothing goes twice, nothing is lost."""

from __future__ import annotations

import asyncio
import random
from typing import LiteralString

import pytest

from outreach.db import Database
from tests.sim.child import POINTS, Kill
from tests.sim.judge import Ends, violations
from tests.sim.world import BATCH_MAX, BATCHES_IN_FLIGHT, World, seed_of_run, trials, world
from tests.support.factories import run

# A life of this world takes about so long, most of it connecting.
LIFE_SECONDS = 0.5
LATENCY_MS = 60
# What the first mails come by; timers are not due yet.
AT_FIRST = [point for point in POINTS if not point.startswith(("timers", "rescue"))]
IN_FLIGHT_MAX = BATCH_MAX * BATCHES_IN_FLIGHT

UNKNOWN: LiteralString = "select count(*) from outbound_messages where state = 'unknown'"

pytestmark = pytest.mark.slow


async def killed_at_random(here: World, chance: random.Random, rounds: int) -> None:
    """Rounds of one life each that ends after a moment by chance; then the rest of the story."""
    for _ in range(rounds):
        if await here.live(seconds=chance.uniform(0.05, LIFE_SECONDS)):
            await here.note_kill()
        else:
            await here.pass_time()


async def alternately(here: World, chance: random.Random, rounds: int) -> None:
    """Two workers; in each round one of them is killed, at a point or after a moment."""
    for number in range(rounds):
        kill = Kill(chance.choice(AT_FIRST), chance.randint(1, 3))
        moment = chance.uniform(0.05, LIFE_SECONDS)
        lives = [here.live(kill), here.live(seconds=moment)]
        if number % 2:
            lives.reverse()
        ends = await asyncio.gather(*lives)
        if any(ends):
            await here.note_kill()
            here.kills += sum(ends) - 1
        await here.pass_time()


@pytest.mark.parametrize("workers", [1, 2])
async def test_killed_at_any_moment(
    db: Database, conninfo: str, undisturbed: Ends, workers: int
) -> None:
    seed = seed_of_run()
    chance = random.Random(seed)
    print(f"OUTREACH_SIM_SEED={seed}")
    async with world(db, conninfo, latency_ms=LATENCY_MS) as here:
        rounds = killed_at_random if workers == 1 else alternately
        await rounds(here, chance, trials(6))
        later = [Kill(chance.choice(sorted(POINTS)), chance.randint(1, 2)) for _ in range(3)]
        await here.play(later)
        ((unknown,),) = await run(db, UNKNOWN)
        print(f"kills {here.kills}, in flight {len(here.lost)}, unknown {unknown}")
        assert here.kills > 0
        assert len(here.lost) <= here.kills * IN_FLIGHT_MAX
        found = await violations(db, here.sandbox, lost=here.lost, expected=undisturbed)
    assert found == []
