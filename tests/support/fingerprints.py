"""One hash of all that a database remembers, to see whether anything has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from psycopg import sql

from outreach.db import Database
from tests.support.factories import run

# Every table of ours that is no partition; the queue's are about who was woken.
TABLES = """
select c.relname from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
  and c.relname not like 'procrastinate%%'
order by 1
"""
ROWS = """
select coalesce(string_agg(line, chr(10) order by line), '') from (
  select coalesce((
    select jsonb_object_agg(key, value) from jsonb_each(to_jsonb(t))
    where not %(alike)s::bool or not (
      (key like '%%\\_at' and key <> 'event_at')
      or key = 'delivery_id' or (key = 'id' and %(table)s::text = any (%(made)s::text[]))
    )
  ), '{{}}')::text as line
  from {table} t
) lines
"""
# Rows whose ids are made anew each time.
MADE = [
    "message_events",
    "campaign_transitions",
    "scheduled_actions",
    "suppressions",
    "send_holds",
    "send_refusals",
    "incidents",
    "unmatched_events",
]


async def fingerprints(
    db: Database, *, alike: bool = False, without: Collection[str] = ()
) -> dict[str, str]:
    """A hash of all rows of each table; `alike`: but for ids made anew and our own moments."""
    found = {}
    for (table,) in await run(db, TABLES):
        if table in without:
            continue
        query = sql.SQL(ROWS).format(table=sql.Identifier(table))
        params = {"alike": alike, "table": table, "made": MADE}
        async with db.connection() as connection:
            row = await (await connection.execute(query, params)).fetchone()
        assert row is not None
        found[table] = hashlib.sha256(row[0].encode()).hexdigest()
    return found
