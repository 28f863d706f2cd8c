"""SendGrid's management calls, by way of its own package: rare, and not of the sending path.

The package blocks, so a call runs in one of few threads. Its client waits for ever unless told
otherwise, opens a connection a call, and on a redirect repeats the request, key included, wherever
it is sent; here every call has a timeout and a redirect is an error. Headers given to one call stay
for all later ones, so none are given.

An address may send when its domain is authenticated or when it is a verified sender itself. An
entry of its own counts first: one that waits for its confirmation is an act left unfinished.

Source: Twilio SendGrid, "Sender Verification" and "Domain Authentication"; sendgrid 6.12.5 as read.
"""

from __future__ import annotations

import asyncio
import json
import urllib.error
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from types import TracebackType
from typing import Any, Self
from urllib.request import HTTPRedirectHandler, build_opener

from python_http_client.client import Client
from python_http_client.exceptions import HTTPError
from sendgrid import SendGridAPIClient

from outreach.core.address import address_key, domain_of
from outreach.core.errors import Refused, Unavailable

TIMEOUT_SECONDS = 10.0  # of one wait on the socket
ANSWER_SECONDS_MAX = 30.0  # of one call, whatever the socket does
THREADS_MAX = 2
PAGE_ROWS = 100
PAGES_MAX = 100


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_args: object, **_kwargs: object) -> None:
        """No second request: the answer is what it is."""


class _Client(Client):  # type: ignore[misc]  # the package has no types
    """The package's client, without its way with redirects."""

    def _build_client(self, name: str | None = None) -> _Client:
        return _Client(
            host=self.host,
            version=self._version,
            request_headers=self.request_headers,
            url_path=[*self._url_path, name] if name else self._url_path,
            timeout=self.timeout,
        )

    def _make_request(self, _opener: object, request: Any, timeout: float | None = None) -> Any:
        return super()._make_request(build_opener(_NoRedirects()), request, timeout)


class SendGridManagement:
    """Questions about an account; `async with` it, so that its threads end."""

    def __init__(
        self, api_key: str, base_url: str, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        assert api_key, "without a key the package would send `Bearer None`"
        api = SendGridAPIClient(api_key=api_key, host=base_url)
        self._client = _Client(
            host=base_url,
            version=3,
            request_headers=api.client.request_headers,
            timeout=timeout_seconds,
        )
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="sendgrid")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A call that is still waiting ends by its own timeout.
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def is_verified(self, email: str) -> bool:
        """Whether SendGrid sends from it: an entry of its own, else its domain."""
        own = await self._own_entry(email)
        return await self._is_domain_valid(domain_of(email)) if own is None else own

    async def scopes(self) -> frozenset[str]:
        """What the key may do; raises Refused when it is no key, Unavailable without an answer."""
        answer = await self._get("scopes", {})
        found = answer.get("scopes") if isinstance(answer, dict) else None
        if not isinstance(found, list):
            raise Unavailable("SendGrid's answer cannot be read.", 60.0)
        return frozenset(map(str, found))

    async def _own_entry(self, email: str) -> bool | None:
        """What the list of verified senders says of it; None where it is not on it."""
        last_id, seen = 0, set[int]()
        for _ in range(PAGES_MAX):
            query = {"limit": PAGE_ROWS, **({"lastSeenID": last_id} if last_id else {})}
            entries = _entries(await self._get("verified_senders", query), "results")
            for entry in entries:
                if address_key(str(entry.get("from_email", ""))) == address_key(email):
                    return entry.get("verified") is True
            ids = {int(entry["id"]) for entry in entries if "id" in entry}
            if len(entries) < PAGE_ROWS or ids <= seen:
                return None
            seen |= ids
            last_id = int(entries[-1].get("id", 0))
        return None

    async def _is_domain_valid(self, domain: str) -> bool:
        found = _entries(await self._get("whitelabel/domains", {"domain": domain}), None)
        return any(entry.get("domain") == domain and entry.get("valid") is True for entry in found)

    async def _get(self, path: str, query: Mapping[str, object]) -> Any:
        """The JSON of a 200."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                return await loop.run_in_executor(self._threads, self._call, path, query)
        except TimeoutError:
            raise Unavailable("SendGrid does not answer in time.", 60.0) from None

    def _call(self, path: str, query: Mapping[str, object]) -> Any:
        call = self._client
        for segment in path.split("/"):
            call = call._(segment)
        try:
            response = call.get(query_params=query)
        except HTTPError as error:
            raise _refusal(error.status_code) from None
        except (urllib.error.URLError, OSError, HTTPException) as error:
            raise Unavailable(f"SendGrid does not answer: {error}", 60.0) from error
        if response.status_code != 200:
            raise _refusal(response.status_code)
        try:
            return json.loads(response.body)
        except ValueError:
            raise Unavailable("SendGrid's answer cannot be read.", 60.0) from None


def _refusal(status: int) -> Refused | Unavailable:
    if status in (401, 403):
        return Refused(
            "provider_refused",
            f"SendGrid answers {status}: the API key is wrong, or may not read sender identities.",
        )
    return Unavailable(f"SendGrid answers {status}.", 60.0)


def _entries(answer: Any, field: str | None) -> list[dict[str, Any]]:
    found = answer.get(field) if field is not None and isinstance(answer, dict) else answer
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise Unavailable("SendGrid's answer cannot be read.", 60.0)
    return found
