"""The proxy does the harm that was ordered, where it was ordered, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.chaos.proxy import COMMIT, Act, Order, Proxy, Side, Way
from tests.support.database import Databases


@asynccontextmanager
async def echo() -> AsyncIterator[Proxy]:
    """A proxy before a server that says everything back."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1024):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        async with Proxy(server.sockets[0].getsockname()[:2]) as proxy:
            yield proxy
    finally:
        server.close()


async def talk(proxy: Proxy, *words: bytes) -> bytes:
    """Say these, one after the other; all that came back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    said = b""
    try:
        for word in words:
            writer.write(word)
            said += await asyncio.wait_for(reader.read(len(word)), 5)
        writer.write_eof()
        return said + await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


async def test_without_orders_everything_passes() -> None:
    async with echo() as proxy:
        assert await talk(proxy, b"one", b"two") == b"onetwo"
        assert proxy.struck == 0


@pytest.mark.parametrize("way", Way)
async def test_a_reset_comes_after_so_many_bytes_and_once(way: Way) -> None:
    async with echo() as proxy:
        proxy.order(Order(Act.RESET, way, after_bytes=4))
        with pytest.raises(ConnectionResetError):
            await talk(proxy, b"one", b"two")
        assert await talk(proxy, b"one", b"two") == b"onetwo"
        assert proxy.struck == 1


async def test_what_is_late_comes_whole() -> None:
    async with echo() as proxy:
        proxy.order(Order(Act.DELAY, after_bytes=1, seconds=0.05))
        began_at = monotonic()
        assert await talk(proxy, b"one") == b"one"
        assert monotonic() - began_at >= 0.05


async def test_a_dropped_connection_is_silent_and_then_reset() -> None:
    async with echo() as proxy:
        proxy.order(Order(Act.DROP, seconds=0.05))
        began_at = monotonic()
        with pytest.raises(ConnectionResetError):
            await talk(proxy, b"one")
        assert monotonic() - began_at >= 0.05


async def test_a_way_may_end_alone() -> None:
    async with echo() as proxy:
        proxy.order(Order(Act.HALF_CLOSE, Way.DOWN, seconds=0.05))
        assert await talk(proxy, b"one") == b""


@pytest.mark.parametrize(("side", "is_kept"), [(Side.BEFORE, 0), (Side.REPLY, 1)])
async def test_a_commit_is_cut_where_it_was_ordered(
    databases: Databases, conninfo: str, side: Side, is_kept: int
) -> None:
    database = conninfo_to_dict(conninfo)["dbname"]
    async with Proxy(databases.server.place.server_socket) as proxy:
        target = f"host=127.0.0.1 port={proxy.port} dbname={database} user=outreach_owner"
        async with await psycopg.AsyncConnection.connect(target, autocommit=True) as connection:
            await connection.execute("create table marks (id int)")
            async with connection.transaction():
                await connection.execute("insert into marks values (0)")
            proxy.order(Order(Act.RESET, word=COMMIT, side=side, skip=1))
            async with connection.transaction():
                await connection.execute("insert into marks values (1)")
            with pytest.raises(psycopg.OperationalError):
                async with connection.transaction():
                    await connection.execute("insert into marks values (2)")
        async with await psycopg.AsyncConnection.connect(conninfo) as connection:
            count = await (await connection.execute("select count(*) from marks")).fetchone()
        assert count == (2 + is_kept,)
