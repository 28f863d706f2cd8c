"""HTTP/1.1 over one connection: a request that knows when it has left, and its answer.

Head and body leave in one write, and the moment of that write is the line between `NotBegun` and
`NoAnswer`. Answers are parsed by llhttp. Two answers to one request answer no other.

Source: RFC 9112.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol, cast

import httptools

# Servers drop idle connections without notice; a request on one that is just being dropped would
# have an unknown end. uvicorn drops after 5 s, SendGrid later.
IDLE_SECONDS_MAX = 4.0
ANSWER_BYTES_MAX = 65_536  # head, body and trailers
BODY_BYTES_MAX = 4_096  # what comes after is not read


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

    def __init__(self, pool: Owner, sock: socket.socket) -> None:
        """`sock` is the transport's; here it is only looked at."""
        self._pool = pool
        self._sock = sock
        self.is_lost = False
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._answer = Answer(0, {}, b"")
        self._bytes = 0  # of the answer, so far
        self._has_answered = False
        self._is_delimited = False  # its end does not need the connection's end
        self._is_whole = False  # the answer has ended
        self._is_kept = False  # and the connection may be used again
        self._idle_since = 0.0

    def is_spent(self) -> bool:
        """Whether it should not be used again."""
        assert self._transport is not None
        if self._transport.is_closing() or monotonic() - self._idle_since > IDLE_SECONDS_MAX:
            return True
        return self._has_answered and not self._is_silent()

    def _is_silent(self) -> bool:
        """Whether nothing lies in the socket: neither an end nor an answer to nobody.

        Asked before it is used again only: a new TLS connection may hold session tickets.
        """
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

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
        self._bytes = 0
        self._is_delimited = self._is_whole = self._is_kept = False
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
        self._bytes += len(data)
        unreadable: str | None = None
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            unreadable = type(error).__name__
            self._is_kept = False
        if self._bytes > ANSWER_BYTES_MAX:
            unreadable = "it does not end"
        is_enough = self._is_success or len(self._answer.body) >= BODY_BYTES_MAX
        if self._is_whole and self._is_kept:
            # Not at once: what else this turn brings is no answer to the next request, and an end
            # that came with the answer is seen first. But before whoever waits for this one.
            self._idle_since = monotonic()
            self._has_answered = True
            asyncio.get_running_loop().call_soon(self._pool.serve, self)
            self._end(self._answer)
        elif self._is_whole or is_enough:
            self._end(self._answer)
            self.abort()
        elif unreadable is not None:
            self._fail(unreadable)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if self._exchange is not None:
            if self._answer.status and not self._is_delimited and exc is None:
                self._end(self._answer)  # it ends with its connection
            else:
                self._fail("connection closed" if exc is None else type(exc).__name__)
        self._pool.drop(self)

    # --- what the parser calls

    def on_message_begin(self) -> None:
        if self._is_whole:  # a second answer to one request
            self._is_kept = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._answer.status:  # a trailer, or another answer's
            return
        name = name.lower()
        self._answer.headers[name] = value
        if name in (b"content-length", b"transfer-encoding"):
            self._is_delimited = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._answer.status:
            return
        if status >= 200:
            self._answer.status = status
            return
        self._answer.headers.clear()  # it only announces another
        self._is_delimited = False

    def on_body(self, body: bytes) -> None:
        if not self._is_whole:
            self._answer.body += body[: BODY_BYTES_MAX - len(self._answer.body)]

    def on_message_complete(self) -> None:
        if self._answer.status == 0 or self._is_whole:
            return
        self._is_whole = True
        # Who refuses may answer before it has read all, and take the rest for another request.
        self._is_kept = self._is_success and self._parser.should_keep_alive()

    # ---

    @property
    def _is_success(self) -> bool:
        return 200 <= self._answer.status < 300

    def _fail(self, why: str) -> None:
        self._end(NoAnswer(f"no readable answer: {why}"))
        self.abort()

    def _end(self, found: Found) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.connection = None  # another's, from now on
            self._pool.settle(exchange, found)
