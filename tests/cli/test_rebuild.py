"""`outreach rebuild --check`: what was compared, what differs, and the exit code."""

from __future__ import annotations

import asyncio
import json

import pytest

from outreach.db import Database
from tests.cli.commands import answer, outreach, refusal
from tests.support.factories import enroll, make_campaign, make_sent, make_tenant, run


@pytest.fixture
def damaged(conninfo: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """`sound` with a mail, `bent` with two of which events never told what is stored."""
    monkeypatch.setenv("DATABASE_URL", conninfo)
    monkeypatch.delenv("DATABASE_DIRECT_URL", raising=False)

    async def work() -> str:
        async with Database.at(conninfo) as db:
            sound = await make_campaign(db, await make_tenant(db, "sound"))
            await make_sent(db, await enroll(db, sound))
            bent = await make_campaign(db, await make_tenant(db, "bent"))
            ids = [str((await make_sent(db, await enroll(db, bent))).id) for _ in range(2)]
            await run(
                db,
                "update outbound_messages set delivery = 'delivered' where tenant_id = %(t)s",
                t=bent.tenant_id,
            )
            return min(ids)

    return asyncio.run(work())


def test_what_differs_is_told_and_is_a_failure(damaged: str) -> None:
    result = outreach("rebuild", "--check", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["compared"], len(found["different"])) == (1, 9, 2)
    assert {
        "tenant": "bent",
        "kind": "message",
        "id": damaged,
        "field": "delivery",
        "stored": "delivered",
        "derived": "none",
    } in found["different"]
    told = outreach("rebuild", "--check", "--tenant", "bent", "--limit", "1")
    assert (told.exit_code, len(told.stdout.splitlines())) == (1, 2), "a heading and one"


def test_a_tenant_that_is_sound_passes(damaged: str) -> None:
    assert answer("rebuild", "--check", "--tenant", "sound") == {"compared": 3, "different": []}
    result = outreach("rebuild", "--check", "--tenant", "sound")
    assert result.stdout == "3 compared, and nothing differs.\n"


def test_without_check_or_for_nobody_it_is_wrong_usage(damaged: str) -> None:
    assert "--check" in refusal("rebuild", code=2)
    assert "nobody" in refusal("rebuild", "--check", "--tenant", "nobody", code=2)
