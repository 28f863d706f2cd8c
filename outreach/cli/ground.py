"""Where a command's database is, and that it can be worked on.

With `DATABASE_URL` (or `DATABASE_DIRECT_URL`) it is that one, and its schema is never touched here:
behind is a refusal that names the command which mends it. Without, it is the embedded server of
`.outreach/` below the current folder, started for this run, shared with whoever else runs there,
and migrated when needed, since nobody else looks after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import errors, sql

from outreach import config
from outreach.core.errors import Invalid, OutreachError

HOME = Path(".outreach")


class SchemaBehind(OutreachError):
    """The database lacks migrations that this code needs."""


@contextmanager
def ground(*, embedded: bool = True) -> Iterator[config.Settings]:
    """Settings whose database answers and has our schema, for as long as the block runs.

    Raises Invalid (settings), Unavailable or OperationalError (no server), SchemaBehind.
    """
    settings = config.load()
    if settings.dsn is not None:
        assert settings.direct_dsn is not None
        check_schema(settings.direct_dsn)
        yield settings
        return
    if not embedded:
        raise Invalid.at("DATABASE_URL", "is not set, and this command needs a database of yours.")
    with embedded_database(settings.local_database) as conninfo:
        yield config.load(database_url=conninfo)


def check_schema(conninfo: str) -> None:
    """Raise SchemaBehind unless every migration of this code is applied."""
    # Imported here: yoyo takes time that `--help` and `plans validate` need not pay.
    from outreach.migrate import status

    schema = status(conninfo)
    if not schema.is_current:
        raise SchemaBehind(schema.problem)


@contextmanager
def embedded_database(name: str, *, is_new: bool = False) -> Iterator[str]:
    """A database of the embedded server, created and migrated where needed.

    `is_new` begins it anew, whatever it held.
    """
    from outreach.dev.postgres import LocalPostgres
    from outreach.migrate import migrate, status

    with LocalPostgres(HOME / "postgres") as server:
        if is_new:
            drop_database(server.conninfo("postgres"), name)
        create_database(server.conninfo("postgres"), name)
        conninfo = server.conninfo(name)
        if not status(conninfo).is_current:
            migrate(conninfo)
        yield conninfo


def create_database(conninfo: str, name: str) -> None:
    """Make the database unless it is there; two at once both succeed."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        exists = connection.execute(
            "select exists (select from pg_database where datname = %(name)s::text)", {"name": name}
        ).fetchone()
        if exists == (True,):
            return
        try:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        except (errors.DuplicateDatabase, errors.UniqueViolation):
            return


def drop_database(conninfo: str, name: str) -> None:
    """Remove the database if it is there, and whoever is connected to it."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        statement = sql.SQL("drop database if exists {} with (force)")
        connection.execute(statement.format(sql.Identifier(name)))
