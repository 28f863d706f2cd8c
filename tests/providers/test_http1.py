"""What the client takes for an answer to which request, and what becomes of its connections."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from outreach import config
from outreach.core.errors import Invalid
from outreach.core.outcome import Accepted, NotSent, Rejected, Unknown
from outreach.providers import http1_connection
from outreach.providers.http1 import Pool
from outreach.providers.http1_connection import (
    Answer,
    Exchange,
    Found,
    NoAnswer,
    NotBegun,
)
from outreach.providers.sendgrid import SendGrid
from tests.chaos.moments import lasting, standing_still
from tests.providers.sendgrid_support import Answer as Act
from tests.providers.sendgrid_support import (
    RawServer,
    accept,
    http,
    outcome_of,
    provider,
    raw,
    send,
)
from tests.support.waiting import eventually

OK = http("202 Accepted", b"", "X-Message-Id: abc")


@asynccontextmanager
async def pooled(url: str, connections_max: int = 1) -> AsyncIterator[Pool]:
    pool = Pool(f"{url}/post", connections_max=connections_max, headers={"X-Test": "1"})
    try:
        yield pool
    finally:
        pool.close()


async def post(pool: Pool, body: bytes = b"{}", *, within: float = 2.0, wait: float = 2.0) -> Found:
    now = time.monotonic()
    return await pool.post(Exchange(body, now + within, now + within + wait, None))


def said(answer: bytes, *, hangs_up: bool = False, then: bytes = b"") -> Act:
    """An act of a server: these bytes to every request, and more of them a little later."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        if then:
            for _ in range(20):  # the client shares this loop, and reads the first meanwhile
                await asyncio.sleep(0)
            writer.write(then)
            await writer.drain()
        if hangs_up:
            writer.close()

    return act


async def test_the_request_is_one_whole_http_request() -> None:
    async with raw(accept) as (url, server), pooled(url) as pool:
        found = await post(pool, b'{"a":1}')
        assert isinstance(found, Answer)
        assert (found.status, found.headers[b"x-message-id"]) == (202, b"abc")
        host = url.removeprefix("http://")
        assert server.requests == [
            f"POST /post HTTP/1.1\r\nHost: {host}\r\nX-Test: 1\r\n"
            f'Content-Length: 7\r\n\r\n{{"a":1}}'.encode()
        ]


@pytest.mark.parametrize("together", [True, False])
async def test_a_second_answer_to_one_request_answers_no_other(together: bool) -> None:
    """Else whoever can put two answers into one has a mail called accepted that was not."""
    act = said(OK + OK) if together else said(OK, then=OK)
    async with raw(act) as (url, server), pooled(url) as pool:
        first, second = await asyncio.gather(post(pool, b"1"), post(pool, b"2", wait=0.3))
        assert isinstance(first, Answer)
        if together:
            assert isinstance(second, Answer), "on a connection of its own"
            assert server.connections == 2
        assert len(server.requests) == 2


async def test_bytes_that_nobody_asked_for_end_the_connection() -> None:
    async with raw(said(OK, then=OK)) as (url, server), pooled(url) as pool:
        assert isinstance(await post(pool), Answer)

        async def is_gone() -> bool:
            return not pool._open

        await eventually(is_gone)
        assert isinstance(await post(pool), Answer)
        assert server.connections == 2


@pytest.mark.parametrize(
    "early",
    [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nX-Message-Id: no\r\n\r\n"],
)
async def test_what_only_announces_an_answer_is_none(early: bytes) -> None:
    for act in (said(early + OK), said(early, then=OK)):
        async with raw(act) as (url, _), provider(url) as client:
            assert await send(client) == Accepted("abc", 202)
    assert isinstance(await outcome_of(early), Unknown)


async def test_a_switch_of_protocols_is_no_answer() -> None:
    found = await outcome_of(
        b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n" + OK
    )
    assert isinstance(found, Unknown)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad\r\nContent-Length: 5\r\n\r\nwords",
        b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nwo\r\n3\r\nrds\r\n0\r\n\r\n",
        b"HTTP/1.1 400 Bad\r\n\r\nwords",
        b"HTTP/1.0 400 Bad\r\n\r\nwords",
    ],
)
async def test_every_way_to_end_a_body(answer: bytes) -> None:
    found = await outcome_of(answer)
    assert isinstance(found, Rejected)
    assert found.detail == "400 words"


