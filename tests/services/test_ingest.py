from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg
import pytest

from outreach.core.errors import Unavailable
from outreach.db import Database
from outreach.services.ingest import count_refused, ingest

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BODY = b'[{"event":"open"}]\r\n'


async def ask(conninfo: str, query: LiteralString) -> list[tuple[Any, ...]]:
    connection = await psycopg.AsyncConnection.connect(conninfo)
    async with connection:
        return await (await connection.execute(query)).fetchall()


async def test_a_body_is_kept_as_it_came_and_the_applier_woken(db: Database, conninfo: str) -> None:
    assert await ingest(db, "sendgrid", BODY, AT)
    assert await ask(
        conninfo, "select provider, payload, signed_at, state::text from webhook_deliveries"
    ) == [("sendgrid", BODY, AT, "received")]
    assert await ask(conninfo, "select task_name from procrastinate_jobs") == [("apply_events",)]


async def test_repeats_are_one_row_even_at_once_and_with_a_newer_timestamp(
    db: Database, conninfo: str
) -> None:
    later = [AT + timedelta(seconds=n) for n in range(8)]
    assert sum(await asyncio.gather(*(ingest(db, "sendgrid", BODY, at) for at in later))) == 1
    assert not await ingest(db, "sendgrid", BODY, AT)
    assert await ask(conninfo, "select count(*) from webhook_deliveries") == [(1,)]


async def test_another_providers_same_body_is_another_delivery(db: Database, conninfo: str) -> None:
    assert await ingest(db, "sendgrid", BODY, AT)
    assert await ingest(db, "outreach", BODY, AT)


async def test_bytes_that_are_no_text_are_kept_too(db: Database, conninfo: str) -> None:
    assert await ingest(db, "sendgrid", b"\x00\xff", AT)
    assert await ask(conninfo, "select payload from webhook_deliveries") == [(b"\x00\xff",)]


async def test_what_is_turned_away_is_only_counted(db: Database, conninfo: str) -> None:
    await count_refused(db, 1)
    await count_refused(db, 5)
    assert await ask(conninfo, "select webhooks_refused from installation") == [(6,)]
    assert await ask(conninfo, "select count(*) from webhook_deliveries") == [(0,)]


async def test_a_database_that_is_away_says_so(db: Database, conninfo: str) -> None:
    gone = conninfo.replace("/test_", "/gone_")
    async with Database.at(gone, timeout_seconds=0.2) as away:
        with pytest.raises(Unavailable):
            await ingest(away, "sendgrid", BODY, AT)
