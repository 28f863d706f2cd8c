"""A TCP proxy that does harm where it is told to: between a worker and what it talks to.

It listens on this machine and passes bytes on to one target, a port or a unix socket. An order says
where in a connection it strikes (after so many bytes of one way, or around a word of the client,
such as the COMMIT of a transaction) and what happens there. Each order strikes once.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.chaos.moments import lasting

CHUNK_BYTES = 65_536
# As psycopg ends a transaction: a message of PostgreSQL's protocol ends with a zero byte.
COMMIT = b"COMMIT\0"
_LINGER_NOT = struct.pack("ii", 1, 0)  # close() then sends RST


class Act(StrEnum):
    """What happens to the connection."""

    DELAY = "delay"
    """The rest comes `seconds` later."""
    DROP = "drop"
    """Nothing passes any more, either way, and after `seconds` the client is reset."""
    RESET = "reset"
    """The client is reset (RST); the server sees an end (FIN)."""
    HALF_CLOSE = "half_close"
    """This way ends (FIN) while the other goes on for `seconds`."""


class Way(StrEnum):
    """UP is from the client."""

    UP = "up"
    DOWN = "down"


class Side(StrEnum):
    """Where an order with a word strikes."""

    BEFORE = "before"
    """What holds the word is not passed on."""
    AFTER = "after"
    """It was passed on, and the reply was not waited for."""
    REPLY = "reply"
    """The reply is there, and not passed on."""


@dataclass(frozen=True, slots=True)
class Order:
    """One harm; `skip` connections or words that fit go by unharmed first."""

    act: Act
    way: Way = Way.UP
    after_bytes: int = 0
    word: bytes | None = None
    side: Side = Side.AFTER
    seconds: float = 0.2
    skip: int = 0


@dataclass(slots=True)
class _Link:
    """One connection of a client, and our own to the target."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    passed: dict[Way, int] = field(default_factory=lambda: {Way.UP: 0, Way.DOWN: 0})
    awaits_reply: Order | None = None
    is_dead: bool = False
    met: set[int] = field(default_factory=set)  # orders that this connection has already gone by


class Proxy:
    """For the time of an `async with`."""

    def __init__(self, target: Path | tuple[str, int]) -> None:
        self._target = target
        self._orders: list[Order] = []
        self._skipped: dict[int, int] = {}
        self._links: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.struck = 0
        """How many orders have struck."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    def order(self, *orders: Order) -> None:
        """Ask for harm, in this order."""
        self._orders.extend(orders)

    def clear(self) -> None:
        """Forget what has not struck."""
        self._orders.clear()

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        try:
            with suppress(OSError):
                await self._join(reader, client)
        except asyncio.CancelledError:
            pass  # by our end; whoever called has gone too
        finally:
            self._links.discard(task)
            client.close()

    async def _join(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if isinstance(self._target, Path):
            answers, server = await asyncio.open_unix_connection(self._target)
        else:
            answers, server = await asyncio.open_connection(*self._target)
        link = _Link(client, server)
        pumps = [
            asyncio.create_task(self._pump(link, Way.UP, reader, server)),
            asyncio.create_task(self._pump(link, Way.DOWN, answers, client)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            server.close()

    async def _pump(
        self, link: _Link, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Pass on what comes, until the end or a harm; an end of one way is passed on too."""
        while data := await reader.read(CHUNK_BYTES):
            if link.is_dead:
                continue
            found = self._found(link, way, data)
            if found is not None:
                order, split = found
                writer.write(data[:split])
                await writer.drain()
                data = data[split:]
                await self._strike(link, order, writer)
            if not link.is_dead:
                writer.write(data)
                link.passed[way] += len(data)
                await writer.drain()
        if way is Way.DOWN:
            raise ConnectionResetError  # a server that leaves ends the connection
        with suppress(OSError):
            writer.write_eof()

    def _found(self, link: _Link, way: Way, data: bytes) -> tuple[Order, int] | None:
        """The order that strikes in this piece, and how much of the piece goes before."""
        if way is Way.DOWN and link.awaits_reply is not None:
            order, link.awaits_reply = link.awaits_reply, None
            return order, 0
        for order in self._orders:
            split = _split(link, order, way, data)
            if split is None or self._goes_by(link, order):
                continue
            self._orders.remove(order)
            if order.word is not None and order.side is Side.REPLY:
                link.awaits_reply = order
                return None
            return order, split
        return None

    def _goes_by(self, link: _Link, order: Order) -> bool:
        """Whether this one is to be skipped; a connection's bytes count once, words each time."""
        if order.word is None and id(order) in link.met:
            return True
        skipped = self._skipped.get(id(order), 0)
        if skipped >= order.skip:
            return False
        self._skipped[id(order)] = skipped + 1
        link.met.add(id(order))
        return True

    async def _strike(self, link: _Link, order: Order, writer: asyncio.StreamWriter) -> None:
        self.struck += 1
        match order.act:
            case Act.DELAY:
                await lasting(order.seconds)
                return
            case Act.DROP:
                link.is_dead = True
                await lasting(order.seconds)
            case Act.HALF_CLOSE:
                with suppress(OSError):
                    writer.write_eof()
                await lasting(order.seconds)
            case Act.RESET:
                pass
        link.is_dead = True
        connection: socket.socket = link.client.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        raise ConnectionResetError


def _split(link: _Link, order: Order, way: Way, data: bytes) -> int | None:
    """How much of this piece passes before the order strikes; None when it does not here."""
    if order.word is not None:
        if way is not Way.UP or order.word not in data:
            return None
        return 0 if order.side is Side.BEFORE else len(data)
    passed = link.passed[way]
    if way is not order.way or passed + len(data) <= order.after_bytes:
        return None
    return max(order.after_bytes - passed, 0)


def commit_cuts(skip: int) -> Sequence[Order]:
    """A connection lost around a COMMIT: before it, after it, and when its reply was there."""
    return [Order(Act.RESET, word=COMMIT, side=side, skip=skip) for side in Side]