@pytest.mark.parametrize("step", [1, 7])
async def test_an_answer_in_small_pieces(step: int) -> None:
    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(OK), step):
            writer.write(OK[start : start + step])
            await asyncio.sleep(0)

    async with raw(trickle) as (url, server), provider(url, send_connections=1) as client:
        assert await send(client) == Accepted("abc", 202)
        assert await send(client) == Accepted("abc", 202)
        assert server.connections == 1


async def test_who_says_that_it_hangs_up_is_not_asked_again() -> None:
    answer = http("202 Accepted", b"", "X-Message-Id: abc", "Connection: close")
    async with raw(said(answer)) as (url, server), pooled(url) as pool:
        for _ in range(3):
            assert isinstance(await post(pool), Answer)
        assert server.connections == 3


async def test_a_connection_that_has_rested_too_long_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http1_connection, "IDLE_SECONDS_MAX", 0.2)
    async with raw(accept) as (url, server), pooled(url) as pool:
        assert isinstance(await post(pool), Answer)
        await lasting(0.3)
        assert isinstance(await post(pool), Answer)
        assert server.connections == 2


async def test_never_more_connections_than_may_be_and_first_come_first_served() -> None:
    async with raw(accept) as (url, server), pooled(url, 3) as pool:
        bodies = [str(n).encode() for n in range(100)]
        found = await asyncio.gather(*(post(pool, body) for body in bodies))
        assert all(isinstance(one, Answer) for one in found)
        assert 1 <= server.connections <= 3
        assert sorted(server.requests) == sorted(set(server.requests)), "each once"
        assert pool.active == 0


async def test_whoever_waits_gets_the_connection_after_the_one_that_was_lost() -> None:
    calls = 0

    async def first_hangs_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            writer.close()
        else:
            await accept(_, writer)

    async with raw(first_hangs_up) as (url, _), pooled(url) as pool:
        found = await asyncio.gather(*(post(pool) for _ in range(3)))
        assert [type(one) for one in found] == [NoAnswer, Answer, Answer]


async def test_whoever_waits_for_one_that_is_late_gets_another() -> None:
    server_box: list[RawServer] = []

    async def only_the_first_hangs(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if len(server_box[0].requests) == 1:
            await reader.read(1)
        else:
            await accept(reader, writer)

    async with raw(only_the_first_hangs) as (url, server), pooled(url) as pool:
        server_box.append(server)
        late = asyncio.create_task(post(pool, within=0.2, wait=0.2))
        await server.called.wait()
        assert isinstance(await post(pool), Answer)
        assert await late == NoAnswer("no answer in time")


STOPPED = """
import sys, time, uvloop
from outreach.providers.http1 import Exchange, Pool

async def main():
    pool = Pool(sys.argv[1], connections_max=1, headers={})
    now = time.monotonic()
    print(await pool.post(Exchange(b"{}", now + 0.4, now + 0.8, None)))
    pool.close()

uvloop.run(main())
"""


async def test_answers_that_came_while_the_process_stood_still_are_read() -> None:
    """After SIGSTOP and SIGCONT the deadline has passed, and the answer lies in the socket."""
    is_stopped = asyncio.Event()

    async def late(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await is_stopped.wait()
        await accept(_, writer)

    async with raw(late) as (url, server):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", STOPPED, url, stdout=asyncio.subprocess.PIPE
        )
        await server.called.wait()
        child.send_signal(signal.SIGSTOP)
        is_stopped.set()
        await lasting(1.5)
        child.send_signal(signal.SIGCONT)
        said, _ = await child.communicate()
    assert said.startswith(b"Answer(status=202")


async def test_a_machine_that_is_always_late_still_has_time_outs() -> None:
    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async with raw(hang) as (url, _), pooled(url) as pool:
        waiting = asyncio.create_task(post(pool, within=0.2, wait=0.2))
        ends_at = time.monotonic() + 5
        while not waiting.done() and time.monotonic() < ends_at:
            standing_still(0.25)
            await asyncio.sleep(0)
        assert waiting.done()
        assert isinstance(waiting.result(), NoAnswer | NotBegun)
        await lasting(0.1)  # the server shares this loop, and has to catch up with it


async def test_who_answers_before_the_whole_body_was_read_is_not_asked_again() -> None:
    """What it has not read of this request it might read as the next one."""
    connections = ended = 0
    is_over = asyncio.Event()

    async def answer_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections, ended
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http("413 Too Large"))
        await is_over.wait()
        writer.transport.abort()
        ended += 1

    server = await asyncio.start_server(answer_at_once, "127.0.0.1", 0, limit=1024)
    port = server.sockets[0].getsockname()[1]
    async with server, pooled(f"http://127.0.0.1:{port}") as pool:
        for _ in range(2):
            found = await post(pool, b"x" * 50_000_000)
            assert isinstance(found, Answer)
            assert found.status == 413
        assert connections == 2
        is_over.set()

        async def all_have_ended() -> bool:
            return ended == connections

        await eventually(all_have_ended)


