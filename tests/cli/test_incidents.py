"""`outreach incidents` as operators see it: alarms of everybody, closed with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import psycopg
import pytest

from outreach.db import Database, Role
from outreach.store.incidents import Incident, raise_incidents
from tests.cli.commands import answer, outreach, refusal
from tests.support.factories import make_tenant

DOUBLE = Incident("double_send", str(UUID(int=7)), {"attempts": [1, 2]})
OUTAGE = Incident("provider_outage", "sendgrid")


@pytest.fixture
def tenants(conninfo: str, monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """`acme` with two alarms, `other` with one."""
    monkeypatch.setenv("DATABASE_URL", conninfo)
    monkeypatch.delenv("DATABASE_DIRECT_URL", raising=False)

    async def both() -> list[UUID]:
        async with Database.at(conninfo) as db:
            return [await make_tenant(db, slug) for slug in ("acme", "other")]

    ids = asyncio.run(both())
    raised(conninfo, ids[0], [DOUBLE, OUTAGE])
    raised(conninfo, ids[1], [OUTAGE])
    return ids


def raised(conninfo: str, tenant_id: UUID, incidents: Sequence[Incident]) -> None:
    async def work() -> None:
        async with Database.at(conninfo) as db, db.transaction(Role.WORKER, tenant_id) as tx:
            await raise_incidents(tx, tenant_id, incidents)

    asyncio.run(work())


def test_everybodys_alarms_are_listed_and_one_tenants(tenants: list[UUID]) -> None:
    found = answer("incidents", "list")["data"]
    assert sorted((one["tenant"], one["code"]) for one in found) == [
        ("acme", "double_send"),
        ("acme", "provider_outage"),
        ("other", "provider_outage"),
    ]
    (one,) = answer("incidents", "list", "--tenant", "other")["data"]
    assert (one["subject"], one["closed_at"], one["detail"]) == ("sendgrid", None, {})
    assert "at tries 1, 2" in outreach("incidents", "list").stdout
    assert "incidents list" in outreach("doctor").stdout
    assert "no tenant" in refusal("incidents", "list", "--tenant", "nobody", code=2)


def test_one_that_was_seen_to_is_closed_and_open_again_when_it_happens_again(
    tenants: list[UUID], conninfo: str
) -> None:
    (one,) = answer("incidents", "list", "--tenant", "other")["data"]
    close = ("incidents", "close", one["id"], "--reason", "Their status page says so.")
    assert answer(*close) == {"id": one["id"], "was_open": True}
    assert answer("incidents", "list", "--tenant", "other")["data"] == []
    (closed,) = answer("incidents", "list", "--tenant", "other", "--all")["data"]
    assert closed["closed_at"] is not None
    assert answer(*close) == {"id": one["id"], "was_open": False}
    assert len(answer("incidents", "list", "--tenant", "acme")["data"]) == 2, "nobody else's"

    with psycopg.connect(conninfo) as connection:
        acts = connection.execute(
            "select tenant_id, reason, detail ->> 'code' from audit_log"
            " where act = 'incident_closed'"
        ).fetchall()
    assert acts == [(tenants[1], "Their status page says so.", "provider_outage")]

    raised(conninfo, tenants[1], [OUTAGE])
    (again,) = answer("incidents", "list", "--tenant", "other")["data"]
    assert again["id"] == one["id"]


@pytest.mark.parametrize("id_", [str(UUID(int=3)), "nonsense"])
def test_what_is_not_there_is_said_so(tenants: list[UUID], id_: str) -> None:
    assert "no incident" in refusal("incidents", "close", id_, "--reason", "r", code=2)


def test_a_reason_is_asked_for(tenants: list[UUID]) -> None:
    (one,) = answer("incidents", "list", "--tenant", "other")["data"]
    refusal("incidents", "close", one["id"], "--reason", "  ", code=2)
    refusal("incidents", "close", one["id"], code=2)
    assert len(answer("incidents", "list", "--tenant", "other")["data"]) == 1
