"""The fixtures keep what they promise: migrated, apart from each other, and without a trace."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest

from outreach.db import Database, Role, set_actor
from outreach.migrate import status
from outreach.sql import Tx, value
from tests.support.database import CHOICE_VARIABLE, Databases, chosen_programs

COUNT = "select count(*) from pg_class where relname = 'left_behind'"


def test_a_clone_is_migrated_and_an_empty_one_is_not(conninfo: str, empty_conninfo: str) -> None:
    assert status(conninfo).is_current
    assert not status(empty_conninfo).is_current


@pytest.mark.parametrize("_turn", [1, 2])
async def test_what_a_transaction_makes_is_rolled_back(tx: Tx, _turn: int) -> None:
    assert await value(tx, COUNT) == 0
    await tx.execute("create table left_behind ()")


@pytest.mark.parametrize("_turn", [1, 2])
async def test_what_is_committed_stays_in_its_own_clone(db: Database, _turn: int) -> None:
    async with db.connection() as connection:
        assert await value(connection, COUNT) == 0
        await connection.execute("create table left_behind ()")


async def test_a_failed_statement_leaves_the_next_transaction_usable(tx: Tx) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        async with tx.transaction():
            await tx.execute("select from no_such_table")
    assert await value(tx, "select 1") == 1


async def test_roles_bind_as_in_production(tx: Tx, db: Database) -> None:
    assert await value(tx, "select rolsuper from pg_roles where rolname = current_user") is False
    await set_actor(tx, Role.APP, uuid4())
    assert await value(tx, "select current_user::text") == Role.APP.value
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await tx.execute("create table not_allowed ()")


def test_a_dropped_clone_is_gone_with_its_connections(databases: Databases) -> None:
    name = databases.create()
    with psycopg.connect(databases.conninfo(name)):
        databases.drop(name)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(databases.conninfo(name))


def test_an_unknown_choice_of_server_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHOICE_VARIABLE, "mine")
    with pytest.raises(AssertionError, match="embedded or system"):
        chosen_programs()
