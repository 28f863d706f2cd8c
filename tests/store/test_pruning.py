"""Which months of events the hot queries read, by PostgreSQL's own account of having run them.

Of several months the older ones must not be opened by what has a moment to go by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from outreach.db import Database
from outreach.store.enrollments import SQL as ENROLLMENTS
from outreach.store.events import SQL as EVENTS
from outreach.store.explain import SQL as EXPLAIN
from tests.support.factories import Message, run
from tests.support.stories import sent

OLD_MONTHS = 4
DEFAULT = "message_events_default"
MAKE_OLD_MONTH = """
do $$
declare
  start date := date_trunc('month', now() at time zone 'UTC') - make_interval(months => %s);
begin
  execute 'create table message_events_' || to_char(start, 'YYYY_MM')
    || ' partition of message_events for values from (' || quote_literal(start::text || '+00')
    || ') to (' || quote_literal((start + interval '1 month')::text || '+00') || ')';
end
$$
"""


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes_of(part)


async def read_by(db: Database, message: Message, query: str) -> dict[str, set[str]]:
    """The months that the query opened, each with how; the default partition apart."""
    params = {
        "tenant_id": message.tenant_id,
        "message_ids": [message.id],
        "events_max": 10,
        "contact_id": message.enrollment.contact_id,
        "campaign_id": None,
        "rows_max": 100,
        "providers": ["sendgrid"],
        "event_ids": ["1"],
        "enrollment_ids": [message.enrollment.id],
        "types": ["clicked"],
        "ats": [datetime.now(UTC)],
        "machines": [False],
        "machine_reasons": [None],
        "since": datetime.now(UTC) - timedelta(minutes=2),
        "until": datetime.now(UTC),
        "attempts": [1],
        "reasons": [None],
        "details": "[{}]",
    }
    async with db.connection() as connection, connection.transaction(force_rollback=True):
        return await _opened(connection, query, params)


async def _opened(
    connection: AsyncConnection[Any], query: str, params: dict[str, Any]
) -> dict[str, set[str]]:
    await connection.execute("set local enable_seqscan = off")  # as of tables that are not empty
    explain = f"explain (analyze, format json) {query}".encode()
    row = await (await connection.execute(explain, params)).fetchone()
    assert row is not None
    found: dict[str, set[str]] = {}
    for node in nodes_of(row[0][0]["Plan"]):
        name = str(node.get("Relation Name", ""))
        is_scan = "Scan" in node["Node Type"] and node["Actual Loops"]
        if name.startswith("message_events_") and name != DEFAULT and is_scan:
            found.setdefault(name, set()).add(node["Node Type"])
    return found


@pytest.fixture
async def message(db: Database) -> Message:
    """Sent ten days ago, in a database with older months beside it."""
    for months in range(2, 2 + OLD_MONTHS):
        async with db.connection() as connection:
            await connection.execute(MAKE_OLD_MONTH.replace("%s", str(months)).encode())
    message = await sent(db, age=timedelta(days=10))
    await run(
        db,
        "insert into message_events (tenant_id, provider, provider_event_id, outbound_message_id,"
        " enrollment_id, event_type, event_at)"
        " select %(t)s, 'sendgrid', n::text, %(m)s, %(e)s, 'clicked', now() - n * interval '1 day'"
        " from generate_series(0, 9) n",
        t=message.tenant_id,
        m=message.id,
        e=message.enrollment.id,
    )
    return message


async def test_what_has_a_moment_to_go_by_opens_no_older_month(
    db: Database, message: Message
) -> None:
    oldest = f"message_events_{datetime.now(UTC) - timedelta(days=11):%Y_%m}"
    engagement = EVENTS["list_engagement"]
    for query in (ENROLLMENTS["list_history"], EXPLAIN["list_mail_story"], engagement):
        opened = await read_by(db, message, query)
        assert opened, "it reads events"
        assert min(opened) >= oldest
    assert await read_by(db, message, EVENTS["insert_events"]) == {}, "a repeat is found by key"


async def test_the_watch_over_the_provider_opens_what_it_asks_about(
    db: Database, message: Message
) -> None:
    """`sends_told` is a function, whose plan nobody sees: its text is asked by itself."""
    ((text,),) = await run(db, "select prosrc from pg_proc where proname = 'sends_told'")
    for name, value in (("since", "'12 days'"), ("until", "'0 days'")):
        text = re.sub(rf"\b{name}\b", f"(now() - interval {value})", text)
    opened = await read_by(db, message, re.sub(r"\brows_max\b", "100", text))
    oldest = f"message_events_{datetime.now(UTC) - timedelta(days=13):%Y_%m}"
    assert opened
    assert min(opened) >= oldest
