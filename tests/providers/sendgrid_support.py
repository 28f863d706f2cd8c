"""Clients of the sandbox and of servers that know no HTTP, and what those may answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from outreach import config
from outreach.core.mail import Mail
from outreach.core.outcome import Outcome
from outreach.dev.sandbox import SandboxServer, SandboxSettings
from outreach.providers.sendgrid import SendGrid
from tests.providers.test_sendgrid_mail import MAIL

KEY = "SG.kkkkkkkkkkkkkkkkkkkk.ssssssssssssssssssssssssssssssss"
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
GARBAGE = [
    b"",
    b"\x00\x01\x02garbage\r\n\r\n",
    b"HTTP/1.1\r\n\r\n",
    b"HTTP/1.1 abc OK\r\n\r\n",
    b"HTTP/1.1 202 Acc",
    b"HTTP/1.1 202 Accepted\r\nX-Message-Id: half",
    b"HTTP/1.1 202 Accepted\r\nContent-Length: nonsense\r\n\r\n",
    b"HTTP/1.1 202 Accepted\r\nX: " + b"y" * 100_000,
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 100\r\n\r\nhalf",
    b"SSH-2.0-OpenSSH_9.2\r\n",
]


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


async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(http("202 Accepted", b"", "X-Message-Id: abc"))
    await writer.drain()
