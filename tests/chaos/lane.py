"""What trials are run on: a server of our own, and the ends to compare with."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from tests.chaos.result import Result
from tests.chaos.stage import stage
from tests.sim.judge import Ends, ends
from tests.support.database import Databases


@dataclass(slots=True)
class Lane:
    """Trials come one after the other here, and the server is theirs to harm."""

    databases: Databases
    expected: Ends


Trial = Callable[[Lane, random.Random, Result], Coroutine[Any, Any, None]]


async def undisturbed(databases: Databases) -> Ends:
    """How each address ends when nothing is harmed; the judge has nothing against it."""
    result = Result(fault="undisturbed")
    async with stage(databases, random.Random(0), result) as here:
        await here.play()
        await here.judge(None)
        found = await ends(here.db)
    assert result.is_good, result.found
    return found
