"""Asking SendGrid about senders, with every way in which it can fail to answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from outreach.core.errors import Refused, Unavailable
from outreach.providers import sendgrid_management
from outreach.providers.sendgrid_management import SendGridManagement

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def stand_in(handler: Handler) -> AsyncIterator[str]:
    """A server whose every path is answered by `handler`; its address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def ask(
    handler: Handler, email: str = "ann@acme.example", *, timeout_seconds: float = 5
) -> bool:
    async with (
        stand_in(handler) as url,
        SendGridManagement("SG.test", url, timeout_seconds=timeout_seconds) as management,
    ):
        return await management.is_verified(email)


def account(senders: list[dict[str, Any]], domains: list[dict[str, Any]]) -> Handler:
    """Answers as SendGrid does, by pages."""

    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer SG.test"
        if request.path == "/v3/verified_senders":
            rest = [s for s in senders if s["id"] > int(request.query.get("lastSeenID", 0))]
            return web.json_response({"results": rest[: int(request.query["limit"])]})
        assert request.path == "/v3/whitelabel/domains"
        return web.json_response([d for d in domains if request.query["domain"] in d["domain"]])

    return answer


def sender(number: int, email: str, *, verified: bool = True) -> dict[str, Any]:
    return {"id": number, "from_email": email, "verified": verified}


AUTHENTICATED = {"domain": "acme.example", "valid": True}
LAST = sender(250, "ann@acme.example")


@pytest.mark.parametrize(
    ("senders", "domains", "verified"),
    [
        ([sender(1, "Ann@acme.example")], [], True),
        ([sender(1, "ann@acme.example", verified=False)], [], False),
        ([sender(1, "bob@acme.example")], [], False),
        ([], [AUTHENTICATED], True),
        ([], [{"domain": "acme.example", "valid": False}], False),
        ([], [{"domain": "mail.acme.example", "valid": True}], False),
        ([sender(1, "ann@acme.example", verified=False)], [AUTHENTICATED], False),
        ([sender(n, f"n{n}@acme.example") for n in range(250)], [], False),
        ([sender(n, f"n{n}@acme.example") for n in range(1, 250)] + [LAST], [], True),
    ],
)
async def test_an_entry_of_its_own_counts_and_else_its_domain(
    senders: list[dict[str, Any]], domains: list[dict[str, Any]], verified: bool
) -> None:
    assert await ask(account(senders, domains)) is verified


async def test_a_server_that_pages_for_ever_is_left() -> None:
    page = [sender(n, f"n{n}@other.example") for n in range(1, 101)]

    async def same_page(request: web.Request) -> web.Response:
        found = {"results": page} if "senders" in request.path else []
        return web.json_response(found)

    assert await ask(same_page) is False


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_may_not_ask_is_refused(status: int) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"errors": [{"message": "no"}]}, status=status)

    with pytest.raises(Refused, match=str(status)):
        await ask(answer)


@pytest.mark.parametrize("status", [204, 302, 400, 429, 500, 502])
async def test_any_other_answer_is_none_and_redirects_are_not_followed(status: int) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(
            status=status, headers={"Location": "/elsewhere"}, text=None if status == 204 else "<p>"
        )

    with pytest.raises(Unavailable, match=str(status)):
        await ask(answer)
    assert asked == ["/v3/verified_senders"]


@pytest.mark.parametrize("body", ["<html>", '{"results": 3}', '{"results": [3]}', ""])
async def test_an_unreadable_answer_is_none(body: str) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=body)

    with pytest.raises(Unavailable, match="cannot be read"):
        await ask(answer)


async def test_a_hanging_server_is_left_after_the_timeout() -> None:
    gone = asyncio.Event()

    async def hang(_request: web.Request) -> web.Response:
        await gone.wait()
        return web.Response()

    with pytest.raises(Unavailable):
        await ask(hang, timeout_seconds=0.2)
    gone.set()


async def test_a_server_that_trickles_is_left_after_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sendgrid_management, "ANSWER_SECONDS_MAX", 0.3)

    async def hang(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    with pytest.raises(Unavailable, match="in time"):
        await ask(hang, timeout_seconds=1)


async def test_nobody_there_is_unavailable() -> None:
    async with SendGridManagement("SG.test", "http://127.0.0.1:1") as management:
        with pytest.raises(Unavailable, match="does not answer"):
            await management.is_verified("ann@acme.example")
