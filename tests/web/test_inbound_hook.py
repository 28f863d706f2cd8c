"""Mails in: who may hand them on, what is kept, and that nothing that may be a mail gets a 4xx."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, LiteralString

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from outreach.db import Database
from outreach.web.hooks import inbound
from tests.support.mails import FORM_TYPE, form
from tests.support.web import public_key, running, signed

PATH = "/webhooks/sendgrid/inbound"
TOKEN = "a-token-of-more-than-sixteen"
MAIL = b"From: ann@cust.example\r\nSubject: Re: hi\r\n\r\nYes.\r\n"
TYPED = {"content-type": FORM_TYPE}
WITH_TOKEN: dict[str, Any] = {"inbound_tokens": (TOKEN,)}
WITH_KEY: dict[str, Any] = {"sendgrid_inbound_public_keys": (public_key(),)}
ROWS: LiteralString = "select state::text, problem, raw, raw_length from inbound_messages"


async def ask(conninfo: str, query: LiteralString = ROWS) -> list[tuple[Any, ...]]:
    connection = await psycopg.AsyncConnection.connect(conninfo)
    async with connection:
        return await (await connection.execute(query)).fetchall()


async def test_a_mail_is_kept_and_announced_before_it_is_answered(
    db: Database, conninfo: str
) -> None:
    async with running(db, **WITH_TOKEN) as client:
        response = await client.post(f"{PATH}/{TOKEN}", content=form(MAIL), headers=TYPED)
        assert response.is_success
    assert await ask(conninfo) == [("received", None, MAIL, len(MAIL))]
    envelope = await ask(conninfo, "select envelope from inbound_messages")
    assert envelope == [({"to": ["r@in.acme.example"], "from": "ann@cust.example"},)]
    jobs = await ask(conninfo, "select task_name from procrastinate_jobs where status = 'todo'")
    assert jobs == [("apply_replies",)]


async def test_the_same_mail_is_kept_once_whatever_the_form(db: Database, conninfo: str) -> None:
    async with running(db, **WITH_TOKEN) as client:
        for body in (form(MAIL), form(MAIL), form(MAIL, sender="bob@cust.example")):
            response = await client.post(f"{PATH}/{TOKEN}", content=body, headers=TYPED)
            assert response.is_success
        assert len(await ask(conninfo)) == 1
        other = form(MAIL, to="u@in.acme.example")
        assert (await client.post(f"{PATH}/{TOKEN}", content=other, headers=TYPED)).is_success
    assert len(await ask(conninfo)) == 2


@pytest.mark.parametrize("path", [PATH, f"{PATH}/", f"{PATH}/wrong", f"{PATH}/{TOKEN}x"])
async def test_without_the_token_nobody_hands_on_mail(
    db: Database, conninfo: str, path: str
) -> None:
    async with running(db, **WITH_TOKEN) as client:
        response = await client.post(path, content=form(MAIL), headers=TYPED)
    assert response.status_code in (401, 404, 307)
    assert await ask(conninfo) == []


async def test_while_tokens_change_both_are_good(db: Database) -> None:
    async with running(db, inbound_tokens=("another-token-of-many", TOKEN)) as client:
        for token in ("another-token-of-many", TOKEN):
            response = await client.post(f"{PATH}/{token}", content=form(MAIL), headers=TYPED)
            assert response.is_success


async def test_with_a_key_the_signature_counts_and_no_token(db: Database, conninfo: str) -> None:
    body = form(MAIL)
    other = ec.generate_private_key(ec.SECP256R1())
    forgeries = (
        {},
        signed(body, key=other),
        signed(b"another body"),
        signed(body, ago_seconds=74 * 3600),
        signed(body, ago_seconds=-400),
    )
    async with running(db, **WITH_KEY, **WITH_TOKEN) as client:
        for path in (PATH, f"{PATH}/{TOKEN}"):
            for headers in forgeries:
                response = await client.post(path, content=body, headers={**headers, **TYPED})
                assert response.status_code == 401
        assert await ask(conninfo) == []
        late = {**signed(body, ago_seconds=72 * 3600), **TYPED}
        assert (await client.post(PATH, content=body, headers=late)).is_success
    assert len(await ask(conninfo)) == 1
    counted = await ask(conninfo, "select webhooks_refused from installation")
    assert counted == [(len(forgeries) * 2,)]


async def test_what_is_not_set_up_asks_for_another_try(db: Database) -> None:
    async with running(db) as client:
        response = await client.post(PATH, content=form(MAIL), headers=TYPED)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", FORM_TYPE),
        (b"\x00\xff", "application/octet-stream"),
        (b"text=parsed+mode", "application/x-www-form-urlencoded"),
        (form(MAIL).replace(b'"email"', b'"text"'), FORM_TYPE),
    ],
)
async def test_what_is_no_mail_is_kept_and_set_aside(
    db: Database, conninfo: str, body: bytes, kind: str
) -> None:
    async with running(db, **WITH_TOKEN) as client:
        headers = {"content-type": kind}
        response = await client.post(f"{PATH}/{TOKEN}", content=body, headers=headers)
    assert response.is_success
    assert await ask(conninfo) == [("quarantined", inbound.NO_MAIL, body, len(body))]


async def test_of_a_long_mail_the_head_is_kept(db: Database, conninfo: str) -> None:
    mail = MAIL + b"x" * 200_000
    given = {**WITH_TOKEN, "inbound_kept_bytes_max": 16 * 1024}
    async with running(db, **given) as client:
        response = await client.post(f"{PATH}/{TOKEN}", content=form(mail), headers=TYPED)
    assert response.is_success
    assert await ask(conninfo) == [("received", None, mail[: 16 * 1024], len(mail))]


@pytest.mark.parametrize("is_announced", [True, False])
async def test_a_body_has_a_bound(db: Database, conninfo: str, is_announced: bool) -> None:
    body = form(MAIL + b"x" * 70_000)

    async def in_parts() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 9_999):
            yield body[start : start + 9_999]

    given = {**WITH_TOKEN, "inbound_body_bytes_max": 64 * 1024}
    async with running(db, **given) as client:
        content = body if is_announced else in_parts()
        response = await client.post(f"{PATH}/{TOKEN}", content=content, headers=TYPED)
    assert response.status_code == 413
    assert await ask(conninfo) == []


async def test_a_slow_body_asks_for_another_try(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbound, "BODY_SECONDS_MAX", 0.05)
    never = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield b"--xYzZY\r\n"
        await never.wait()

    async with running(db, **WITH_TOKEN) as client:
        post = client.post(f"{PATH}/{TOKEN}", content=stalling(), headers=TYPED)
        response = await asyncio.wait_for(post, 20)
    assert response.status_code == 503


async def test_more_at_once_than_there_is_room_for_come_again(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbound, "AT_ONCE_MAX", 1)
    is_in, go_on = asyncio.Event(), asyncio.Event()

    async def waiting() -> AsyncIterator[bytes]:
        is_in.set()
        await go_on.wait()
        yield form(MAIL)

    async with running(db, **WITH_TOKEN) as client:
        first = asyncio.create_task(
            client.post(f"{PATH}/{TOKEN}", content=waiting(), headers=TYPED)
        )
        await is_in.wait()
        second = await client.post(f"{PATH}/{TOKEN}", content=form(MAIL), headers=TYPED)
        assert second.status_code == 503
        go_on.set()
        assert (await first).is_success


async def test_what_cannot_be_written_asks_for_another_try(db: Database, conninfo: str) -> None:
    connection = await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
    async with connection, running(db, **WITH_TOKEN) as client:
        await connection.execute("revoke insert on inbound_messages from outreach_app")
        response = await client.post(f"{PATH}/{TOKEN}", content=form(MAIL), headers=TYPED)
        assert response.status_code == 503
        await connection.execute("grant insert on inbound_messages to outreach_app")
        response = await client.post(f"{PATH}/{TOKEN}", content=form(MAIL), headers=TYPED)
        assert response.is_success
    assert len(await ask(conninfo)) == 1
