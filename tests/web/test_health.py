from __future__ import annotations

from typing import Any

import pytest

from outreach.db import Database
from outreach.migrate import migrate, rollback
from tests.support.factories import run
from tests.support.web import running


async def ready(db: Database) -> tuple[int, Any]:
    async with running(db) as client:
        response = await client.get("/readyz")
        assert response.headers["cache-control"] == "no-store"
        assert ("retry-after" in response.headers) == (response.status_code == 503)
        return response.status_code, response.json()


def not_ready(schema: str) -> tuple[int, Any]:
    return 503, {"status": "not_ready", "parts": {"database": "ok", "schema": schema}}


async def test_with_a_current_schema_it_is_ready(db: Database) -> None:
    parts = {"database": "ok", "schema": "ok"}
    assert await ready(db) == (200, {"status": "ok", "parts": parts})


async def test_in_an_empty_database_it_is_alive_and_not_ready(empty_conninfo: str) -> None:
    async with Database.at(empty_conninfo) as db:
        assert await ready(db) == not_ready("behind")
        async with running(db) as client:
            response = await client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_a_schema_that_is_behind_is_said_until_it_is_not(db: Database, conninfo: str) -> None:
    rollback(conninfo, to="0006")
    assert await ready(db) == not_ready("behind")
    migrate(conninfo)
    assert (await ready(db))[0] == 200


async def test_an_applied_migration_that_differs_from_ours_is_said(db: Database) -> None:
    await run(db, "update schema_marks set sha256 = sha256('x') where id like %(id)s", id="0003%")
    assert await ready(db) == not_ready("edited")


async def test_a_newer_database_is_good_for_older_code(db: Database) -> None:
    await run(
        db,
        "insert into schema_marks (id, sha256, applied_at)"
        " values ('9999.later', sha256('x'), now())",
    )
    assert (await ready(db))[0] == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_health_asks_nobody(method: str) -> None:
    never_opened = Database.at("postgresql://nobody@/nothing?host=/nowhere")
    async with running(never_opened) as client:
        assert (await client.request(method, "/healthz")).status_code == 200
