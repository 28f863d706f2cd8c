"""A database whose clock stands still until the test moves it.

Statements name `now()` and `clock_timestamp()` without their schema, so a schema that is searched
before PostgreSQL's own decides what they mean. Every process that connects sees the same moment,
and how busy the machine is makes no difference.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import LiteralString

import psycopg
from psycopg import sql

from outreach.db import Database
from tests.support.factories import run

SCHEMA: LiteralString = """
create schema moved;
create table moved.clock (at timestamptz not null);
insert into moved.clock select date_trunc('day', now()) + interval '36 hours';
create function moved.now() returns timestamptz language sql stable
  as $$ select at from moved.clock $$;
create function moved.statement_timestamp() returns timestamptz language sql stable
  as $$ select at from moved.clock $$;
create function moved.clock_timestamp() returns timestamptz language sql volatile
  as $$ select at from moved.clock $$;
grant usage on schema moved to public;
grant select on moved.clock to public;
"""


class MovedClock:
    """The moment that the database believes to be."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def move(self, seconds: float) -> None:
        """Let so much time go by at once."""
        query: LiteralString = "update moved.clock set at = at + make_interval(secs => %(s)s)"
        await run(self._db, query, s=seconds)

    async def unix(self) -> float:
        """The moment, in seconds."""
        rows = await run(self._db, "select extract(epoch from at)::float8 from moved.clock")
        return float(rows[0][0])


@asynccontextmanager
async def moved_clock(conninfo: str) -> AsyncIterator[tuple[Database, MovedClock]]:
    """This database with a clock of its own; a connection made before keeps the server's."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(SCHEMA)
        name = sql.Identifier(connection.info.dbname)
        connection.execute(
            sql.SQL("alter database {} set search_path = moved, pg_catalog, public").format(name)
        )
    async with Database.at(conninfo, size_max=4, application="outreach-test") as db:
        yield db, MovedClock(db)
