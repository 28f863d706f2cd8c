"""HTTP/1.1 POSTs to one URL over kept-alive connections.

A general client says that a request failed; whoever sends mail must know whether the other side
may have it (`http1_connection`). That is why this is not a library's work, and it costs a third of
what aiohttp does with the same knowledge bolted on (docs/performance.md). Nothing is retried,
redirected, decompressed or sent through a proxy.

Source: RFC 9112; happy eyeballs by aiohappyeyeballs (RFC 8305).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import cast
from urllib.parse import urlsplit

from aiohappyeyeballs import AddrInfoType, start_connection

from outreach.providers.http1_connection import (
    TOO_LATE,
    ClientConnection,
    Exchange,
    Found,
    NoAnswer,
    NotBegun,
)

CONNECT_SECONDS_MAX = 1.5  # less than a request waits, so that one that stalls is replaced in time
# One timer looks after all requests; one each would cost a tenth of a request.
LOOK_SECONDS = 0.1
RESOLVE_SECONDS = 60.0
RESOLVE_AGAIN_SECONDS = 5.0  # when nobody could say
EYEBALLS_SECONDS = 0.25


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
        self._resolve_at = 0.0  # of monotonic(), which is later
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
            return TOO_LATE
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
        while not self._is_employed(connection):
            connection.abort()
            if not self._idle:
                self._connect()
                return
            connection = self._idle.pop()

    def _is_employed(self, connection: ClientConnection) -> bool:
        """Whether it took a request or rests; what is spent does neither."""
        while not (self._is_closed or connection.is_spent()):
            exchange = next(iter(self._waiting), None)
            if exchange is None:
                self._idle.append(connection)
                return True
            del self._waiting[exchange]
            if exchange.found.done():
                continue
            kept_back = connection.send(exchange, self._head)
            if kept_back is None:
                return True
            self.settle(exchange, kept_back)
        return False

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
        """An attempt has ended; one that failed in whatever way is the oldest request's."""
        self._connecting.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            why = "in time" if isinstance(error, TimeoutError) else f"({type(error).__name__})"
            self._refuse_oldest(NotBegun(f"no connection {why}", is_unreachable=True))
        self._connect()

    async def _open_one(self) -> None:
        """One more connection; raises whatever keeps it from being made."""
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            connection = await self._dial()
        if connection.is_lost:  # before this task could go on: nobody will drop it again
            raise ConnectionResetError
        self._open.add(connection)
        self.serve(connection)

    async def _dial(self) -> ClientConnection:
        loop = asyncio.get_running_loop()
        sock = await start_connection(
            await self._resolve(), happy_eyeballs_delay=EYEBALLS_SECONDS, interleave=1
        )
        try:
            _, connection = await loop.create_connection(
                lambda: ClientConnection(self, sock),
                sock=sock,
                ssl=self._tls,
                server_hostname=None if self._tls is None else self._host,
            )
        except BaseException:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # the transport that has it closes it then
            raise
        return connection

    async def _resolve(self) -> list[AddrInfoType]:
        """Addresses, asked for once a minute; old ones serve while nobody knows new ones."""
        loop = asyncio.get_running_loop()
        async with self._resolving:
            if monotonic() >= self._resolve_at:
                asking = loop.getaddrinfo(
                    self._host, self._port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
                )
                try:
                    self._addresses = cast(list[AddrInfoType], await asking)
                    self._resolve_at = monotonic() + RESOLVE_SECONDS
                except OSError:
                    if not self._addresses:
                        raise
                    self._resolve_at = monotonic() + RESOLVE_AGAIN_SECONDS
            return self._addresses

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
        # A process that stood still reads what has come meanwhile before it calls anything late;
        # only once, for a machine that is always late has time-outs too.
        stood_still = 0 < self._look_at < now - LOOK_SECONDS
        self._timer = None
        if self._active:
            self._look_later(asyncio.get_running_loop())
        if stood_still:
            self._look_at = 0.0
            return
        for exchange in [e for e in self._active if now > _ends_at(e)]:
            if exchange.left_at is None:
                self.settle(exchange, TOO_LATE)
            else:
                self.settle(exchange, NoAnswer("no answer in time"))
                _abort(exchange)


def _ends_at(exchange: Exchange) -> float:
    return exchange.start_by if exchange.left_at is None else exchange.end_by


def _abort(exchange: Exchange) -> None:
    if exchange.connection is not None:
        exchange.connection.abort()
