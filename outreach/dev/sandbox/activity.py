"""The activity feed: what was accepted, found by a query, six questions a minute.

Understands conditions joined by AND: a custom arg, the recipient, the beginning of the message's
id. Whatever else is asked is answered 400. A mail shows `activity_lag_seconds` after it was taken.

Source: Twilio SendGrid, "Email Activity API".
"""

import re
import time
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from outreach.dev.sandbox.ledger import Accepted, Ledger
from outreach.dev.sandbox.settings import SandboxSettings

QUESTIONS_MAX = 6
WINDOW_SECONDS = 60.0
LISTED_MAX = 1_000

Test = Callable[[Accepted], bool]

_CONDITION = re.compile(
    r"unique_args\['(?P<arg>[\w-]+)'\]\s*=\s*\"(?P<value>[^\"]*)\""
    r"|to_email\s*=\s*\"(?P<to>[^\"]*)\""
    r"|msg_id\s+LIKE\s+'(?P<prefix>[^'%]*)%'"
)


class TooManyQuestions(Exception):
    """The seventh within a minute; `seconds` until the next may be asked."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:.0f} s")
        self.seconds = seconds


class BadQuestion(Exception):
    """A query that the feed does not understand."""


class Activity:
    """Answers about one ledger."""

    def __init__(self, settings: SandboxSettings, ledger: Ledger) -> None:
        self._lag_seconds = settings.activity_lag_seconds
        self._ledger = ledger
        self._asked: deque[float] = deque()
        self.questions = 0

    def answer(self, query: str) -> list[dict[str, Any]]:
        """The entries for a URL's query string, newest first."""
        self._count()
        given = {name: values[-1] for name, values in parse_qs(query).items()}
        limit = given.get("limit", "10")
        if not limit.isdigit() or not 1 <= int(limit) <= LISTED_MAX:
            raise BadQuestion("limit is 1 to 1000")
        tests = _tests(given.get("query", ""))
        shown_until = time.time() - self._lag_seconds
        found = [
            record
            for record in reversed(self._ledger.listed())
            if record.accepted_unix <= shown_until and all(test(record) for test in tests)
        ]
        return [_entry(record) for record in found[: int(limit)]]

    def _count(self) -> None:
        now = time.monotonic()
        while self._asked and self._asked[0] <= now - WINDOW_SECONDS:
            self._asked.popleft()
        if len(self._asked) >= QUESTIONS_MAX:
            raise TooManyQuestions(self._asked[0] + WINDOW_SECONDS - now)
        self._asked.append(now)
        self.questions += 1


def _tests(query: str) -> list[Test]:
    tests = []
    for part in re.split(r"\s+AND\s+", query.strip()):
        found = _CONDITION.fullmatch(part.strip().removeprefix("(").removesuffix(")"))
        if found is None:
            raise BadQuestion(f"not a condition: {part[:80]}")
        tests.append(_test(found))
    return tests


def _test(found: re.Match[str]) -> Test:
    arg, value, to, prefix = found.group("arg", "value", "to", "prefix")
    if arg is not None:
        return lambda record: _args(record).get(arg) == value
    if to is not None:
        return lambda record: to.lower() in (address.lower() for address in record.to)
    return lambda record: record.message_id.startswith(prefix)


def _args(record: Accepted) -> dict[str, str | None]:
    return {
        "outreach_message_id": record.outreach_message_id,
        "outreach_attempt": record.outreach_attempt,
        "outreach_tenant": record.outreach_tenant,
    }


def _entry(record: Accepted) -> dict[str, Any]:
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.accepted_unix))
    return {
        "from_email": record.sender,
        "msg_id": f"{record.message_id}.recvd-5f6d7c8b9-sandbox-1-0.0",
        "subject": record.subject,
        "to_email": record.to[0],
        "status": "processed",
        "opens_count": 0,
        "clicks_count": 0,
        "last_event_time": moment,
    }
