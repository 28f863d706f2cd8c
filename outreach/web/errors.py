"""Every no of the web, as `application/problem+json`; no other module knows a status code.

    Invalid 422 · NotFound 404 · Conflict 409 · Refused 422 · Unavailable 503 with Retry-After
    NotAuthentic 401 · BodyTooLarge 413 · BodyTooSlow 408

Source: RFC 9457 (problem details), RFC 9110 (status codes).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus

import psycopg
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from outreach import log
from outreach.core.errors import (
    Conflict,
    Invalid,
    NotFound,
    OutreachError,
    Problem,
    Refused,
    Unavailable,
)
from outreach.db import is_connection_lost
from outreach.web.middleware import HEADERS

LOG = log.get("web")
RETRY_AFTER_SECONDS = 5.0

# For the few answers that are pages or reports.
NOT_FOUND = HTTPStatus.NOT_FOUND
UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE


# The rest of the body is not read, so nothing can follow it on this connection.
_CLOSE = {"Connection": "close"}


class NotAuthentic(OutreachError):
    """It does not come from whom it should come from; why is nobody's business."""


class BodyTooLarge(OutreachError):
    """More bytes than are taken here."""


class BodyTooSlow(OutreachError):
    """The bytes did not come in time."""


def problem(
    status: HTTPStatus,
    detail: str,
    *,
    kind: str = "about:blank",
    errors: Sequence[Problem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """One answer that says no."""
    content: dict[str, object] = {
        "type": kind,
        "title": status.phrase,
        "status": int(status),
        "detail": detail,
    }
    if errors:
        content["errors"] = [{"path": each.path, "message": each.message} for each in errors]
    return Response(
        json.dumps(content, ensure_ascii=False),
        status_code=status,
        headers={**HEADERS, "Cache-Control": "no-store", **(headers or {})},
        media_type="application/problem+json",
    )


def answer(error: OutreachError) -> Response:
    """What an error of ours looks like to a client."""
    match error:
        case Invalid():
            return problem(
                HTTPStatus.UNPROCESSABLE_ENTITY, "The request is not valid.", errors=error.problems
            )
        case NotFound():
            return problem(HTTPStatus.NOT_FOUND, str(error))
        case Conflict():
            return problem(HTTPStatus.CONFLICT, str(error))
        case Refused():
            kind = f"urn:outreach:{error.rule}"
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), kind=kind)
        case Unavailable():
            return unavailable(str(error), error.retry_after_seconds)
        case NotAuthentic():
            return problem(HTTPStatus.UNAUTHORIZED, "The signature or its age is not accepted.")
        case BodyTooLarge():
            return problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large.", headers=_CLOSE
            )
        case BodyTooSlow():
            return problem(HTTPStatus.REQUEST_TIMEOUT, "The body is too slow.", headers=_CLOSE)
        case _:
            raise error


def unavailable(detail: str, retry_after_seconds: float | None = None) -> Response:
    """Come back later."""
    seconds = math.ceil(retry_after_seconds or RETRY_AFTER_SECONDS)
    headers = {"Retry-After": str(seconds)}
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers)


async def _on_ours(_request: Request, error: Exception) -> Response:
    assert isinstance(error, OutreachError)
    return answer(error)


async def _on_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(HTTPStatus(error.status_code), error.detail, headers=error.headers)


async def _on_database(_request: Request, error: Exception) -> Response:
    assert isinstance(error, psycopg.Error)
    if not is_connection_lost(error):
        raise error
    LOG.warning("database_away", sqlstate=error.sqlstate)
    return unavailable("The database does not answer.")


async def _on_gone(_request: Request, _error: Exception) -> Response:
    return problem(HTTPStatus.BAD_REQUEST, "The client went away.")


async def _on_bug(request: Request, error: Exception) -> Response:
    LOG.error("request_failed", method=request.method, error=type(error).__name__)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "This is a fault of ours; it is logged.")


HANDLERS: Mapping[int | type[Exception], ExceptionHandler] = {
    OutreachError: _on_ours,
    HTTPException: _on_http,
    psycopg.Error: _on_database,
    ClientDisconnect: _on_gone,
    Exception: _on_bug,
}
