from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import httpx2
import psycopg
import pytest
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Route

from outreach import log
from outreach.core.errors import Conflict, Invalid, NotFound, Problem, Refused, Unavailable
from outreach.web.errors import HANDLERS, BodyTooLarge, BodyTooSlow, NotAuthentic
from outreach.web.middleware import AccessLog, SecurityHeaders

WRONG = [Problem("$.a", "is wrong."), Problem("$.b", "is missing.")]
CASES: list[tuple[Exception, int]] = [
    (Invalid(WRONG), 422),
    (NotFound("campaign", "Spring"), 404),
    (Conflict("campaign", "Spring", expected="paused", actual="active"), 409),
    (Refused("sender_unverified", "The sender is not verified."), 422),
    (Unavailable("The database does not answer.", 2.5), 503),
    (NotAuthentic(), 401),
    (BodyTooLarge(), 413),
    (BodyTooSlow(), 408),
    (psycopg.OperationalError("it went away"), 503),
    (psycopg.errors.UndefinedTable("no such table"), 500),
    (HTTPException(405, "no", headers={"Allow": "GET"}), 405),
    (ZeroDivisionError("a secret detail"), 500),
]


async def answer(error: Exception, path: str = "/x/secret-token") -> httpx2.Response:
    async def fails(_request: Request) -> NoReturn:
        raise error

    app = Starlette(
        routes=[Route("/x/{token}", fails)],
        middleware=[Middleware(AccessLog), Middleware(SecurityHeaders)],
        exception_handlers=dict(HANDLERS),
    )
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path)


@contextmanager
def captured_log() -> Iterator[io.StringIO]:
    """What is logged, as the lines that a process would write."""
    written = io.StringIO()
    before = structlog.get_config()
    structlog.configure(
        processors=[log.scrub, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(written),
        cache_logger_on_first_use=False,
    )
    yield written
    structlog.configure(**before)


@pytest.mark.parametrize(("error", "status"), CASES, ids=[type(e).__name__ for e, _ in CASES])
async def test_every_no_is_a_problem_with_its_status(error: Exception, status: int) -> None:
    response = await answer(error)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    content: dict[str, Any] = response.json()
    assert content["status"] == status
    assert content["title"] and content["detail"]
    assert "secret" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert ("retry-after" in response.headers) == (status == 503)


async def test_what_a_no_carries_with_it() -> None:
    invalid = (await answer(Invalid(WRONG))).json()
    assert invalid["errors"] == [
        {"path": "$.a", "message": "is wrong."},
        {"path": "$.b", "message": "is missing."},
    ]
    refused = (await answer(Refused("sender_unverified", "No."))).json()
    assert refused["type"] == "urn:outreach:sender_unverified"
    assert (await answer(Unavailable("Away.", 2.5))).headers["retry-after"] == "3"
    allowed = await answer(HTTPException(405, "no", headers={"Allow": "GET"}))
    assert allowed.headers["allow"] == "GET"


async def test_an_unknown_path_is_a_problem_too() -> None:
    response = await answer(ZeroDivisionError(), "/nowhere")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


async def test_the_log_names_the_route_and_neither_token_nor_detail() -> None:
    with captured_log() as written:
        await answer(ZeroDivisionError("a secret detail"))
        await answer(NotFound("campaign", "x"), "/nowhere/secret")
    text = written.getvalue()
    assert '"route": "/x/{token}"' in text
    assert '"status": 500' in text
    assert '"route": "unmatched"' in text
    assert "secret" not in text
