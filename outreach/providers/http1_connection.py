"""HTTP/1.1 over one connection: a request that knows when it has left, and its answer.

Head and body leave in one write, and the moment of that write is the line between `NotBegun` and
`NoAnswer`. Answers are parsed by llhttp. Two answers to one request answer no other.

Source: RFC 9112.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol, cast

import httptools

# Servers drop idle connections without notice; a request on one that is just being dropped would
# have an unknown end. uvicorn drops after 5 s, SendGrid later.
IDLE_SECONDS_MAX = 4.0
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
TOO_LATE = NotBegun("not begun in time")


@dataclass(slots=True, eq=False)
class Exchange:
    """One request and what becomes of it; moments are of `time.monotonic()`."""

    body: bytes
    start_by: float  # it does not leave after this
    end_by: float  # an answer is awaited until then
    leaving: Callable[[], None] | None  # called before it leaves; ValueError keeps it here
    found: asyncio.Future[Found] = field(init=False)
    left_at: float | None = field(init=False, default=None)
    connection: ClientConnection | None = field(init=False, default=None)


class Owner(Protocol):
    """Who has connections and requests for them."""

    def serve(self, connection: ClientConnection) -> None:
        """It has nothing to do."""
        ...

    def drop(self, connection: ClientConnection) -> None:
        """It is gone."""
        ...

    def settle(self, exchange: Exchange, found: Found) -> None:
        """This is the end of a request."""
        ...


class ClientConnection(asyncio.Protocol):
    """One connection, with at most one request on its way."""

    def __init__(self, pool: Owner) -> None:
        self._pool = pool
        self.is_lost = False
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._answer = Answer(0, {}, b"")
        self._head_bytes = 0  # 0 once the head has been read
        self._is_delimited = False  # its end does not need the connection's end
        self._is_over = False  # the answer has ended, and the connection may be used again
        self._idle_since = 0.0

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
            return TOO_LATE
        if exchange.leaving is not None:
            try:
                exchange.leaving()
            except ValueError as error:
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
        self._idle_since = monotonic()

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
        self.is_lost = True
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
        self._end(self._answer)

    def _fail(self, why: str) -> None:
        self._end(NoAnswer(why))
        self.abort()

    def _end(self, found: Found) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.connection = None  # another's, from now on
            self._pool.settle(exchange, found)
