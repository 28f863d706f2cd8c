"""How the client comes to its connections, and which of them it uses again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from outreach.core.outcome import Accepted, Rejected
from outreach.providers import http1
from outreach.providers.http1 import Pool
from outreach.providers.http1_connection import Answer, ClientConnection, Found, NotBegun
from tests.providers.sendgrid_support import accept, http, outcome_of, provider, raw, send
from tests.providers.test_http1 import OK, pooled, post, said
from tests.support.waiting import eventually

TOO_MANY = http("429 Too Many Requests")
BAD = http("400 Bad Request", b"bad")


@pytest.mark.parametrize(
    ("answers", "is_accepted"), [(OK + TOO_MANY, True), (BAD + OK, False), (TOO_MANY + OK, False)]
)
async def test_the_first_of_two_answers_counts(answers: bytes, is_accepted: bool) -> None:
    """Else what was accepted is sent again, or what was refused is called sent."""
    found = await outcome_of(answers)
    assert isinstance(found, Accepted if is_accepted else Rejected)


async def test_the_first_of_two_answers_counts_however_long_it_is() -> None:
    huge = http("400 Bad Request", b"x" * 5_000) + OK
    assert isinstance(await outcome_of(huge), Rejected)


async def test_an_answer_that_came_before_the_request_is_none() -> None:
    """The loop was busy, and has not read it when the connection is used again."""
    async with raw(accept) as (url, server), pooled(url) as pool:
        assert isinstance(await post(pool, b"1"), Answer)
        (theirs,) = server._open
        _plain(theirs).send(OK)  # nobody asked, and the loop does not turn before the next one
        found = await post(pool, b"2")
        assert isinstance(found, Answer)
        assert server.connections == 2, "on a connection of its own"
        assert len(server.requests) == 2


async def test_who_hangs_up_after_each_answer_without_a_word_loses_no_mail() -> None:
    async with raw(said(OK, hangs_up=True)) as (url, server), pooled(url) as pool:
        for _ in range(10):
            assert isinstance(await post(pool), Answer)
        assert server.connections == 10


async def test_only_after_a_success_is_a_connection_used_again() -> None:
    async with raw(said(BAD)) as (url, server), pooled(url) as pool:
        for _ in range(3):
            assert isinstance(await post(pool), Answer)
        assert server.connections == 3


async def test_trailers_are_bounded_and_are_no_headers() -> None:
    head = b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\nRetry-After: 1\r\n\r\n0\r\n"
    assert isinstance(await outcome_of(head + b"Retry-After: x\r\n\r\n"), Rejected)
    async with raw(said(head + b"X: " + b"y" * 200_000)) as (url, _), provider(url) as client:
        found = await send(client)
    assert not isinstance(found, Accepted)


async def test_nothing_that_the_provider_says_is_more_than_text() -> None:
    for body in (b"400 oops \x00 there", b'{"errors":[{"message":"a\\u0000b"}]}'):
        found = await outcome_of(http("400 Bad Request", body))
        assert isinstance(found, Rejected)
        assert "\0" not in found.detail


async def test_an_attempt_that_fails_in_an_unforeseen_way_is_one_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = 0

    async def broken(*_: object, **__: object) -> socket.socket:
        nonlocal tries
        tries += 1
        raise RuntimeError("as of a loop of events")

    async with raw(accept) as (url, _), pooled(url, 2) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(http1, "start_connection", broken)
            found = await asyncio.gather(*(post(pool) for _ in range(4)))
        assert found == [NotBegun("no connection (RuntimeError)", is_unreachable=True)] * 4
        assert tries == 4
        assert isinstance(await post(pool), Answer)


async def test_an_attempt_that_stalls_is_replaced_before_requests_are_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http1, "CONNECT_SECONDS_MAX", 0.1)
    async with raw(accept) as (url, _), pooled(url) as pool:
        dial = pool._dial
        stalls = 1

        async def slow() -> ClientConnection:
            nonlocal stalls
            stalls -= 1
            if stalls >= 0:
                await asyncio.Event().wait()
            return await dial()

        pool._dial = slow  # type: ignore[method-assign]  # no server can stall a handshake of TCP
        found = await asyncio.gather(post(pool), post(pool))
        assert found[0] == NotBegun("no connection in time", is_unreachable=True)
        assert isinstance(found[1], Answer)


async def test_while_no_name_server_answers_the_old_addresses_serve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def nobody(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(-3, "no answer")

    async with raw(accept) as (url, server), pooled(url, 2) as pool:
        assert isinstance(await post(pool), Answer)
        pool._resolve_at = 0.0
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nobody)
        found = await asyncio.gather(*(post(pool) for _ in range(5)))
        assert all(isinstance(one, Answer) for one in found)
        assert server.connections == 2


async def test_very_many_spent_connections_are_no_depth() -> None:
    async with raw(accept) as (url, _), pooled(url) as pool:
        assert isinstance(await post(pool), Answer)
        (connection,) = pool._open
        pool._idle.clear()
        connection.abort()
        pool._idle.extend([connection] * 3_000)
        assert isinstance(await post(pool), Answer)


@asynccontextmanager
async def lost_at_once(pool: Pool) -> AsyncIterator[None]:
    """Connections that are gone before whoever made them goes on."""
    dial, drop, dropped = pool._dial, pool.drop, asyncio.Event()

    def noted_drop(connection: ClientConnection) -> None:
        drop(connection)
        dropped.set()

    async def dial_and_lose() -> ClientConnection:
        connection = await dial()
        connection.abort()
        await dropped.wait()
        return connection

    pool.drop = noted_drop  # type: ignore[method-assign]  # to know the order
    pool._dial = dial_and_lose  # type: ignore[method-assign]  # to force the order
    yield
    pool._dial = dial  # type: ignore[method-assign]  # as it was


async def test_a_connection_that_is_lost_before_it_is_known_takes_no_place() -> None:
    async with raw(accept) as (url, _), pooled(url, 1) as pool:
        async with lost_at_once(pool):
            assert isinstance(await post(pool, within=0.5), NotBegun)
        assert isinstance(await post(pool), Answer)


async def test_a_client_that_is_closed_while_it_connects_leaves_nothing_open() -> None:
    async with raw(accept) as (url, _), pooled(url, 3) as pool:
        waiting = [asyncio.create_task(post(pool)) for _ in range(3)]
        await asyncio.sleep(0)
        pool.close()
        found: list[Found] = await asyncio.gather(*waiting)
        assert {type(one) for one in found} == {NotBegun}

        async def is_empty() -> bool:
            return not pool._open and not pool._connecting

        await eventually(is_empty)


def _plain(writer: asyncio.StreamWriter) -> socket.socket:
    """The socket under a server's connection."""
    wrapped = writer.get_extra_info("socket")
    found: socket.socket = wrapped._sock
    return found
