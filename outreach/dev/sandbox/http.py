"""A small HTTP/1.1 server that can misbehave on purpose.

A web framework protects its programs from the socket; a stand-in needs the socket: to reset it, to
close it without a word, to hang. It must also stay out of the way when thousands of requests a
second are measured. So: one `asyncio.Protocol`, requests read whole, answers written in one piece.
Kept-alive connections, `Content-Length` and chunked bodies, `Expect: 100-continue`; no TLS.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Coroutine
from typing import Any, Protocol, assert_never, cast

from outreach.dev.sandbox.wire import (
    Answer,
    BadRequest,
    Cut,
    Drip,
    Drop,
    Garble,
    Hang,
    Head,
    Late,
    Reply,
    Request,
    answer_bytes,
    take_body,
    take_head,
)

PIPELINE_BYTES_MAX = 1024 * 1024


class Application(Protocol):
    """What the server asks; `handle` may answer at once or by a coroutine."""

    body_bytes_max: int

    def peek(self, method: str, path: str) -> Reply | None:
        """A reply that needs no body, decided when the head of a request is there."""

    def too_large(self) -> Answer:
        """The answer to a body over the limit."""

    def handle(self, request: Request) -> Reply | Coroutine[Any, Any, Reply]:
        """The reply to a whole request."""


class HttpServer:
    """Listens, and ends every connection and coroutine of its own when stopped."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[Reply]] = set()
        self._all_gone = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port; 0 asks for any that is free."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self), host, port, backlog=1024, reuse_address=True
        )
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Stop listening and end what is open, answered or not."""
        if self._server is None:
            return
        self._server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for connection in list(self.connections):
            connection.abort()
        while self.connections:
            self._all_gone.clear()
            await self._all_gone.wait()
        await self._server.wait_closed()
        self._server = None

    def gone(self, connection: "Connection") -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        if not self.connections:
            self._all_gone.set()


class Connection(asyncio.Protocol):
    """One client: reads a request, replies, reads the next."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._application = server.application
        self._buffer = bytearray()
        self._head: Head | None = None
        self._skip = 0
        self._busy = False
        self._paused = False
        self._last = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Reply] | None = None
        self._arrived = (0.0, 0.0)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports behave as asyncio.Transport without being of that class.
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self._server.gone(self)

    def data_received(self, data: bytes) -> None:
        if self._skip:
            self._discard(len(data))
            return
        if not self._buffer:
            self._arrived = (time.monotonic(), time.time())
        self._buffer += data
        if not self._busy:
            self._advance()
        elif len(self._buffer) > PIPELINE_BYTES_MAX and self._transport and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _advance(self) -> None:
        """Read and hand over requests until the buffer holds no whole one."""
        try:
            while self._buffer and not self._busy and self._transport is not None:
                request = self._next_request()
                if request is None:
                    return
                self._hand_over(self._application.handle(request))
        except BadRequest as problem:
            self._busy = True
            self._reply(Answer(400, str(problem).encode(), close=True))

    def _next_request(self) -> Request | None:
        if self._head is None:
            self._head = take_head(self._buffer)
            if self._head is None or self._greeted(self._head):
                return None
        head = self._head
        body = take_body(self._buffer, head.length, self._application.body_bytes_max)
        if body is None:
            return None
        self._head = None
        self._last = head.last
        monotonic, unix = self._arrived
        if self._buffer:
            self._arrived = (time.monotonic(), time.time())
        self._busy = True
        return Request(head.method, head.path, head.query, head.headers, body, monotonic, unix)

    def _greeted(self, head: Head) -> bool:
        """Whether the head alone settles the request."""
        early = self._application.peek(head.method, head.path)
        if early is not None:
            self._busy = True
            self._reply(early)
            return True
        if head.length is not None and head.length > self._application.body_bytes_max:
            self._busy = True
            # The rest is read and thrown away first: closing under a client that still writes
            # would reset the connection, and it would never see the answer.
            self._skip = head.length
            arrived = len(self._buffer)
            self._buffer.clear()
            self._discard(arrived)
            return True
        if "100-continue" in head.headers.get("expect", "") and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return False

    def _discard(self, count: int) -> None:
        self._skip = max(0, self._skip - count)
        if not self._skip:
            self._reply(self._application.too_large())

    def _hand_over(self, reply: Reply | Coroutine[Any, Any, Reply]) -> None:
        if isinstance(reply, Late | Hang):
            self._reply(reply)
            return
        self._task = asyncio.get_running_loop().create_task(reply)
        self._server.tasks.add(self._task)
        self._task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Reply]) -> None:
        self._server.tasks.discard(task)
        if task.cancelled():
            self.abort()
        elif task.exception() is not None:
            self.abort()
            task.result()
        else:
            self._reply(task.result())
            self._advance()

    def _reply(self, reply: Reply) -> None:
        if isinstance(reply, Hang):
            return
        if reply.delay_seconds > 0:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(reply.delay_seconds, self._reply_late, reply)
        else:
            self._write(reply)

    def _reply_late(self, reply: Late) -> None:
        self._timer = None
        self._write(reply)
        self._advance()

    def _write(self, reply: Late) -> None:
        transport = self._transport
        if transport is None:
            return
        match reply:
            case Answer():
                last = self._last or reply.close
                transport.write(answer_bytes(reply, last))
                self._end_answer(transport, last)
            case Drip():
                last = self._last or reply.answer.close
                self._drip(answer_bytes(reply.answer, last), reply.seconds, last)
            case Cut():
                transport.write(answer_bytes(reply.answer, last=False)[: reply.bytes_max])
                transport.close()
            case Garble():
                transport.write(reply.data)
                transport.close()
            case Drop(reset=True):
                # A linger of zero makes close() send RST and forget what was not yet sent.
                linger = struct.pack("ii", 1, 0)
                transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
                transport.abort()
            case Drop():
                transport.close()
            case _:
                assert_never(reply)

    def _drip(self, data: bytes, seconds: float, last: bool) -> None:
        """Send the first byte now, and the rest each so much later."""
        self._timer = None
        transport = self._transport
        if transport is None:
            return
        transport.write(data[:1])
        if len(data) > 1:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(seconds, self._drip, data[1:], seconds, last)
            return
        self._end_answer(transport, last)
        self._advance()

    def _end_answer(self, transport: asyncio.Transport, last: bool) -> None:
        if last:
            transport.close()
        else:
            self._ready_again(transport)

    def _ready_again(self, transport: asyncio.Transport) -> None:
        self._busy = False
        if self._paused:
            self._paused = False
            transport.resume_reading()
