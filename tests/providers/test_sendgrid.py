"""Every end that a request can come to, against the sandbox and servers that know no HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from outreach import config
from outreach.core.errors import Invalid
from outreach.core.mail import Mail
from outreach.core.outcome import Accepted, Because, NotSent, Outcome, Rejected, Unknown
from outreach.dev.sandbox import Act, FaultOrder, SandboxServer, SandboxSettings, When
from outreach.providers import sendgrid
from outreach.providers.sendgrid import ANSWER_BYTES_MAX, SendGrid
from tests.providers.test_sendgrid_mail import MAIL

KEY = "SG.kkkkkkkkkkkkkkkkkkkk.ssssssssssssssssssssssssssssssss"
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def provider(url: str, **given: object) -> AsyncIterator[SendGrid]:
    """A client of whoever listens there."""
    settings = config.load(sendgrid_base_url=url, sendgrid_api_key=KEY, **given)
    async with SendGrid(settings) as client:
        yield client


@asynccontextmanager
async def sandboxed(**given: object) -> AsyncIterator[tuple[SendGrid, SandboxServer]]:
    async with SandboxServer(SandboxSettings(api_key=KEY)) as sandbox:
        async with provider(sandbox.url, **given) as client:
            yield client, sandbox


class RawServer:
    """A server that does what it is told with each connection, and counts them and requests."""

    def __init__(self, answer: Answer) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self.called = asyncio.Event()
        self._answer = answer
        self._open: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            while True:
                self.requests.append(await read_request(reader))
                self.called.set()
                await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    def drop_all(self) -> None:
        for writer in self._open:
            writer.transport.abort()


@asynccontextmanager
async def raw(answer: bytes | Answer) -> AsyncIterator[tuple[str, RawServer]]:
    """Answers each request with these bytes and hangs up, or does as it is told."""

    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(answer, bytes)
        writer.write(answer)
        await writer.drain()
        writer.close()

    told = RawServer(say if isinstance(answer, bytes) else answer)
    server = await asyncio.start_server(told.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}", told
    finally:
        server.close()
        told.drop_all()
        await server.wait_closed()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    fields = [line.split(b":") for line in head.lower().split(b"\r\n")]
    (length,) = [int(field[1]) for field in fields if field[0] == b"content-length"]
    return head + await reader.readexactly(length)


async def send(client: SendGrid, mail: Mail = MAIL, *, within_seconds: float = 2.0) -> Outcome:
    return await client.send(mail, start_by=time.monotonic() + within_seconds)


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def outcome_of(answer: bytes) -> Outcome:
    async with raw(answer) as (url, server), provider(url) as client:
        found = await send(client)
        assert len(server.requests) == 1, "no request is made twice"
        return found


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read(1)  # until the client hangs up


# --- answers ----------------------------------------------------------------------------------


async def test_an_accepted_mail_brings_the_providers_id() -> None:
    async with sandboxed() as (client, sandbox):
        found = await send(client)

        (record,) = sandbox.accepted
        assert found == Accepted(record.message_id, 202)
        assert list(record.to) == ["sam@cust.example"]


async def test_connections_are_used_again() -> None:
    async with raw(_accept) as (url, server), provider(url, send_connections=2) as client:
        for _ in range(5):
            assert isinstance(await send(client), Accepted)
        assert server.connections == 1
        assert len(server.requests) == 5


async def _accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(http("202 Accepted", b"", "X-Message-Id: abc"))
    await writer.drain()


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
    async with raw(_accept) as (elsewhere, other):
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
    assert ANSWER_BYTES_MAX < 65_536


# --- no answer ---------------------------------------------------------------------------------

GARBAGE = [
    b"",
    b"\x00\x01\x02garbage\r\n\r\n",
    b"HTTP/1.1\r\n\r\n",
    b"HTTP/1.1 abc OK\r\n\r\n",
    b"HTTP/1.1 202 Acc",
    b"HTTP/1.1 202 Accepted\r\nX-Message-Id: half",
    b"HTTP/1.1 202 Accepted\r\nContent-Length: nonsense\r\n\r\n",
    b"HTTP/1.1 202 Accepted\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 100\r\n\r\nhalf",
    b"SSH-2.0-OpenSSH_9.2\r\n",
]


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
    async with raw(_accept) as (url, server), provider(url) as client:
        assert isinstance(await send(client), Accepted)
        server.drop_all()
        found = await send(client)
        assert isinstance(found, Unknown | Accepted)
        assert len(server.requests) <= 2


# --- no connection -----------------------------------------------------------------------------


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is bound and does not listen, so that nobody else can answer on it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


async def test_a_refused_connection_means_that_nothing_was_sent(closed_port: int) -> None:
    async with provider(f"http://127.0.0.1:{closed_port}") as client:
        assert isinstance(await send(client), NotSent)


async def test_a_name_that_does_not_resolve_means_that_nothing_was_sent() -> None:
    async with provider("https://provider.invalid") as client:
        found = await send(client)
    assert isinstance(found, NotSent)


async def test_a_server_without_tls_means_that_nothing_was_sent() -> None:
    async with raw(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (url, server):
        async with provider(url.replace("http:", "https:")) as client:
            found = await send(client, within_seconds=1.0)
        assert isinstance(found, NotSent)
        assert server.requests == []


async def test_what_is_too_late_is_not_begun() -> None:
    async with raw(_accept) as (url, server), provider(url) as client:
        assert isinstance(await send(client, within_seconds=0.0), NotSent)
        assert isinstance(await send(client, within_seconds=-5.0), NotSent)
        assert server.connections == 0
        assert isinstance(await send(client), Accepted), "and nothing is spoilt by it"


async def test_the_word_that_it_leaves_comes_before_the_body() -> None:
    seen: list[int] = []
    async with raw(_accept) as (url, server), provider(url) as client:
        start_by = time.monotonic() + 2.0
        found = await client.send(
            MAIL, start_by=start_by, leaving=lambda: seen.append(len(server.requests))
        )
    assert isinstance(found, Accepted)
    assert seen == [0]


async def test_what_may_not_leave_is_not_sent() -> None:
    def refuse() -> None:
        raise ValueError("the recorder is closed")

    async with raw(_accept) as (url, server), provider(url) as client:
        start_by = time.monotonic() + 2.0
        found = await client.send(MAIL, start_by=start_by, leaving=refuse)
        assert isinstance(found, NotSent)
        assert isinstance(await send(client), Accepted)
        assert len(server.requests) == 1, "only the second came whole"


async def test_a_process_that_stood_still_before_the_body_does_not_write_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after SIGSTOP and SIGCONT between the connection and the body."""
    moments = iter([0.0, 0.0])  # the first look and the measuring of the latency; then it is late

    def clock() -> float:
        return time.monotonic() + next(moments, 60.0)

    async with raw(_accept) as (url, server), provider(url) as client:
        monkeypatch.setattr(sendgrid, "monotonic", clock)
        assert await send(client) == NotSent("not begun in time")
        assert server.connections == 1
        assert server.requests == []


