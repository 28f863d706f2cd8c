"""SendGrid's Email Activity: what it says it accepted, found by the ids that we gave each mail.

A paid addition to an account, six questions a minute, minutes behind. A yes is a proof, so an entry
counts only when it went to the address that we asked about: a feed that ignored what it does not
understand would otherwise prove anything. The budget of questions is the caller's.

Source: Twilio SendGrid, "Email Activity API" (query language, limit); not tried on a live account.
"""

from __future__ import annotations

from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import aiohttp
import orjson

from outreach import __version__
from outreach.config import Settings
from outreach.core.address import address_key
from outreach.core.errors import Invalid, Refused, Unavailable
from outreach.core.outcome import asked_moment

ANSWER_SECONDS_MAX = 10.0
ANSWER_BYTES_MAX = 64 * 1024
ENTRIES_MAX = 10
AGAIN_SECONDS = 60.0


class SendGridActivity:
    """The activity feed of one account; `async with` it."""

    def __init__(self, settings: Settings) -> None:
        if settings.sendgrid_api_key is None:
            raise Invalid.at("SENDGRID_API_KEY", "is not set, and without it nothing is answered.")
        self._url = f"{settings.sendgrid_base_url}/v3/messages"
        self._key = settings.sendgrid_api_key
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers={
                "Authorization": f"Bearer {self._key.get_secret_value()}",
                "User-Agent": f"outreach/{__version__}",
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._session is not None
        await self._session.close()
        self._session = None

    async def knows(self, message_id: UUID, attempt: int, to_address: str) -> bool:
        """Whether the feed shows this attempt; see `MailLog.knows`."""
        assert self._session is not None, "the client is open"
        query = {"limit": str(ENTRIES_MAX), "query": query_for(message_id, attempt)}
        try:
            async with self._session.get(self._url, params=query, allow_redirects=False) as answer:
                body = await answer.content.read(ANSWER_BYTES_MAX)
                if answer.status != 200:
                    raise _refusal(answer)
        except (aiohttp.ClientError, TimeoutError) as error:
            name = type(error).__name__
            raise Unavailable(
                f"SendGrid's activity does not answer: {name}", AGAIN_SECONDS
            ) from None
        wanted = address_key(to_address)
        return any(address_key(str(entry.get("to_email"))) == wanted for entry in _entries(body))


def query_for(message_id: UUID, attempt: int) -> str:
    """The question in the feed's own language."""
    return (
        f"unique_args['outreach_message_id']=\"{message_id}\""
        f" AND unique_args['outreach_attempt']=\"{attempt}\""
    )


def _refusal(answer: aiohttp.ClientResponse) -> Refused | Unavailable:
    if answer.status in (400, 401, 403, 404):
        sentence = (
            f"SendGrid answers {answer.status} to a question about its activity:"
            " the account lacks the addition, or the key may not read it."
        )
        return Refused("provider_refused", sentence)
    now = datetime.now(UTC)
    headers = answer.headers
    later = asked_moment(headers.get("Retry-After"), headers.get("X-RateLimit-Reset"), now)
    seconds = AGAIN_SECONDS if later is None else (later - now).total_seconds()
    return Unavailable(f"SendGrid's activity answers {answer.status}.", seconds)


def _entries(body: bytes) -> list[dict[str, Any]]:
    try:
        found = orjson.loads(body)["messages"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        found = None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise Unavailable("SendGrid's activity cannot be read.", AGAIN_SECONDS)
    return found
