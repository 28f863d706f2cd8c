"""Requests that never begin, and the client that makes them: connections, time, room, the key."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from outreach import config
from outreach.core.errors import Invalid
from outreach.core.outcome import Accepted, NotSent
from outreach.providers import http1, http1_connection
from outreach.providers.sendgrid import SendGrid
from tests.providers.sendgrid_support import (
    GARBAGE,
    KEY,
    accept,
    hang,
    outcome_of,
    provider,
    raw,
    sandboxed,
    send,
)
from tests.providers.test_sendgrid_mail import MAIL

# --- no connection -----------------------------------------------------------------------------


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is bound and does not listen, so that nobody else can answer on it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


async def test_a_refused_connection_means_that_nothing_was_sent(closed_port: int) -> None:
    async with provider(f"http://127.0.0.1:{closed_port}") as client:
        assert isinstance(await send(client), NotSent)


async def test_a_name_that_does_not_resolve_means_that_nothing_was_sent() -> None:
    async with provider("https://provider.invalid") as client:
        found = await send(client)
    assert isinstance(found, NotSent)


async def test_a_server_without_tls_means_that_nothing_was_sent() -> None:
    async with raw(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (url, server):
        async with provider(url.replace("http:", "https:")) as client:
            found = await send(client, within_seconds=1.0)
        assert isinstance(found, NotSent)
        assert server.requests == []


async def test_what_is_too_late_is_not_begun() -> None:
    async with raw(accept) as (url, server), provider(url) as client:
        assert isinstance(await send(client, within_seconds=0.0), NotSent)
        assert isinstance(await send(client, within_seconds=-5.0), NotSent)
        assert server.connections == 0
        assert isinstance(await send(client), Accepted), "and nothing is spoilt by it"


async def test_the_word_that_it_leaves_comes_before_the_body() -> None:
    seen: list[int] = []
    async with raw(accept) as (url, server), provider(url) as client:
        start_by = time.monotonic() + 2.0
        found = await client.send(
            MAIL, start_by=start_by, leaving=lambda: seen.append(len(server.requests))
        )
    assert isinstance(found, Accepted)
    assert seen == [0]


async def test_what_may_not_leave_is_not_sent() -> None:
    def refuse() -> None:
        raise ValueError("the recorder is closed")

    async with raw(accept) as (url, server), provider(url) as client:
        start_by = time.monotonic() + 2.0
        found = await client.send(MAIL, start_by=start_by, leaving=refuse)
        assert isinstance(found, NotSent)
        assert isinstance(await send(client), Accepted)
        assert len(server.requests) == 1, "only the second came whole"


async def test_a_process_that_stood_still_before_the_body_does_not_write_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after SIGSTOP and SIGCONT between the connection and the body."""
    moments = iter([0.0])  # the first look; then it is late

    def clock() -> float:
        return time.monotonic() + next(moments, 60.0)

    async with raw(accept) as (url, server), provider(url) as client:
        monkeypatch.setattr(http1, "monotonic", clock)
        monkeypatch.setattr(http1_connection, "monotonic", clock)
        assert await send(client) == NotSent("not begun in time")
        assert server.connections == 1
        assert server.requests == []


@pytest.mark.parametrize(("deadline_seconds", "within_seconds"), [(10.0, 0.3), (1.0, 1.3)])
async def test_waiting_too_long_for_a_free_connection_is_not_sent(
    deadline_seconds: float, within_seconds: float
) -> None:
    """Also where that wait may be longer than a request's own deadline."""
    given = {"send_connections": 1, "send_deadline_seconds": deadline_seconds}
    async with raw(hang) as (url, server), provider(url, **given) as client:
        first = asyncio.create_task(send(client, within_seconds=5.0))
        await server.called.wait()
        second = await send(client, within_seconds=within_seconds)
        assert isinstance(second, NotSent)
        assert len(server.requests) == 1
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


# --- the client --------------------------------------------------------------------------------


async def test_a_request_that_is_cancelled_leaves_the_client_whole() -> None:
    async with raw(hang) as (url, server), provider(url, send_connections=1) as client:
        room = client.room()
        task = asyncio.create_task(send(client))
        await server.called.wait()
        assert client.room() == room - 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.room() == room
    async with raw(accept) as (url, _), provider(url) as client:
        assert isinstance(await send(client), Accepted)


async def test_room_follows_the_latency_that_is_seen() -> None:
    async with sandboxed(send_connections=10) as (client, sandbox):
        assert client.room() == 20, "ten connections at half a second, until answers tell"
        await asyncio.gather(*(send(client, replace(MAIL, attempt=n)) for n in range(1, 61)))
        at_once = client.room()
        assert at_once > 100
        sandbox.set_latency(300)
        await asyncio.gather(*(send(client, replace(MAIL, attempt=n)) for n in range(1, 11)))
        assert 10 <= client.room() < min(at_once, 120)


async def test_waiting_for_a_connection_is_not_the_providers_time() -> None:
    async with sandboxed(send_connections=1) as (client, sandbox):
        sandbox.set_latency(100)
        # The last of them waits for 1.9 s, which would halve what the client takes on.
        await asyncio.gather(*(send(client, replace(MAIL, attempt=n)) for n in range(1, 20)))
        assert client.room() >= 3, "one connection that answers in a fifth to a tenth of a second"


async def test_the_key_is_sent_and_never_said(
    closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[Any] = []
    with structlog.testing.capture_logs() as entries, caplog.at_level("DEBUG"):
        async with raw(accept) as (url, server), provider(url) as client:
            await send(client)
            said.append(repr(client))
        assert f"Authorization: Bearer {KEY}".encode() in server.requests[0]
        said += [await outcome_of(answer) for answer in GARBAGE]
        async with provider(f"http://127.0.0.1:{closed_port}") as client:
            said.append(await send(client))
    assert KEY not in repr((said, entries, caplog.text))
    assert KEY not in repr(config.load(sendgrid_api_key=KEY))
    assert KEY not in json.dumps(config.load(sendgrid_api_key=KEY).model_dump(mode="json"))


def test_without_a_key_there_is_no_client() -> None:
    settings = config.load().model_copy(update={"sendgrid_api_key": None})
    with pytest.raises(Invalid, match="SENDGRID_API_KEY"):
        SendGrid(settings)
    SendGrid(settings.model_copy(update={"sendgrid_api_key": SecretStr(KEY)}))
