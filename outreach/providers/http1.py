"""HTTP/1.1 POSTs over kept-alive connections, where each knows whether it has left.

A general client says that a request failed; whoever sends mail must know whether the other side
may have it. Here head and body leave in one write, and the moment of that write is the line
between `NotBegun` and `NoAnswer`. It is also why this is not a library's work: it costs a third of
what aiohttp does with the same knowledge bolted on (docs/performance.md). Nothing is retried,
redirected, decompressed or sent through a proxy. Answers are parsed by llhttp.

Source: RFC 9112; happy eyeballs by aiohappyeyeballs (RFC 8305).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
from aiohappyeyeballs import AddrInfoType, start_connection

CONNECT_SECONDS_MAX = 5.0
# Servers drop idle connections without notice; a request on one that is just being dropped would
# have an unknown end. uvicorn drops after 5 s, SendGrid later.
IDLE_SECONDS_MAX = 4.0
# One timer looks after all requests; one each would cost a tenth of a request.
LOOK_SECONDS = 0.1
RESOLVE_SECONDS = 60.0
EYEBALLS_SECONDS = 0.25
HEAD_BYTES_MAX = 32_768
BODY_BYTES_MAX = 4_096  # of an answer; what comes after is not read


@dataclass(slots=True)  # frozen takes ten times as long to make
class Answer:
    """What the other side said: names of headers in lower case, the body's beginning.

    Of a success the body is not awaited.
    """

    status: int
    headers: dict[bytes, bytes]
    body: bytes


@dataclass(frozen=True, slots=True)
class NotBegun:
    """Nothing of the request has left."""

    why: str
    is_unreachable: bool = False  # nobody listens there: the next one would fare no better


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """It has left, or may have, and nothing readable came back."""

    why: str


Found = Answer | NotBegun | NoAnswer
_TOO_LATE = NotBegun("not begun in time")


@dataclass(slots=True, eq=False)
class Exchange:
    """One request and what becomes of it; moments are of `time.monotonic()`."""

    body: bytes
    start_by: float  # it does not leave after this
    end_by: float  # an answer is awaited until then
    leaving: Callable[[], None] | None  # called before it leaves; what it raises keeps it here
    found: asyncio.Future[Found] = field(init=False)
    left_at: float | None = field(init=False, default=None)
    connection: ClientConnection | None = field(init=False, default=None)


class Pool:
    """The connections to one URL, made when they are needed, used again, never more than so many.

    The last to be idle is the first to be used, so that the others may grow old. Waiting requests
    go first come, first served.
    """

    def __init__(self, url: str, *, connections_max: int, headers: Mapping[str, str]) -> None:
        """Raises ValueError for headers that would end their line."""
        parts = urlsplit(url)
        assert parts.hostname is not None, "settings hold whole URLs"
        self._host = parts.hostname
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (80 if self._tls is None else 443)
        host = parts.netloc.rpartition("@")[2]
        lines = [f"POST {parts.path or '/'} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if not all(line.isprintable() and line.isascii() for line in lines):
            raise ValueError("a header holds what no header may hold")
        self._head = ("\r\n".join(lines) + "\r\nContent-Length: ").encode()
        self._connections_max = connections_max
        self._active: set[Exchange] = set()
        self._waiting: dict[Exchange, None] = {}  # in the order of their coming
        self._open: set[ClientConnection] = set()
        self._idle: list[ClientConnection] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self._addresses: list[AddrInfoType] = []
        self._resolved_at = -RESOLVE_SECONDS
        self._resolving = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._look_at = 0.0
        self._is_closed = False

    @property
    def active(self) -> int:
        """How many requests wait for a connection or for their answer."""
        return len(self._active)

    async def post(self, exchange: Exchange) -> Found:
        """Its end, whatever the network does; raises only CancelledError."""
        loop = asyncio.get_running_loop()
        if exchange.start_by <= monotonic():
            return _TOO_LATE
        exchange.found = loop.create_future()
        self._active.add(exchange)
        if self._timer is None:
            self._look_later(loop)
        self._waiting[exchange] = None
        if self._idle:
            self.serve(self._idle.pop())
        else:
            self._connect()
        try:
            return await exchange.found
        finally:
            self._forget(exchange)
            if not exchange.found.done() or exchange.found.cancelled():
                _abort(exchange)  # nobody listens to its answer any more

    def close(self) -> None:
        """Hang up; what is under way ends without an answer."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._connecting:
            task.cancel()
        for exchange in list(self._waiting):
            self.settle(exchange, NotBegun("the client was closed"))
        for connection in list(self._open):
            connection.abort()

    def serve(self, connection: ClientConnection) -> None:
        """Give a connection that has nothing to do the next request, or let it rest."""
        while not connection.is_spent():
            exchange = next(iter(self._waiting), None)
            if exchange is None:
                self._idle.append(connection)
                return
            del self._waiting[exchange]
            if exchange.found.done():
                continue
            kept_back = connection.send(exchange, self._head)
            if kept_back is None:
                return
            self.settle(exchange, kept_back)
        connection.abort()
        if self._idle:
            self.serve(self._idle.pop())
        else:
            self._connect()

    def drop(self, connection: ClientConnection) -> None:
        """It is gone; those that wait for it get another."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._connect()

    def settle(self, exchange: Exchange, found: Found) -> None:
        """Tell whoever waits, once."""
        self._forget(exchange)
        if not exchange.found.done():
            exchange.found.set_result(found)

    def _forget(self, exchange: Exchange) -> None:
        self._active.discard(exchange)
        self._waiting.pop(exchange, None)

    def _connect(self) -> None:
        """As many attempts as there are requests without a connection, within the bound."""
        while (
            len(self._connecting) < len(self._waiting)
            and len(self._open) + len(self._connecting) < self._connections_max
            and not self._is_closed
        ):
            task = asyncio.create_task(self._open_one())
            self._connecting.add(task)
            task.add_done_callback(self._connected)

    def _connected(self, task: asyncio.Task[None]) -> None:
        self._connecting.discard(task)
        self._connect()

    async def _open_one(self) -> None:
        """One more connection; a failure is the oldest waiting request's."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                connection = await self._dial()
        except TimeoutError:
            self._refuse_oldest(NotBegun("no connection in time"))
        except Exception as error:  # whatever it was, nothing has left
            why = f"no connection: {type(error).__name__}"
            self._refuse_oldest(NotBegun(why, is_unreachable=True))
        else:
            self._open.add(connection)
            self.serve(connection)

    async def _dial(self) -> ClientConnection:
        loop = asyncio.get_running_loop()
        async with self._resolving:
            if monotonic() - self._resolved_at >= RESOLVE_SECONDS:
                self._addresses = cast(
                    list[AddrInfoType],
                    await loop.getaddrinfo(self._host, self._port, type=1, proto=6),
                )
                self._resolved_at = monotonic()
        sock = await start_connection(
            self._addresses, happy_eyeballs_delay=EYEBALLS_SECONDS, interleave=1
        )
        try:
            _, connection = await loop.create_connection(
                lambda: ClientConnection(self),
                sock=sock,
                ssl=self._tls,
                server_hostname=None if self._tls is None else self._host,
            )
        except BaseException:
            sock.close()
            raise
        return connection

    def _refuse_oldest(self, because: NotBegun) -> None:
        exchange = next(iter(self._waiting), None)
        if exchange is not None:
            self.settle(exchange, because)

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._look_at = monotonic() + LOOK_SECONDS
        self._timer = loop.call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """End the requests whose time is over, waiting for a connection or for an answer."""
        now = monotonic()
        # A process that stood still reads what has come meanwhile before it calls anything late.
        stood_still = now - self._look_at > LOOK_SECONDS and self._look_at > 0
        if not stood_still:
            for exchange in [e for e in self._active if now > _ends_at(e)]:
                if exchange.left_at is None:
                    self.settle(exchange, _TOO_LATE)
                else:
                    self.settle(exchange, NoAnswer("no answer in time"))
                    _abort(exchange)
        self._timer = None
        if self._active:
            loop = asyncio.get_running_loop()
            self._look_later(loop)
            if stood_still:
                self._look_at = 0.0  # once: a machine that is always late still has time-outs


