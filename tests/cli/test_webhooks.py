"""`outreach webhooks replay`: what was received, once more."""

from __future__ import annotations

import asyncio
import json

import pytest
from typer.testing import CliRunner

from outreach.cli import webhooks
from outreach.db import Database
from tests.support.workers import leave_body


async def leave_two(conninfo: str) -> None:
    async with Database.at(conninfo) as db:
        await leave_body(db)
        await leave_body(db)


async def test_it_replays_what_the_times_include(
    monkeypatch: pytest.MonkeyPatch, conninfo: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", conninfo)
    await leave_two(conninfo)

    def replayed(*options: str) -> int:
        result = CliRunner().invoke(webhooks.app, ["replay", "--json", *options])
        assert result.exit_code == 0, result.output
        return int(json.loads(result.stdout)["replayed"])

    assert await asyncio.to_thread(replayed) == 2
    assert await asyncio.to_thread(replayed) == 2, "again, and nothing is different"
    assert await asyncio.to_thread(replayed, "--since", "2001-01-01T00:00:00Z") == 2
    assert await asyncio.to_thread(replayed, "--until", "2001-01-01") == 0


def test_a_time_that_is_none_is_wrong_usage(monkeypatch: pytest.MonkeyPatch, conninfo: str) -> None:
    monkeypatch.setenv("DATABASE_URL", conninfo)
    result = CliRunner().invoke(webhooks.app, ["replay", "--since", "yesterday"])
    assert result.exit_code == 2
    assert "--since" in result.stderr
