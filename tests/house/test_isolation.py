"""No tenant sees or changes another's rows, in any table: asked of every one, not of a sample.

There is one row of a tenant in every table. Its tenant sees it (else the test would prove nothing);
another tenant sees none, changes none, removes none, and cannot add one under the first one's name.
"""

from __future__ import annotations

from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest
from psycopg.sql import SQL as Composed
from psycopg.sql import Identifier

from outreach import sql
from outreach.db import Role, set_actor
from outreach.ids import new_id
from outreach.sql import Tx
from tests.house.test_schema import tables, tenant_tables

SQL = sql.load(__file__, stem="one_of_each")

ACTORS = (Role.APP, Role.WORKER)
# Without tenant-first keys, but with rows of tenants in them (and the view over three tables).
ALSO_TENANTS = ("audit_log", "send_decisions", "tenants", "api_keys", "inbound_messages")

SEE: LiteralString = "select * from {table}"
CHANGE: LiteralString = "update {table} set created_at = created_at returning *"
REMOVE: LiteralString = "delete from {table} returning *"


async def one_of_each(tx: Tx) -> UUID:
    """A tenant with one row in every table that has tenants."""
    tenant_id = new_id()
    slug = f"t-{tenant_id.hex[-8:]}"
    await sql.execute(tx, SQL["insert_one_of_each"], tenant_id=tenant_id, slug=slug)
    return tenant_id


async def do(tx: Tx, query: LiteralString, table: str) -> list[Any] | str:
    """The rows that it touched, or the name of the refusal; a refusal undoes itself."""
    try:
        async with tx.transaction():
            statement = Composed(query).format(table=Identifier(table))
            return await (await tx.execute(statement)).fetchall()
    except psycopg.errors.InsufficientPrivilege as error:
        return "row security" if "row-level security" in str(error) else "no right"


async def readable(tx: Tx, role: Role) -> list[str]:
    """The tables with rows of tenants that a role may read."""
    names = [*await tenant_tables(tx), *ALSO_TENANTS]
    if role == Role.WORKER:
        names.remove("api_keys")  # the worker has no rights on keys at all
    return names


@pytest.mark.parametrize("role", ACTORS)
async def test_a_tenant_sees_its_own_rows_and_nobody_elses(tx: Tx, role: Role) -> None:
    mine, other = await one_of_each(tx), await one_of_each(tx)
    names = await readable(tx, role)

    for tenant_id in (mine, other):
        await set_actor(tx, role, tenant_id)
        for name in names:
            found = await do(tx, SEE, name)
            assert isinstance(found, list), f"{role} may not read {name}"
            assert found, f"{role} sees nothing of its own in {name}"
            others = other if tenant_id == mine else mine
            assert not [row for row in found if others in row], f"{name} shows another tenant's row"


@pytest.mark.parametrize("role", ACTORS)
async def test_who_acts_for_another_tenant_or_for_none_sees_nothing(tx: Tx, role: Role) -> None:
    await one_of_each(tx)
    names = await readable(tx, role)

    for tenant_id in (new_id(), None):
        await set_actor(tx, role, tenant_id)
        for name in names:
            assert await do(tx, SEE, name) == [], name


@pytest.mark.parametrize("role", ACTORS)
async def test_another_tenants_rows_are_neither_changed_nor_removed(tx: Tx, role: Role) -> None:
    await one_of_each(tx)
    names = [name for name in await readable(tx, role) if name != "send_decisions"]

    await set_actor(tx, role, new_id())
    for name in names:
        assert await do(tx, CHANGE, name) in ([], "no right"), name
        assert await do(tx, REMOVE, name) in ([], "no right"), name


async def test_a_tenants_own_rows_can_be_changed_where_the_role_may(tx: Tx) -> None:
    mine = await one_of_each(tx)
    await set_actor(tx, Role.APP, mine)

    for name in ("campaigns", "enrollments", "scheduled_actions", "suppressions"):
        assert len(await do(tx, CHANGE, name)) == 1, name


@pytest.mark.parametrize("role", ACTORS)
async def test_nothing_is_added_under_another_tenants_name(tx: Tx, role: Role) -> None:
    mine = await one_of_each(tx)
    other = await one_of_each(tx)
    insert: LiteralString = (
        "insert into scheduled_actions"
        " (tenant_id, enrollment_id, campaign_id, sender_id, node_id, visit, kind, due_at)"
        " values (%s, %s, %s, %s, 'intro', 1, 'send', now())"
    )
    found = await tx.execute("select id, campaign_id, sender_id, tenant_id from enrollments")
    ids = {row[3]: row[:3] for row in await found.fetchall()}

    await set_actor(tx, role, mine)
    assert (await tx.execute(insert, [mine, *ids[mine]])).rowcount == 1
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        async with tx.transaction():
            await tx.execute(insert, [other, *ids[other]])
    # Under its own name, but about the other's enrollment: the composite foreign key says no.
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        async with tx.transaction():
            await tx.execute(insert, [mine, *ids[other]])


@pytest.mark.parametrize("role", ACTORS)
async def test_a_partition_is_no_way_around(tx: Tx, role: Role) -> None:
    mine = await one_of_each(tx)
    found = await tx.execute("select inhrelid::regclass::text from pg_inherits")
    partitions = [name for (name,) in await found.fetchall() if name.startswith("message_events_")]
    tables_only = [name for name in partitions if not name.endswith(("_idx", "_pkey"))]
    assert tables_only

    await set_actor(tx, role, mine)
    for name in tables_only:
        assert await do(tx, SEE, name) == "no right", name


async def test_the_row_of_each_table_is_there(tx: Tx) -> None:
    await one_of_each(tx)

    nobodys = {"unmatched_events", "webhook_deliveries", "fence_pulses"}
    for name in await tables(tx):
        if name not in nobodys:
            assert await do(tx, SEE, name), f"one_of_each.sql has no row for {name}"


async def test_without_its_policy_a_table_would_show_all(tx: Tx) -> None:
    mine = await one_of_each(tx)
    await tx.execute("alter table contacts disable row level security")

    await set_actor(tx, Role.APP, new_id())
    found = await do(tx, SEE, "contacts")
    assert isinstance(found, list)
    assert [row for row in found if mine in row]
