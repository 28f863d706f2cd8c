"""The database fixtures. A test that takes none of them starts no server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import settings
from psycopg import AsyncConnection

from outreach.db import Database
from outreach.sql import Tx
from tests.support.database import Databases, running_databases

# The same examples each time, so that a run says something about the change and not about its luck.
# OUTREACH_EXAMPLES=random looks for new ones.
settings.register_profile("steady", derandomize=True)
settings.register_profile("random", derandomize=False)
settings.load_profile(os.environ.get("OUTREACH_EXAMPLES", "steady"))


@pytest.fixture(scope="session", autouse=True)
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What workers of these tests keep outside the database is not the developer's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUTREACH_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """The server of this test process and its migrated template."""
    with running_databases() as databases:
        yield databases


@pytest.fixture(scope="session")
def shared_conninfo(databases: Databases) -> str:
    """A migrated database that stays empty: whoever uses it rolls back."""
    return databases.conninfo(databases.create())


@pytest.fixture
def conninfo(databases: Databases) -> Iterator[str]:
    """A migrated database of the test's own, for what commits, locks or listens."""
    name = databases.create()
    yield databases.conninfo(name)
    databases.drop(name)


@pytest.fixture
def empty_conninfo(databases: Databases) -> Iterator[str]:
    """A database of the test's own without any migration."""
    name = databases.create(template="template0")
    yield databases.conninfo(name)
    databases.drop(name)


@pytest.fixture
async def db(conninfo: str) -> AsyncIterator[Database]:
    """The pool that the code uses, on a database of the test's own."""
    async with Database.at(conninfo, application="outreach-test") as database:
        yield database


@pytest.fixture
async def tx(shared_conninfo: str) -> AsyncIterator[Tx]:
    """A transaction, as the owner until `set_actor` says otherwise, that is rolled back."""
    connection = await AsyncConnection.connect(shared_conninfo, autocommit=True)
    async with connection, connection.transaction(force_rollback=True):
        yield connection
