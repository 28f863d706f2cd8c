"""What a kill leaves in doubt, with the recorder and without it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import LiteralString

import pytest

from outreach.db import Database
from tests.sim.child import POINTS, Kill
from tests.sim.judge import Ends, violations
from tests.sim.world import World, seed_of_run, trials, world
from tests.support.database import Databases
from tests.support.factories import run

LATENCY_MS = 60
# A life takes about so long to connect, and is then busy.
BUSY_SECONDS = (0.15, 0.6)
# What a life passes while it hands mail over.
ON_THE_WAY = [point for point in POINTS if point.startswith(("claim", "request", "record"))]
BEFORE_THE_FIRST = [point for point in ON_THE_WAY if point.startswith("claim")]

# Whatever was in doubt for a while; events may have settled it since.
IN_DOUBT: LiteralString = """
select count(*) from outbound_messages m
where m.state = 'unknown' or exists (
  select from send_attempts a where a.message_id = m.id and a.settled_by in ('rescuer', 'event')
)
"""
BY_RECORDER: LiteralString = """
select outcome::text, count(*) from send_attempts where settled_by = 'recorder' group by 1
"""

pytestmark = pytest.mark.slow


@dataclass(slots=True)
class Tally:
    """What the kills of several worlds left."""

    kills: int = 0
    in_flight: int = 0
    in_doubt: int = 0
    settled: Counter[str] = field(default_factory=Counter)

    async def judge(self, here: World, expected: Ends | None) -> list[str]:
        """Play the rest of the story, count, and judge."""
        await here.play()
        self.kills += here.kills
        self.in_flight += len(here.lost)
        self.in_doubt += await doubts(here)
        self.settled.update(dict(await run(here.db, BY_RECORDER)))
        return await violations(here.db, here.sandbox, lost=here.lost, expected=expected)

    def tell(self, what: str) -> None:
        """The figures; pytest shows them with `-s`, and when something is wrong."""
        each = self.in_doubt / max(self.kills, 1)
        print(
            f"{what}: kills {self.kills}, in flight {self.in_flight}, in doubt {self.in_doubt}"
            f" ({each:.2f} a kill), settled by the recorder {dict(self.settled)}"
        )


async def doubts(here: World) -> int:
    ((count,),) = await run(here.db, IN_DOUBT)
    return int(count)


@asynccontextmanager
async def new_world(databases: Databases, *, is_recorded: bool) -> AsyncIterator[World]:
    """A world on a database of its own, gone afterwards."""
    name = databases.create()
    conninfo = databases.conninfo(name)
    async with Database.at(conninfo, application="outreach-test") as db:
        async with world(db, conninfo, latency_ms=LATENCY_MS, is_recorded=is_recorded) as here:
            yield here
    databases.drop(name)


@pytest.mark.parametrize("is_recorded", [True, False])
async def test_kills_at_random_moments(
    databases: Databases, undisturbed: Ends, is_recorded: bool
) -> None:
    seed, tally = seed_of_run(), Tally()
    print(f"OUTREACH_SIM_SEED={seed}")
    chance = random.Random(seed)
    for _ in range(trials(2)):
        async with new_world(databases, is_recorded=is_recorded) as here:
            for _ in range(3):
                if await here.live(seconds=chance.uniform(*BUSY_SECONDS)):
                    await here.note_kill()
                await here.pass_time()
            assert await tally.judge(here, undisturbed) == []
    tally.tell(f"at random moments, {'with' if is_recorded else 'without'} the recorder")


@pytest.mark.parametrize("is_recorded", [True, False])
async def test_kills_at_each_point_of_a_request(
    databases: Databases, undisturbed: Ends, is_recorded: bool
) -> None:
    seed, tally = seed_of_run(), Tally()
    print(f"OUTREACH_SIM_SEED={seed}")
    chance = random.Random(seed)
    for _ in range(trials(1)):
        for first in range(0, len(ON_THE_WAY), 3):
            async with new_world(databases, is_recorded=is_recorded) as here:
                for point in ON_THE_WAY[first : first + 3]:
                    if await here.live(Kill(point, chance.randint(1, 3))):
                        await here.note_kill()
                    await here.pass_time()
                assert await tally.judge(here, undisturbed) == []
    tally.tell(f"at each point, {'with' if is_recorded else 'without'} the recorder")


async def test_what_was_armed_and_never_left_leaves_no_doubt(
    db: Database, conninfo: str, undisturbed: Ends
) -> None:
    async with world(db, conninfo) as here:
        for point in BEFORE_THE_FIRST:
            assert await here.live(Kill(point))
            await here.note_kill()
        assert here.lost, "some were armed"
        assert await Tally().judge(here, undisturbed) == []
        assert await doubts(here) == 0


async def test_without_the_recorder_they_are_in_doubt(
    db: Database, conninfo: str, undisturbed: Ends
) -> None:
    """The same kills: it is the recorder that takes the doubt away."""
    async with world(db, conninfo, is_recorded=False) as here:
        for point in BEFORE_THE_FIRST:
            assert await here.live(Kill(point))
            await here.note_kill()
        assert await Tally().judge(here, undisturbed) == []
        assert await doubts(here) == len(here.lost) > 0