def _ends_at(exchange: Exchange) -> float:
    return exchange.start_by if exchange.left_at is None else exchange.end_by


def _abort(exchange: Exchange) -> None:
    if exchange.connection is not None:
        exchange.connection.abort()


class ClientConnection(asyncio.Protocol):
    """One connection, with at most one request on its way."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._answer = Answer(0, {}, b"")
        self._head_bytes = 0  # 0 once the head has been read
        self._is_delimited = False  # its end does not need the connection's end
        self._is_over = False  # the answer has ended, and the connection may be used again
        self._idle_since = monotonic()

    def is_spent(self) -> bool:
        """Whether it should not be used again."""
        assert self._transport is not None
        return self._transport.is_closing() or monotonic() - self._idle_since > IDLE_SECONDS_MAX

    def send(self, exchange: Exchange, head: bytes) -> NotBegun | None:
        """Write the request, unless it may not leave any more."""
        assert self._transport is not None
        assert self._exchange is None
        now = monotonic()
        if now > exchange.start_by:
            return _TOO_LATE
        if exchange.leaving is not None:
            try:
                exchange.leaving()
            except Exception as error:
                return NotBegun(f"not written: {type(error).__name__}")
        exchange.left_at = now
        exchange.connection = self
        self._exchange = exchange
        self._answer = Answer(0, {}, b"")
        self._head_bytes = 1
        self._is_delimited = False
        body = exchange.body
        self._transport.write(b"%b%d\r\n\r\n%b" % (head, len(body), body))
        return None

    def abort(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()

    # --- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports behave as asyncio.Transport without being of that class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._exchange is None:  # nobody asked
            self.abort()
            return
        if self._head_bytes:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"no readable answer: {type(error).__name__}")
            return
        if self._head_bytes > HEAD_BYTES_MAX:
            self._fail("no readable answer: its head does not end")
        elif self._is_over:
            # The next request leaves only now: what else these bytes hold is no answer to it.
            self._is_over = False
            self._idle_since = monotonic()
            self._pool.serve(self)
        elif self._exchange is None or self._exchange.found.done():
            self._exchange = None  # its body says nothing that matters
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._exchange is not None:
            has_head = self._head_bytes == 0
            if has_head and not self._is_delimited and exc is None:
                self._finish()  # an answer that ends with its connection
            else:
                why = "connection closed" if exc is None else type(exc).__name__
                self._fail(f"no readable answer: {why}")
        self._pool.drop(self)

    # --- what the parser calls

    def on_message_begin(self) -> None:
        if self._is_over:  # a second answer to one request
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self._answer.headers[name] = value
        if name in (b"content-length", b"transfer-encoding"):
            self._is_delimited = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # it only announces another
            self._answer.headers.clear()
            self._is_delimited = False
            return
        self._answer.status = status
        self._head_bytes = 0
        if status < 300 and self._exchange is not None:
            self._pool.settle(self._exchange, self._answer)

    def on_body(self, body: bytes) -> None:
        self._answer.body += body
        if len(self._answer.body) > BODY_BYTES_MAX:
            self._answer.body = self._answer.body[:BODY_BYTES_MAX]
            self._finish()

    def on_message_complete(self) -> None:
        if self._answer.status == 0 or self._exchange is None:
            return
        assert self._transport is not None
        # Who answers before it has read all may take the rest for another request.
        is_whole = self._transport.get_write_buffer_size() == 0
        self._is_over = is_whole and self._parser.should_keep_alive()
        self._finish()

    def _finish(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._pool.settle(exchange, self._answer)

    def _fail(self, why: str) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._pool.settle(exchange, NoAnswer(why))
        self.abort()