async def test_a_closed_client_leaves_nobody_waiting() -> None:
    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async with raw(hang) as (url, server), pooled(url) as pool:
        both = [asyncio.create_task(post(pool)) for _ in range(2)]
        await server.called.wait()
        pool.close()
        found = await asyncio.gather(*both)
        assert [type(one) for one in found] == [NoAnswer, NotBegun]


@pytest.mark.parametrize("key", ["SG.a\r\nX-Evil: 1", "SG.a\nb", "SG.ä", "SG.\x00"])
def test_a_key_that_would_end_its_line_is_refused(key: str) -> None:
    with pytest.raises(Invalid, match="no key has"):
        SendGrid(config.load(sendgrid_api_key=key))


async def test_a_body_that_was_not_to_leave_leaves_the_connection_to_the_next() -> None:
    def refuse() -> None:
        raise ValueError

    async with raw(accept) as (url, server), pooled(url) as pool:
        now = time.monotonic()
        kept = pool.post(Exchange(b"1", now + 2, now + 4, refuse))
        found = await asyncio.gather(kept, post(pool, b"2"))
        assert isinstance(found[0], NotBegun)
        assert isinstance(found[1], Answer)
        assert (server.connections, len(server.requests)) == (1, 1)


async def test_nothing_is_left_of_requests_that_ended() -> None:
    async with raw(accept) as (url, _), provider(url, send_connections=2) as client:
        room = client._pool.active
        outcomes = await asyncio.gather(*(send(client) for _ in range(20)))
        assert not any(isinstance(one, NotSent | Unknown) for one in outcomes)
        assert client._pool.active == room == 0


async def test_connections_that_are_closed_at_once_take_no_place_for_ever() -> None:
    """A balancer without a back end accepts and resets."""
    is_closing = True

    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if is_closing:
            writer.transport.abort()
            return
        await told.serve(reader, writer)

    told = RawServer(accept)
    server = await asyncio.start_server(slam, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, pooled(f"http://127.0.0.1:{port}", 2) as pool:
        for _ in range(10):
            assert not isinstance(await post(pool, within=0.5, wait=0.2), Answer)
        is_closing = False
        assert isinstance(await post(pool), Answer)
        told.drop_all()


async def test_who_is_cancelled_just_after_the_answer_hangs_up_on_nobody_else() -> None:
    async def second_alone(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(server.requests) > 1:
            await accept(_, writer)

    async with raw(second_alone) as (url, server), pooled(url, 1) as pool:
        now = time.monotonic()
        first = Exchange(b"1", now + 2, now + 4, None)
        waiting = asyncio.create_task(pool.post(first))
        await server.called.wait()
        second = asyncio.create_task(post(pool, b"2"))
        await asyncio.sleep(0)
        first.found.cancel()  # as its task's cancellation does, before that task goes on
        (connection,) = pool._open
        connection.data_received(OK)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert isinstance(await second, Answer)
        assert pool.active == 0
