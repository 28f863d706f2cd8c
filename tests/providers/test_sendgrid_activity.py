"""The activity feed against the sandbox: what was accepted is known, and nothing else is proof."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web

from outreach.config import load
from outreach.core.errors import Invalid, Refused, Unavailable
from outreach.core.outcome import Accepted
from outreach.dev.sandbox import SandboxServer, SandboxSettings
from outreach.providers.sendgrid import SendGrid
from outreach.providers.sendgrid_activity import SendGridActivity, query_for
from tests.providers.test_sendgrid_mail import MAIL
from tests.support.sending import settings_for


@asynccontextmanager
async def feed(
    lag_seconds: float = 0.0,
) -> AsyncIterator[tuple[SendGridActivity, SandboxServer]]:
    """A feed that knows one mail, of which the attempt is 3."""
    async with SandboxServer(SandboxSettings(activity_lag_seconds=lag_seconds)) as sandbox:
        settings = settings_for(sandbox)
        async with SendGrid(settings) as provider:
            outcome = await provider.send(MAIL, start_by=monotonic() + 5)
            assert isinstance(outcome, Accepted)
        async with SendGridActivity(settings) as activity:
            yield activity, sandbox


async def test_what_was_accepted_is_known_by_message_and_attempt() -> None:
    async with feed() as (activity, sandbox):
        assert await activity.knows(MAIL.message_id, MAIL.attempt, MAIL.to_address)
        assert await activity.knows(MAIL.message_id, MAIL.attempt, MAIL.to_address.upper())
        assert not await activity.knows(MAIL.message_id, 1, MAIL.to_address)
        assert not await activity.knows(UUID(int=9), MAIL.attempt, MAIL.to_address)
        assert not await activity.knows(MAIL.message_id, MAIL.attempt, "other@cust.example")
        assert sandbox.sandbox.activity.questions == 5


async def test_the_feed_is_behind() -> None:
    async with feed(lag_seconds=60.0) as (activity, _):
        assert not await activity.knows(MAIL.message_id, MAIL.attempt, MAIL.to_address)


async def test_the_seventh_question_of_a_minute_is_told_to_wait() -> None:
    async with feed() as (activity, _):
        asked = (activity.knows(MAIL.message_id, 3, MAIL.to_address) for _ in range(7))
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert answers.count(True) == 6
    (refusal,) = [answer for answer in answers if isinstance(answer, Unavailable)]
    assert refusal.retry_after_seconds is not None
    assert 1 <= refusal.retry_after_seconds <= 62


async def test_the_sandbox_understands_no_other_question() -> None:
    async with SandboxServer() as sandbox, aiohttp.ClientSession() as client:
        for query in ("", "status=bounced", query_for(UUID(int=1), 1) + ' OR to_email="a@b.c"'):
            async with client.get(
                f"{sandbox.url}/v3/messages",
                params={"query": query},
                headers={"Authorization": "Bearer k"},
            ) as answer:
                assert answer.status == 400


@asynccontextmanager
async def answering(status: int, body: bytes) -> AsyncIterator[SendGridActivity]:
    """A feed that always answers this."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"Location": "/v3/messages"})

    app = web.Application()
    app.router.add_get("/v3/messages", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        settings = load(sendgrid_base_url=url, sendgrid_api_key="SG.test")
        async with SendGridActivity(settings) as activity:
            yield activity
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_who_may_not_ask_is_refused(status: int) -> None:
    async with answering(status, b"{}") as activity:
        with pytest.raises(Refused, match=str(status)):
            await activity.knows(MAIL.message_id, 1, MAIL.to_address)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b""),
        (302, b""),
        (200, b""),
        (200, b"[]"),
        (200, b'{"messages": {}}'),
        (200, b'{"messages": [1]}'),
        (200, b"<html>"),
    ],
)
async def test_what_cannot_be_read_is_no_answer(status: int, body: bytes) -> None:
    async with answering(status, body) as activity:
        with pytest.raises(Unavailable):
            await activity.knows(MAIL.message_id, 1, MAIL.to_address)


async def test_a_feed_that_ignores_the_question_proves_nothing() -> None:
    body = b'{"messages": [{"to_email": "other@cust.example"}, {}]}'
    async with answering(200, body) as activity:
        assert not await activity.knows(MAIL.message_id, 1, MAIL.to_address)


async def test_nobody_there_is_no_answer() -> None:
    settings = load(sendgrid_base_url="http://127.0.0.1:1", sendgrid_api_key="SG.test")
    async with SendGridActivity(settings) as activity:
        with pytest.raises(Unavailable):
            await activity.knows(MAIL.message_id, 1, MAIL.to_address)


def test_without_a_key_there_is_nothing_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENDGRID_API_KEY", raising=False)
    with pytest.raises(Invalid, match="SENDGRID_API_KEY"):
        SendGridActivity(load())
