"""Laws of the schema, asked of the catalogue of a migrated database.

A table is a tenant's unless it stands in a list below with the reason. Of a tenant's table every
key begins with the tenant, and row level security binds the roles that processes act as.
"""

from __future__ import annotations

from typing import Any, LiteralString

from outreach.db import Role
from outreach.sql import Tx
from tests.house.source import read, tracked

NO_TENANT_KEYS = {
    "installation": "one row, for everybody",
    "installation_counters": "counted over all tenants",
    "provider_log_slots": "the account's, which all tenants share",
    "fence_pulses": "a worker serves all tenants",
    "tenants": "the tenant itself",
    "api_keys": "found by its secret's hash; an operator's belongs to nobody",
    "audit_log": "an operator's act belongs to nobody",
    "webhook_deliveries": "one body may speak of many tenants",
    "unmatched_events": "belongs to nobody we know",
    "inbound_messages": "belongs to nobody until its message is found",
}
NO_ROW_SECURITY = {
    "schema_marks": "the migrator's own; no other role has rights on it",
    "procrastinate_jobs": "wake-ups; one installation's worker reads all",
    "procrastinate_events": "of those jobs",
    "procrastinate_periodic_defers": "of those jobs",
    "procrastinate_workers": "of those jobs",
}
# Reached through the parent, or by the provider's id before anybody knows the tenant.
OTHER_INDEXES = {
    "send_attempts_of_provider": "a webhook's id comes without a tenant",
    "send_attempts_by_time": "what the account sent since a moment",
}

ROLES = tuple(role.value for role in Role)

TABLES: LiteralString = """
select c.relname, c.relrowsecurity, c.relforcerowsecurity, c.relispartition
from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
"""
KEYS: LiteralString = """
select t.relname, i.relname, x.indisunique,
  coalesce((select a.attname from pg_attribute a
    where a.attrelid = x.indrelid and a.attnum = x.indkey[0]), '(an expression)')
from pg_index x
join pg_class i on i.oid = x.indexrelid
join pg_class t on t.oid = x.indrelid
where t.relnamespace = 'public'::regnamespace
"""
FOREIGN_KEYS: LiteralString = """
select t.relname, k.conname, k.confrelid::regclass::text, a.attname
from pg_constraint k
join pg_class t on t.oid = k.conrelid
join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
where k.contype = 'f' and t.relnamespace = 'public'::regnamespace
"""
COLUMNS: LiteralString = """
select c.relname, a.attname, a.atttypid::regtype::text, a.attnotnull
from pg_attribute a
join pg_class c on c.oid = a.attrelid
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
  and a.attnum > 0 and not a.attisdropped
"""
POLICIES: LiteralString = """
select tablename, roles::text[], cmd, qual is not null, with_check is not null
from pg_policies
where schemaname = 'public'
"""
DEFINERS: LiteralString = """
select p.oid::regprocedure::text, coalesce(array_to_string(p.proconfig, ','), ''),
  has_function_privilege('public', p.oid, 'execute')
from pg_proc p
where p.pronamespace = 'public'::regnamespace and p.prosecdef
"""
TRIGGER_FUNCTIONS: LiteralString = """
select p.proname, coalesce(array_to_string(p.proconfig, ','), '')
from pg_proc p
where p.pronamespace = 'public'::regnamespace and p.prorettype = 'trigger'::regtype
  and p.proname not like 'procrastinate%'
"""
OWNED: LiteralString = """
select c.relname from pg_class c where pg_get_userbyid(c.relowner) = any (%(roles)s::text[])
union all
select p.proname from pg_proc p where pg_get_userbyid(p.proowner) = any (%(roles)s::text[])
union all
select t.typname from pg_type t where pg_get_userbyid(t.typowner) = any (%(roles)s::text[])
"""
ROLE_RIGHTS: LiteralString = """
select rolname, rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolcanlogin
from pg_roles where rolname = any (%(roles)s::text[])
"""


async def rows(tx: Tx, query: LiteralString, **params: object) -> list[Any]:
    return await (await tx.execute(query, params or None)).fetchall()


def is_ours(table: str) -> bool:
    return not table.startswith(("_yoyo", "yoyo_", "procrastinate_")) and table != "schema_marks"


async def tables(tx: Tx) -> list[str]:
    """Our tables, partitions left out: they are reached through their parent."""
    return [name for name, _, _, part in await rows(tx, TABLES) if is_ours(name) and not part]


async def tenant_tables(tx: Tx) -> list[str]:
    return [name for name in await tables(tx) if name not in NO_TENANT_KEYS]


async def test_the_list_of_exceptions_names_only_tables_that_exist(tx: Tx) -> None:
    existing = {name for name, *_ in await rows(tx, TABLES)}
    assert set(NO_TENANT_KEYS) | set(NO_ROW_SECURITY) <= existing
    assert len(await tenant_tables(tx)) >= 15


