"""Every fault once, with a fixed seed: the short form of `make chaos`.

That the judge can say no is shown in `tests/sim/test_judge.py`, and by the long form's control.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.lane import Lane, undisturbed
from tests.chaos.result import Result
from tests.chaos.stage import SET_LIMIT, stage
from tests.sim.judge import Ends, windows_exceeded
from tests.support.database import Databases, running_databases
from tests.support.factories import run

SEED = 4
ON_ANY_SERVER = [name for name in FAULTS if not name.startswith("server")]
ON_ITS_OWN = [name for name in FAULTS if name.startswith("server")]

pytestmark = pytest.mark.slow

_ends: list[Ends] = []


@pytest.fixture(scope="session")
def own_databases() -> Iterator[Databases]:
    """A server that may be killed."""
    with running_databases() as databases:
        yield databases


async def lane_on(databases: Databases) -> Lane:
    """A lane, and what its trials are compared with, which is found out once in a process."""
    if not _ends:
        _ends.append(await undisturbed(databases))
    return Lane(databases, _ends[0])


async def tried(lane: Lane, name: str) -> Result:
    """The trial of this name, and what there is to say of it."""
    result = Result(fault=name)
    await FAULTS[name].run(lane, random.Random(f"{SEED} {name}"), result)
    print(result.did_not_run or f"{name}: kills {result.kills}, mails {result.mails}")
    return result


@pytest.mark.parametrize("name", ON_ANY_SERVER)
async def test_a_fault_doubles_nothing_and_loses_nothing(databases: Databases, name: str) -> None:
    result = await tried(await lane_on(databases), name)
    assert result.found == []


@pytest.mark.timeout(300)  # six trials, each with starts of a server
async def test_a_server_that_fails_doubles_nothing_and_loses_nothing(
    own_databases: Databases,
) -> None:
    lane = await lane_on(own_databases)
    found = [sentence for name in ON_ITS_OWN for sentence in (await tried(lane, name)).found]
    assert found == []


async def test_a_window_that_holds_too_much_is_found(databases: Databases) -> None:
    async with stage(databases, random.Random(1), Result(), per_minute=100) as here:
        await here.play()
        async with here.db.connection() as tx:
            assert await windows_exceeded(tx, here.sandbox) == []
        await run(here.db, SET_LIMIT, cap=3)
        async with here.db.connection() as tx:
            found = await windows_exceeded(tx, here.sandbox)
    assert [sentence.split(" ")[-3] for sentence in found] == ["granted,", "accepted,"]
