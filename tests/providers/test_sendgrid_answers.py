"""What an answer is taken for, or none, against the sandbox and servers that know no HTTP."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from outreach.core.outcome import Accepted, Because, Rejected, Unknown
from outreach.dev.sandbox import Act, FaultOrder, SandboxServer, SandboxSettings, When
from outreach.providers.http1_connection import BODY_BYTES_MAX
from tests.providers.sendgrid_support import (
    GARBAGE,
    accept,
    hang,
    http,
    outcome_of,
    provider,
    raw,
    sandboxed,
    send,
)

# --- answers ----------------------------------------------------------------------------------


async def test_an_accepted_mail_brings_the_providers_id() -> None:
    async with sandboxed() as (client, sandbox):
        found = await send(client)

        (record,) = sandbox.accepted
        assert found == Accepted(record.message_id, 202)
        assert list(record.to) == ["sam@cust.example"]


async def test_connections_are_used_again() -> None:
    async with raw(accept) as (url, server), provider(url, send_connections=2) as client:
        for _ in range(5):
            assert isinstance(await send(client), Accepted)
        assert server.connections == 1
        assert len(server.requests) == 5


@pytest.mark.parametrize(
    ("statuses", "because"),
    [
        ((400, 404, 405, 406, 413, 415, 422, 451), Because.MESSAGE),
        ((401,), Because.ACCOUNT),
        ((403,), Because.SENDER),
        ((429,), Because.LATER),
    ],
)
async def test_a_refusal_is_a_refusal(statuses: tuple[int, ...], because: Because) -> None:
    async with sandboxed() as (client, sandbox):
        for status in statuses:
            sandbox.order(FaultOrder(status=status))
            found = await send(client)
            assert isinstance(found, Rejected)
            assert (found.because, found.http_status) == (because, status)
            assert found.detail.startswith(str(status))
        assert sandbox.accepted == []


@pytest.mark.parametrize("status", [200, 201, 204, 301, 302, 307, 308, 408, 500, 502, 503, 504])
async def test_another_answer_is_no_answer(status: int) -> None:
    async with sandboxed() as (client, sandbox):
        sandbox.order(FaultOrder(status=status))
        found = await send(client)
        assert isinstance(found, Unknown)
        assert found.http_status == status


async def test_a_redirect_is_not_followed() -> None:
    async with raw(accept) as (elsewhere, other):
        for status in ("301 Moved", "302 Found", "307 Temporary", "308 Permanent"):
            found = await outcome_of(http(status, b"", f"Location: {elsewhere}/v3/mail/send"))
            assert isinstance(found, Unknown)
        assert other.connections == 0


async def test_a_wrong_key_is_told_of_the_account() -> None:
    async with SandboxServer(SandboxSettings(api_key="SG.another")) as sandbox:
        async with provider(sandbox.url) as client:
            found = await send(client)
    assert isinstance(found, Rejected)
    assert found.because is Because.ACCOUNT


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("X-RateLimit-Reset: 1900000000", 3600),
        ("X-RateLimit-Reset:  1900000000 ", 3600),
        ("X-RateLimit-Reset: 0", 1),
        ("X-RateLimit-Reset: -5", 1),
        ("X-RateLimit-Reset: soon", None),
        ("X-RateLimit-Reset:", None),
        ("X-RateLimit-Reset: 1900000000.5", None),
        ("X-RateLimit-Reset: " + "9" * 30, None),
        ("X-RateLimit-Reset: " + "9" * 5000, None),
        ("X-RateLimit-Reset: Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("Retry-After: 120", 120),
        ("Retry-After: -5", 1),
        ("Retry-After: 1000000000", 3600),
        ("Retry-After: Fri, 01 Jan 2100 00:00:00 GMT", 3600),
        ("Retry-After: Sat, 01 Jan 2000 00:00:00 GMT", 1),
        ("Retry-After: garbage", None),
        ("X-Other: 1", None),
    ],
)
async def test_the_moment_of_a_429_is_read_within_bounds_or_left(
    header: str, seconds: int | None
) -> None:
    before = datetime.now(UTC)
    found = await outcome_of(http("429 Too Many Requests", b"", header))
    after = datetime.now(UTC)
    assert isinstance(found, Rejected)
    assert found.because is Because.LATER
    if seconds is None:
        assert found.retry_at is None
    else:
        assert found.retry_at is not None
        wait = timedelta(seconds=seconds)
        assert before + wait <= found.retry_at <= after + wait


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"errors":[{"message":"Bad  Request\\n","field":null}]}', "400 Bad Request"),
        (b'{"errors":[{"message":"one"},{"message":"two"}]}', "400 one; two"),
        (b"  <html><title>nginx</title></html>", "400"),
        (b"plain\r\nwords", "400 plain words"),
        (b"", "400"),
        (b"\xff\xfe", "400 \ufffd\ufffd"),
        (b"[]", "400 []"),
        (b'{"errors":null}', '400 {"errors":null}'),
        (b'{"errors":["x"]}', '400 {"errors":["x"]}'),
        (b'{"errors":{"message":"x"}}', '400 {"errors":{"message":"x"}}'),
        (b'{"errors":[]}', "400"),
    ],
)
async def test_what_the_provider_says_is_kept_short_and_on_one_line(
    body: bytes, detail: str
) -> None:
    assert await outcome_of(http("400 Bad Request", body)) == Rejected(Because.MESSAGE, 400, detail)


async def test_a_huge_answer_is_not_read() -> None:
    written = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()
            written += 65_536

    async with raw(flood) as (url, _), provider(url) as client:
        found = await send(client)

    assert isinstance(found, Rejected)
    assert len(found.detail) <= 500
    assert written < 100 * 1024 * 1024
    assert BODY_BYTES_MAX < 65_536


# --- no answer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", GARBAGE, ids=range(len(GARBAGE)))
async def test_an_unreadable_answer_is_unknown_or_what_its_status_says(answer: bytes) -> None:
    found = await outcome_of(answer)
    if answer.startswith(b"HTTP/1.1 400"):
        assert isinstance(found, Unknown | Rejected)
    else:
        assert isinstance(found, Unknown)
        assert found.detail


@pytest.mark.parametrize("when", When)
async def test_a_reset_is_unknown_whether_or_not_it_was_accepted(when: When) -> None:
    async with sandboxed() as (client, sandbox):
        sandbox.order(FaultOrder(act=Act.RESET, when=when))
        assert isinstance(await send(client), Unknown)
        assert len(sandbox.accepted) == (when is When.AFTER_ACCEPT)


async def test_a_server_that_takes_it_and_says_nothing_leaves_it_unknown() -> None:
    async with raw(hang) as (url, server), provider(url, send_deadline_seconds=1.0) as client:
        began = time.monotonic()
        found = await send(client, within_seconds=0.3)
        assert isinstance(found, Unknown)
        assert 1.0 <= time.monotonic() - began < 5.0
        assert len(server.requests) == 1


async def test_a_connection_that_died_while_idle_is_unknown_and_used_once() -> None:
    async with raw(accept) as (url, server), provider(url) as client:
        assert isinstance(await send(client), Accepted)
        server.drop_all()
        found = await send(client)
        assert isinstance(found, Unknown | Accepted)
        assert len(server.requests) <= 2
