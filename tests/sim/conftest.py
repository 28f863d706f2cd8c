"""What trials are compared with: the same world without a kill."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from outreach.db import Database
from tests.sim.judge import Ends, ends, violations
from tests.sim.world import world
from tests.support.database import Databases, running_databases


@pytest.fixture(scope="session")
def undisturbed(databases: Databases) -> Ends:
    """How each address ends when nobody is killed; the judge has nothing against it."""
    name = databases.create()
    conninfo = databases.conninfo(name)

    async def play() -> Ends:
        async with Database.at(conninfo, application="outreach-test") as db:
            async with world(db, conninfo) as here:
                await here.play()
                result = await ends(db)
                found = await violations(db, here.sandbox, lost=(), expected=result)
        assert found == []
        return result

    try:
        return asyncio.run(play())
    finally:
        databases.drop(name)


@pytest.fixture(scope="session")
def private_databases() -> Iterator[Databases]:
    """A server that may be killed, and that remembers when each transaction committed."""
    with running_databases(track_commit_timestamp="on") as databases:
        yield databases


@pytest.fixture
def private_conninfo(private_databases: Databases) -> Iterator[str]:
    """A migrated database on it."""
    name = private_databases.create()
    yield private_databases.conninfo(name)
    private_databases.drop(name)
