"""`/u/{token}`: the page behind the link in a mail, and the one-click post that it stands for.

GET and HEAD change nothing, because scanners follow links. POST acts, whatever is in its body: a
mail program sends `List-Unsubscribe=One-Click`, our page's button sends the same. No cookie, no
sign-in, no redirect.

Source: RFC 8058 (one-click unsubscribe) 3.1 and 3.2.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Sequence

import psycopg
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from outreach import log
from outreach.config import Settings
from outreach.core.errors import NotFound, Unavailable
from outreach.db import Database
from outreach.links import read_unsubscribe_token
from outreach.services.unsubscribe import unsubscribe
from outreach.web.errors import NOT_FOUND, UNAVAILABLE

LOG = log.get("web")

SECONDS_MAX = 15.0

STYLE = (
    ":root{color-scheme:light dark;font:1.125rem/1.5 system-ui,sans-serif}"
    "main{max-width:32rem;margin:15vh auto;padding:0 1.5rem}"
    "button{font:inherit;padding:.6rem 1.4rem;border-radius:.4rem;border:1px solid;cursor:pointer}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self';"
        " base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Robots-Tag": "noindex, nofollow",
}

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{content}
</main>
</body>
</html>
"""


def _page(title: str, content: str) -> str:
    return PAGE.format(title=title, style=STYLE, content=content)


ASK = _page(
    "Unsubscribe",
    """<p>Press the button, and no more mail comes to the address that got this link.</p>
<form method="post">
<input type="hidden" name="List-Unsubscribe" value="One-Click">
<button type="submit">Unsubscribe</button>
</form>""",
)
DONE = _page(
    "You are unsubscribed",
    '<p role="status">No more mail comes to this address. You may close this page.</p>',
)
UNKNOWN = _page(
    "This link is not complete",
    "<p>Part of the address may be missing. Please open the link in the mail again.</p>",
)
LATER = _page(
    "Not yet unsubscribed",
    '<p role="alert">We could not note it just now. Please try again in a minute.</p>',
)


class UnsubscribePage:
    """The endpoint for all its methods."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self._db = db
        self._secrets: Sequence[str] = settings.secrets

    async def respond(self, request: Request) -> Response:
        """A page for people, whatever comes of it; the status is for mail programs."""
        found = read_unsubscribe_token(request.path_params["token"], self._secrets)
        if found is None:
            return HTMLResponse(UNKNOWN, NOT_FOUND, HEADERS)
        if request.method != "POST":
            return HTMLResponse(ASK, headers=HEADERS)
        try:
            async with asyncio.timeout(SECONDS_MAX):
                await unsubscribe(self._db, *found)
        except NotFound:
            return HTMLResponse(UNKNOWN, NOT_FOUND, HEADERS)
        except (Unavailable, psycopg.OperationalError, TimeoutError) as error:
            LOG.warning("unsubscribe_not_noted", error=type(error).__name__)
            return HTMLResponse(LATER, UNAVAILABLE, {**HEADERS, "Retry-After": "60"})
        return HTMLResponse(DONE, headers=HEADERS)