@pytest.mark.parametrize(("deadline_seconds", "within_seconds"), [(10.0, 0.3), (1.0, 1.3)])
async def test_waiting_too_long_for_a_free_connection_is_not_sent(
    deadline_seconds: float, within_seconds: float
) -> None:
    """Also where that wait may be longer than a request's own deadline."""
    given = {"send_connections": 1, "send_deadline_seconds": deadline_seconds}
    async with raw(hang) as (url, server), provider(url, **given) as client:
        first = asyncio.create_task(send(client, within_seconds=5.0))
        await server.called.wait()
        second = await send(client, within_seconds=within_seconds)
        assert isinstance(second, NotSent)
        assert len(server.requests) == 1
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


# --- the client --------------------------------------------------------------------------------


async def test_a_request_that_is_cancelled_leaves_the_client_whole() -> None:
    async with raw(hang) as (url, server), provider(url, send_connections=1) as client:
        room = client.room()
        task = asyncio.create_task(send(client))
        await server.called.wait()
        assert client.room() == room - 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.room() == room
    async with raw(_accept) as (url, _), provider(url) as client:
        assert isinstance(await send(client), Accepted)


async def test_room_shrinks_with_the_latency_that_is_seen() -> None:
    async with sandboxed(send_connections=10) as (client, sandbox):
        assert client.room() == 200, "ten connections at a twentieth of a second"
        sandbox.set_latency(300)
        await asyncio.gather(*(send(client, replace(MAIL, attempt=n)) for n in range(1, 11)))
        assert 10 <= client.room() < 120


async def test_the_key_is_sent_and_never_said(
    closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[Any] = []
    with structlog.testing.capture_logs() as entries, caplog.at_level("DEBUG"):
        async with raw(_accept) as (url, server), provider(url) as client:
            await send(client)
            said.append(repr(client))
        assert f"Authorization: Bearer {KEY}".encode() in server.requests[0]
        said += [await outcome_of(answer) for answer in GARBAGE]
        async with provider(f"http://127.0.0.1:{closed_port}") as client:
            said.append(await send(client))
    assert KEY not in repr((said, entries, caplog.text))
    assert KEY not in repr(config.load(sendgrid_api_key=KEY))
    assert KEY not in json.dumps(config.load(sendgrid_api_key=KEY).model_dump(mode="json"))


def test_without_a_key_there_is_no_client() -> None:
    settings = config.load().model_copy(update={"sendgrid_api_key": None})
    with pytest.raises(Invalid, match="SENDGRID_API_KEY"):
        SendGrid(settings)
    SendGrid(settings.model_copy(update={"sendgrid_api_key": SecretStr(KEY)}))
