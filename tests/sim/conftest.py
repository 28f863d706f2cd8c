"""What trials are compared with, the same world without a kill; and the worlds of drills."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from outreach.db import Database
from outreach.dev.sandbox import SandboxServer, SandboxSettings
from tests.sim.drills import HALF, LATER, NOWHERE, QUIET, Drill
from tests.sim.judge import Ends, ends, violations
from tests.sim.world import world
from tests.support.clusters import Yard, yard
from tests.support.database import Databases, running_databases
from tests.support.factories import run
from tests.support.sending import due_campaign


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


@pytest.fixture(scope="session")
def template() -> Iterator[Path]:
    """The data of a migrated cluster, stopped."""
    with yard() as found:
        cluster = found.new("template")
        cluster.stop()
        yield cluster.data


@pytest.fixture
def place() -> Iterator[Yard]:
    with yard() as found:
        yield found


@pytest.fixture
async def drill(place: Yard, template: Path, tmp_path: Path) -> AsyncIterator[Drill]:
    """Half of the mail is due; the events of all of it are kept back."""
    primary = place.like(template, "primary")
    settings = SandboxSettings(seed=3, time_scale=0.001, rates=QUIET, webhook_url=NOWHERE)
    async with SandboxServer(settings) as sandbox:
        sandbox.pause()
        async with Database.at(primary.conninfo(), application="outreach-drill") as db:
            campaign = await due_campaign(db, 2 * HALF)
            await run(db, LATER, half=HALF)
        yield Drill(primary, sandbox, tmp_path / "state", campaign)
