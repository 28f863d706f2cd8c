"""One PostgreSQL server for a test process, one migrated template on it, and clones of that.

The server is ours alone: its own new home, gone afterwards. Each xdist worker is a process, so it
has its own. Tests connect as a role that owns the databases and is no superuser, as in production,
so rights and row level security are those of production.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from outreach.dev.postgres import FAST_SETTINGS, LocalPostgres
from outreach.dev.postgres_programs import machine_programs, wheel_programs
from outreach.migrate import migrate

CHOICE_VARIABLE = "OUTREACH_TEST_POSTGRES"
OWNER = "outreach_owner"
TEMPLATE = "outreach_template"

CREATE_OWNER: LiteralString = "create role {owner} login createrole"
CREATE_DATABASE: LiteralString = "create database {name} template {template} owner {owner}"
DROP_DATABASE: LiteralString = "drop database {name} with (force)"


def chosen_programs() -> Path:
    """The server under test: the wheel's unless OUTREACH_TEST_POSTGRES says `system`."""
    choice = os.environ.get(CHOICE_VARIABLE, "embedded")
    match choice:
        case "embedded":
            found = wheel_programs()
        case "system":
            found = next(machine_programs(), None)
        case _:
            raise AssertionError(f"{CHOICE_VARIABLE} is embedded or system, not {choice}")
    assert found is not None, f"{CHOICE_VARIABLE}={choice}, but there are no such programs"
    return found


class Databases:
    """Databases of one server, each cloned from the migrated template in hundredths of a second."""

    def __init__(self, server: LocalPostgres) -> None:
        self.server = server
        self._names = (f"test_{number}" for number in itertools.count(1))

    def conninfo(self, database: str) -> str:
        """As the owner of the databases."""
        return self.server.conninfo(database, user=OWNER)

    def create(self, template: str = TEMPLATE) -> str:
        """A new database; its name. From `template0` it is an empty one."""
        name = next(self._names)
        self._administer(CREATE_DATABASE, name=name, template=template, owner=OWNER)
        return name

    def drop(self, name: str) -> None:
        """Remove it, with the connections that a test may have left."""
        self._administer(DROP_DATABASE, name=name)

    def prepare(self) -> None:
        """Make the owner and the template; insists first that this server is nobody else's."""
        self._administer(CREATE_OWNER, owner=OWNER)
        names = {"name": TEMPLATE, "template": "template0", "owner": OWNER}
        self._administer(CREATE_DATABASE, **names)
        migrate(self.conninfo(TEMPLATE))

    def _administer(self, statement: LiteralString, **names: str) -> None:
        quoted = {name: sql.Identifier(value) for name, value in names.items()}
        with psycopg.connect(self.server.conninfo(), autocommit=True) as connection:
            row = connection.execute("show data_directory").fetchone()
            assert row == (str(self.server.place.data),), "this is not the server of the tests"
            connection.execute(sql.SQL(statement).format(**quoted))


@contextmanager
def running_databases(folder: Path | None = None, **settings: str) -> Iterator[Databases]:
    """A server, with these settings too, and the template on it; removed at the end.

    Its home is a new one in `folder`, or where temporary files are.
    """
    home = Path(tempfile.mkdtemp(prefix="outreach-test-", dir=folder))
    home.chmod(0o711)  # the account that runs the server for root must be able to enter
    server = LocalPostgres(home, programs=chosen_programs(), settings={**FAST_SETTINGS, **settings})
    try:
        with server:
            databases = Databases(server)
            databases.prepare()
            yield databases
    finally:
        shutil.rmtree(server.place.home)
        shutil.rmtree(server.place.run, ignore_errors=True)  # elsewhere only if the path is long
