"""Who reaches the ledger, and what nobody may change in it.

Each attack stands beside the same act done rightly. Numbers are those of the design: I12 no tenant
reaches another's, I13 what a message says is fixed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest

from outreach.db import Database, Role
from tests.store.ledger_support import ACTORS, ATTEMPT, MOVE, OWNER, SETTLE, a_message, attack
from tests.support.database import Databases
from tests.support.factories import run


@pytest.fixture(scope="module")
def conninfo(databases: Databases) -> Iterator[str]:
    """One database for all of these tests: each makes messages of its own and attacks those."""
    name = databases.create()
    yield databases.conninfo(name)
    databases.drop(name)


# --- I12: no tenant reaches another's ----------------------------------------------------------


async def test_a_worker_sees_and_changes_its_tenants_rows_alone(db: Database) -> None:
    ours, theirs = await a_message(db), await a_message(db)
    async with db.transaction(Role.WORKER, ours.tenant_id) as tx:
        given = {"t": theirs.tenant_id, "m": theirs.id, "to": "unknown", "outcome": "unknown"}
        assert (await tx.execute(MOVE, given)).rowcount == 0
        assert (await tx.execute(SETTLE, given)).rowcount == 0
        rows = await (await tx.execute("select id from outbound_messages")).fetchall()
        assert rows == [(ours.id,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with tx.transaction():
                await tx.execute(ATTEMPT, given | {"n": 2})
        assert (await tx.execute(MOVE, given | {"t": ours.tenant_id, "m": ours.id})).rowcount == 1


async def test_an_attempt_belongs_to_a_message_of_its_own_tenant(db: Database) -> None:
    ours, theirs = await a_message(db), await a_message(db, "rejected")
    query: LiteralString = (
        "insert into send_attempts (tenant_id, message_id, attempt, armed_at, deadline_at)"
        " values (%(t)s, %(other)s, 2, now(), now())"
    )
    found = await attack(db, OWNER, ours, query, other=theirs.id)
    assert found is not None
    assert found.endswith("_fkey")


# --- I13: what a message says is fixed ---------------------------------------------------------


@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("column", ["subject", "body_text", "body_html", "dedupe_key"])
async def test_what_a_message_says_is_fixed(
    db: Database, actor: str, column: LiteralString
) -> None:
    message = await a_message(db)
    query: LiteralString = (
        "update outbound_messages set "
        + column
        + " = %(value)s where tenant_id = %(t)s and id = %(m)s"
    )
    found = await attack(db, actor, message, query, value="something else")
    assert found == "outbound_messages_body"
    rows = await run(
        db,
        "select subject, body_text, body_html from outbound_messages where id = %(m)s",
        m=message.id,
    )
    assert rows == [("Subject", "Body", "<p>Body</p>")]


# --- rights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["outbound_messages", "send_attempts", "send_refusals"])
@pytest.mark.parametrize("role", [Role.APP, Role.WORKER, Role.OPERATOR, Role.READONLY])
async def test_nobody_who_works_here_may_delete_from_it(
    db: Database, role: Role, table: LiteralString
) -> None:
    message = await a_message(db)
    async with db.transaction(role, message.tenant_id) as tx:
        for query in ("delete from " + table, "truncate " + table + " cascade"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                async with tx.transaction():
                    await tx.execute(query)


@pytest.mark.parametrize("role", [Role.APP, Role.READONLY])
async def test_people_and_readers_read_the_ledger_and_do_not_write_it(
    db: Database, role: Role
) -> None:
    message = await a_message(db)
    async with db.transaction(role, message.tenant_id) as tx:
        rows = await (await tx.execute("select id from outbound_messages")).fetchall()
        assert (message.id,) in rows
        given = {"t": message.tenant_id, "m": message.id, "to": "unknown"}
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with tx.transaction():
                await tx.execute(MOVE, given)