async def wrong_keys(tx: Tx) -> list[str]:
    """Keys of tenant tables that do not begin with the tenant."""
    ours = set(await tenant_tables(tx))
    keys = [
        f"index {name} of {table} begins with {first}"
        for table, name, is_unique, first in await rows(tx, KEYS)
        if table in ours and first != "tenant_id" and (is_unique or name not in OTHER_INDEXES)
    ]
    references = [
        f"foreign key {name} of {table} begins with {first}"
        for table, name, target, first in await rows(tx, FOREIGN_KEYS)
        if table in ours and first != "tenant_id"
    ]
    return keys + references


async def test_every_key_of_a_tenants_table_begins_with_the_tenant(tx: Tx) -> None:
    assert await wrong_keys(tx) == []
    primary = {table for table, name, *_ in await rows(tx, KEYS) if name.endswith("_pkey")}
    assert set(await tables(tx)) <= primary


async def test_a_key_without_the_tenant_is_found(tx: Tx) -> None:
    await tx.execute("create unique index by_name on campaigns (name)")
    await tx.execute("create index by_domain on contacts (email_domain)")
    await tx.execute("alter table leads add constraint lone foreign key (id) references tenants")
    found = await wrong_keys(tx)
    assert len(found) == 3
    assert "index by_name of campaigns begins with name" in found


async def test_every_table_knows_when_a_row_came(tx: Tx) -> None:
    having = {
        table
        for table, column, type, is_required in await rows(tx, COLUMNS)
        if column == "created_at" and type == "timestamp with time zone" and is_required
    }
    assert set(await tables(tx)) <= having


async def test_every_moment_has_its_zone(tx: Tx) -> None:
    columns = [row for row in await rows(tx, COLUMNS) if is_ours(row[0])]
    without = [
        f"{table}.{column}"
        for table, column, type, _ in columns
        if type == "timestamp without time zone" or type.startswith("time")
        if type != "timestamp with time zone"
    ]
    assert without == []
    named = {type for _, column, type, _ in columns if column.endswith("_at")}
    assert named <= {"timestamp with time zone", "integer[]"}, "bucket_at counts sub-buckets"


async def unprotected(tx: Tx) -> list[str]:
    """Tables whose rows a role could reach past row level security."""
    return [
        name
        for name, is_on, is_forced, _ in await rows(tx, TABLES)
        if not (is_on and is_forced) and is_ours(name) and name not in NO_ROW_SECURITY
    ]


async def test_row_level_security_is_on_and_forced(tx: Tx) -> None:
    assert await unprotected(tx) == []


async def test_a_table_without_row_level_security_is_found(tx: Tx) -> None:
    await tx.execute("create table open_to_all (tenant_id uuid)")
    await tx.execute("alter table contacts no force row level security")
    assert set(await unprotected(tx)) == {"open_to_all", "contacts"}


async def test_policies_bind_what_is_read_and_what_is_written(tx: Tx) -> None:
    policies = await rows(tx, POLICIES)
    bound = {
        (table, role)
        for table, roles, cmd, reads, writes in policies
        for role in roles
        if cmd == "ALL" and reads and writes
    }
    for table in await tenant_tables(tx):
        assert (table, "outreach_app") in bound, table
        assert (table, "outreach_worker") in bound, table
    writing = [row for row in policies if row[2] in ("ALL", "INSERT", "UPDATE")]
    assert [row[0] for row in writing if not row[4]] == [], "a policy that writes has WITH CHECK"
    assert [row[0] for row in policies if "public" in row[1]] == [], "policies name their roles"


async def test_the_roles_own_nothing_and_may_not_log_in(tx: Tx) -> None:
    assert await rows(tx, OWNED, roles=list(ROLES)) == []
    rights = dict(await rows(tx, ROLE_RIGHTS, roles=list(ROLES)))
    assert rights == dict.fromkeys(ROLES, False)


async def test_functions_with_the_owners_rights_are_closed(tx: Tx) -> None:
    definers = [row for row in await rows(tx, DEFINERS) if "procrastinate" not in row[0]]
    assert definers
    assert [name for name, config, _ in definers if "search_path=" not in config] == []
    assert [name for name, _, is_public in definers if is_public] == []
    triggers = await rows(tx, TRIGGER_FUNCTIONS)
    assert [name for name, config in triggers if "search_path=" not in config] == []


async def test_a_function_open_to_everybody_is_found(tx: Tx) -> None:
    await tx.execute(
        "create function leak() returns bigint language sql security definer"
        " as $$ select count(*) from contacts $$"
    )
    (found,) = [row for row in await rows(tx, DEFINERS) if row[0] == "leak()"]
    assert found == ("leak()", "", True)


def test_each_migration_has_its_way_back() -> None:
    files = {path for path in tracked() if path.startswith("migrations/")}
    forward = {path for path in files if path.endswith(".sql") and path.count("/") == 1}
    forward -= {path for path in forward if path.endswith(".rollback.sql")}
    assert forward
    for path in forward:
        back = path.removesuffix(".sql") + ".rollback.sql"
        assert back in files, f"{path} needs {back}"
        assert read(back).strip()
    for path in sorted(files):
        if path.endswith(".py"):
            assert "rollback" in read(path), f"{path} cannot be taken back"
