"""Orders for misbehaviour: what shall go wrong, when, for whom and how often.

The first order that fits a request and has times left is used. A share below 1 is drawn from the
seed and the request's number, so that a run can be repeated.
"""

import time
from enum import StrEnum
from hashlib import blake2b
from typing import Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator

from outreach.dev.sandbox.wire import Answer, Cut, Drip, Drop, Garble, Hang, Reply

DRIP_SECONDS = 1.0


class Act(StrEnum):
    """What the client sees."""

    ANSWER = "answer"
    """A status of choice, or the usual answer if none is named; late with `delay_ms`."""
    HANG = "hang"
    """Nothing, and the connection stays open."""
    CLOSE = "close"
    """The connection ends in good order (FIN) without an answer."""
    RESET = "reset"
    """The connection is reset (RST)."""
    GARBLE = "garble"
    """Bytes that are no HTTP."""
    DRIP = "drip"
    """An answer, a byte each `delay_ms` (a second if none is named)."""
    CUT = "cut"
    """An answer that ends after `bytes_max` bytes, and the connection with it (FIN)."""


ANSWERS = frozenset({Act.ANSWER, Act.DRIP, Act.CUT})


class When(StrEnum):
    """How far the request had come."""

    BEFORE_READ = "before_read"
    """Its head has arrived; the body is never looked at."""
    BEFORE_ACCEPT = "before_accept"
    """Read whole, not accepted, not recorded."""
    AFTER_ACCEPT = "after_accept"
    """Accepted and recorded: its events will come."""


class FaultOrder(BaseModel):
    """One order, as `POST /sandbox/faults` takes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    act: Act = Act.ANSWER
    when: When = When.BEFORE_ACCEPT
    status: int | None = Field(default=None, ge=200, le=599)
    headers: dict[str, str] = Field(default_factory=dict)
    body: str | None = None
    reset_seconds: int | None = None
    """Adds the three rate headers, with X-RateLimit-Reset so many seconds from the answer."""
    delay_ms: int = Field(default=0, ge=0)
    bytes_max: int | None = Field(default=None, ge=1)
    times: int | None = Field(default=1, ge=1)
    """None: until deleted."""
    address: str | None = None
    """Only requests to this address, or to its domain when it begins with @."""
    share: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.when is When.BEFORE_READ and self.address is not None:
            raise ValueError("before_read cannot know the address: leave one of them out")
        is_answer = self.act in ANSWERS
        if not is_answer and (self.status or self.body or self.headers):
            raise ValueError("status, headers and body belong to an answer")
        if is_answer and self.when is not When.AFTER_ACCEPT and self.status is None:
            raise ValueError("an answer without a status needs after_accept")
        if (self.act is Act.CUT) != (self.bytes_max is not None):
            raise ValueError("bytes_max belongs to cut, which needs it")
        return self

    def fits(self, addresses: list[str]) -> bool:
        if self.address is None:
            return True
        wanted = self.address.lower()
        if wanted.startswith("@"):
            return any(address.lower().endswith(wanted) for address in addresses)
        return any(address.lower() == wanted for address in addresses)

    def reply(self, usual: Answer | None) -> Reply:
        """What the client gets; `usual` is the answer it would have had."""
        delay = self.delay_ms / 1000 + (usual.delay_seconds if usual else 0.0)
        match self.act:
            case Act.HANG:
                return Hang()
            case Act.CLOSE | Act.RESET:
                return Drop(self.act is Act.RESET, delay)
            case Act.GARBLE:
                return Garble(b"\x15\x03\x01 this is no answer\r\n\r\n", delay)
            case Act.ANSWER:
                return self._answer(usual, delay)
            case Act.DRIP:
                pause = self.delay_ms / 1000 or DRIP_SECONDS
                return Drip(self._answer(usual, 0.0), pause, delay)
            case Act.CUT:
                assert self.bytes_max is not None, "validation asks for it"
                return Cut(self._answer(usual, 0.0), self.bytes_max, delay)

    def _answer(self, usual: Answer | None, delay: float) -> Answer:
        if self.status is not None:
            return self._made(self.status, delay)
        assert usual is not None, "an order without status wraps the usual answer"
        return Answer(usual.status, usual.body, usual.headers | self.headers, delay)

    def _made(self, status: int, delay: float) -> Answer:
        kind, body = _body_for(status)
        headers = {"Content-Type": kind} | self.headers
        if self.reset_seconds is not None:
            headers |= {
                "X-RateLimit-Limit": "600",
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": str(int(time.time()) + self.reset_seconds),
            }
        if self.body is not None:
            body = self.body.encode()
        early = self.when is When.BEFORE_READ
        return Answer(status, body, headers, delay, close=early)


def _body_for(status: int) -> tuple[str, bytes]:
    """What SendGrid says with a status: JSON from the API, HTML from the proxy before it."""
    messages = {
        400: "Bad Request",
        401: "The provided authorization grant is invalid, expired, or revoked",
        403: "access forbidden",
        429: "too many requests",
        500: "internal server error",
    }
    if status < 400:
        return "application/json", b""
    message = messages.get(status)
    if message is None:
        page = f"<html><head><title>{status}</title></head><body>{status}</body></html>\r\n"
        return "text/html", page.encode()
    error = {"message": message, "field": None, "help": None}
    return "application/json", orjson.dumps({"errors": [error]})


class Faults:
    """The orders in force, oldest first."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._orders: dict[int, FaultOrder] = {}
        self._left: dict[int, int | None] = {}
        self._last_id = 0
        self._drawn = 0
        self.served = 0

    def __bool__(self) -> bool:
        return bool(self._orders)

    def add(self, order: FaultOrder) -> int:
        """Put an order behind the others, and return its id."""
        self._last_id += 1
        self._orders[self._last_id] = order
        self._left[self._last_id] = order.times
        return self._last_id

    def clear(self) -> int:
        """Forget every order, and return how many there were."""
        count = len(self._orders)
        self._orders.clear()
        self._left.clear()
        return count

    def listed(self) -> list[dict[str, object]]:
        return [
            {"id": id, **order.model_dump(mode="json"), "left": self._left[id]}
            for id, order in self._orders.items()
        ]

    def take(self, when: When, addresses: list[str]) -> FaultOrder | None:
        """The order for this request at this point, counted as used."""
        for id, order in self._orders.items():
            if order.when is when and order.fits(addresses) and self._drawn_for(order):
                left = self._left[id]
                if left is not None:
                    self._left[id] = left - 1
                    if left == 1:
                        del self._orders[id], self._left[id]
                self.served += 1
                return order
        return None

    def _drawn_for(self, order: FaultOrder) -> bool:
        if order.share == 1:
            return True
        self._drawn += 1
        digest = blake2b(f"{self._seed} {self._drawn}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") < order.share * 2**64
