"""Bad bodies beside good ones: who is turned away leaves no row, who is let in is kept once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, LiteralString

import httpx2
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from outreach.db import Database
from outreach.web.hooks import sendgrid
from tests.support.waiting import eventually
from tests.support.web import KEY, PATH, public_key, running, signed

BODY = b'[{"event":"open","sg_event_id":"1"}]\r\n'
OTHER = ec.generate_private_key(ec.SECP256R1())


async def ask(conninfo: str, query: LiteralString) -> list[tuple[Any, ...]]:
    connection = await psycopg.AsyncConnection.connect(conninfo)
    async with connection:
        return await (await connection.execute(query)).fetchall()


async def rows(conninfo: str) -> int:
    found: int = (await ask(conninfo, "select count(*) from webhook_deliveries"))[0][0]
    return found


async def refused(conninfo: str) -> int:
    found: int = (await ask(conninfo, "select webhooks_refused from installation"))[0][0]
    return found


async def test_a_good_body_is_kept_before_it_is_answered(db: Database, conninfo: str) -> None:
    async with running(db) as client:
        response = await client.post(PATH, content=BODY, headers=signed(BODY))
        assert response.is_success
        assert await ask(
            conninfo, "select provider, payload, state::text from webhook_deliveries"
        ) == [("sendgrid", BODY, "received")]
    assert await refused(conninfo) == 0


async def test_repeats_are_2xx_and_one_row(db: Database, conninfo: str) -> None:
    async with running(db) as client:
        for ago in (0, 0, 60, 3600):
            headers = signed(BODY, ago_seconds=ago)
            assert (await client.post(PATH, content=BODY, headers=headers)).is_success
    assert await rows(conninfo) == 1


@pytest.mark.parametrize("garbage", [b"", b"not json", b"{}", b"[1]", b"\x00\xff", b"[" * 4000])
async def test_signed_garbage_is_kept_too(db: Database, conninfo: str, garbage: bytes) -> None:
    async with running(db) as client:
        response = await client.post(PATH, content=garbage, headers=signed(garbage))
    assert response.is_success
    assert await ask(conninfo, "select payload from webhook_deliveries") == [(garbage,)]


async def test_what_is_not_truly_signed_is_turned_away_and_counted(
    db: Database, conninfo: str
) -> None:
    good = signed(BODY)
    forgeries = {
        "unsigned": {},
        "half signed": {name: good[name] for name in good if "signature" in name},
        "another's key": signed(BODY, key=OTHER),
        "another's body": signed(b"[]"),
        "too old": signed(BODY, ago_seconds=90_010),
        "from the future": signed(BODY, ago_seconds=-400),
    }
    async with running(db) as client:
        for name, headers in forgeries.items():
            response = await client.post(PATH, content=BODY, headers=headers)
            assert response.status_code == 401, name
            assert response.headers["content-type"] == "application/problem+json"
            assert set(response.json()) == {"type", "title", "status", "detail"}
        for headers in (signed(BODY, ago_seconds=89_900), signed(BODY, ago_seconds=-200)):
            assert (await client.post(PATH, content=BODY, headers=headers)).is_success
    assert await refused(conninfo) == len(forgeries)
    assert await rows(conninfo) == 1


async def test_without_a_key_nothing_is_let_in(db: Database, conninfo: str) -> None:
    async with running(db, sendgrid_webhook_public_keys=()) as client:
        response = await client.post(PATH, content=BODY, headers=signed(BODY))
    assert response.status_code == 401
    assert (await rows(conninfo), await refused(conninfo)) == (0, 1)


async def test_during_a_rotation_both_keys_are_let_in(db: Database, conninfo: str) -> None:
    keys = (public_key(KEY), public_key(OTHER))
    async with running(db, sendgrid_webhook_public_keys=keys) as client:
        for key in (KEY, OTHER):
            response = await client.post(PATH, content=BODY, headers=signed(BODY, key=key))
            assert response.is_success
    assert await rows(conninfo) == 1


async def test_the_count_of_a_flood_is_written_by_the_handful(conninfo: str) -> None:
    async with Database.at(conninfo) as db, running(db) as client:
        await asyncio.gather(*(client.post(PATH, content=BODY) for _ in range(200)))
    assert await refused(conninfo) == 200

    # A session reports what it did when it ends.
    async def updates() -> int:
        query: LiteralString = (
            "select n_tup_upd from pg_stat_user_tables where relname = 'installation'"
        )
        return int((await ask(conninfo, query))[0][0])

    await eventually(updates)
    assert await updates() < 5


@pytest.mark.parametrize("length", [4096, 4097, 100_000])
@pytest.mark.parametrize("is_announced", [True, False])
async def test_a_body_has_a_bound(
    db: Database, conninfo: str, length: int, is_announced: bool
) -> None:
    body = b"[" + b" " * (length - 2) + b"]"

    async def in_parts() -> AsyncIterator[bytes]:
        for start in range(0, length, 1000):
            yield body[start : start + 1000]

    async with running(db) as client:
        content = body if is_announced else in_parts()
        response = await client.post(PATH, content=content, headers=signed(body))
    assert response.status_code == (200 if length <= 4096 else 413)
    assert await rows(conninfo) == (1 if length <= 4096 else 0)


async def test_a_body_that_is_too_large_is_not_read_to_its_end(db: Database) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b" " * 1000

    async with running(db) as client:
        response = await asyncio.wait_for(client.post(PATH, content=endless()), 20)
    assert response.status_code == 413
    assert read < 10


async def test_a_body_that_never_ends_is_not_waited_for(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sendgrid, "BODY_SECONDS_MAX", 0.05)
    never = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield b"["
        await never.wait()

    async with running(db) as client:
        response = await asyncio.wait_for(client.post(PATH, content=stalling()), 20)
    assert response.status_code == 408


async def test_a_database_that_is_away_is_a_503_and_good_again_later(conninfo: str) -> None:
    async with Database.at(conninfo, timeout_seconds=0.3, size_max=2) as db, running(db) as client:
        name = str(conninfo_to_dict(conninfo)["dbname"])
        elsewhere = make_conninfo(conninfo, dbname="postgres")
        owner = await psycopg.AsyncConnection.connect(elsewhere, autocommit=True)
        async with owner:
            await owner.execute(f"alter database {name} allow_connections false".encode())
            await owner.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name]
            )
            response = await client.post(PATH, content=BODY, headers=signed(BODY))
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) > 0
            assert response.headers["content-type"] == "application/problem+json"
            assert (await client.post(PATH, content=BODY)).status_code == 401
            assert (await client.get("/healthz")).status_code == 200
            ready = await client.get("/readyz")
            assert ready.status_code == 503
            assert ready.json()["parts"] == {"database": "away", "schema": "unknown"}
            await owner.execute(f"alter database {name} allow_connections true".encode())

        async def is_back() -> bool:
            again = await client.post(PATH, content=BODY, headers=signed(BODY))
            return again.is_success

        await eventually(is_back)
    assert await rows(conninfo) == 1


async def test_what_cannot_be_written_is_a_503(db: Database, conninfo: str) -> None:
    connection = await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
    async with connection, running(db) as client:
        await connection.execute("revoke insert on webhook_deliveries from outreach_app")
        response = await client.post(PATH, content=BODY, headers=signed(BODY))
        assert response.status_code == 503
        await connection.execute("grant insert on webhook_deliveries to outreach_app")
        response = await client.post(PATH, content=BODY, headers=signed(BODY))
        assert response.is_success


async def test_only_post_is_for_webhooks(db: Database) -> None:
    async with running(db) as client:
        response: httpx2.Response = await client.get(PATH)
    assert response.status_code == 405
    assert response.headers["content-type"] == "application/problem+json"
