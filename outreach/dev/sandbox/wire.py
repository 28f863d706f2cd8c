"""HTTP/1.1 on the wire: what a request and a reply are, and their bytes.

A reply may be no answer at all: a stand-in also hangs, drops the connection and talks nonsense.

Source: RFC 9112 (message framing).
"""

from dataclasses import dataclass, field
from http import HTTPStatus

HEAD_BYTES_MAX = 64 * 1024


@dataclass(slots=True)
class Request:
    """One request, read whole; header names in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    arrived_monotonic: float
    arrived_unix: float


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    close: bool = False


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer, ever; the connection stays open until the client leaves or the server stops."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection ends without an answer: by RST, or by FIN."""

    reset: bool
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Garble:
    """Bytes that are no HTTP answer, then the end of the connection."""

    data: bytes
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Drip:
    """An answer whose bytes leave one at a time."""

    answer: Answer
    seconds: float
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Cut:
    """The first bytes of an answer, then the end of the connection."""

    answer: Answer
    bytes_max: int
    delay_seconds: float = 0.0


Late = Answer | Drop | Garble | Drip | Cut
Reply = Late | Hang


@dataclass(slots=True)
class Head:
    method: str
    path: str
    query: str
    headers: dict[str, str]
    length: int | None
    """None for a chunked body."""
    last: bool
    """The client asked for the connection to be closed after the answer."""


class BadRequest(Exception):
    """The bytes are no request that this server reads; the connection ends."""


def take_head(buffer: bytearray) -> Head | None:
    """Cut the head off the buffer, or None while it is not whole."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > HEAD_BYTES_MAX:
            raise BadRequest("the head is too long")
        return None
    first, *lines = bytes(buffer[:end]).decode("latin-1").split("\r\n")
    del buffer[: end + 4]
    method, _, rest = first.partition(" ")
    target, _, version = rest.partition(" ")
    if version not in ("HTTP/1.1", "HTTP/1.0") or not target.startswith("/"):
        raise BadRequest("no HTTP/1.1 request")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    path, _, query = target.partition("?")
    last = version == "HTTP/1.0" or headers.get("connection", "").lower() == "close"
    return Head(method, path, query, headers, _length_of(headers), last)


def _length_of(headers: dict[str, str]) -> int | None:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return None
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise BadRequest("Content-Length is not a number")
    return int(length)


def take_body(buffer: bytearray, length: int | None, bytes_max: int) -> bytes | None:
    """Cut a whole body off the buffer, or None while it is not whole."""
    if length is None:
        return _take_chunks(buffer, bytes_max)
    if len(buffer) < length:
        return None
    body = bytes(buffer[:length])
    del buffer[:length]
    return body


def _take_chunks(buffer: bytearray, bytes_max: int) -> bytes | None:
    """Cut a chunked body off the buffer; read from the start each time, as such bodies are rare."""
    parts: list[bytes] = []
    at = 0
    while (end := buffer.find(b"\r\n", at)) >= 0:
        try:
            size = int(bytes(buffer[at:end]).split(b";")[0], 16)
        except ValueError:
            raise BadRequest("a chunk without a size") from None
        if at + size > bytes_max:
            raise BadRequest("the body is too large")
        start = end + 2
        if len(buffer) < start + size + 2:
            return None
        parts.append(bytes(buffer[start : start + size]))
        at = start + size + 2
        if size == 0:
            del buffer[:at]
            return b"".join(parts)
    return None


_REASONS = {status.value: status.phrase for status in HTTPStatus}


def answer_bytes(answer: Answer, last: bool) -> bytes:
    """The answer as bytes; the last one of a connection says so."""
    reason = _REASONS.get(answer.status, "Unknown")
    lines = [f"HTTP/1.1 {answer.status} {reason}", "Server: nginx"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    if answer.status != 204:
        lines.append(f"Content-Length: {len(answer.body)}")
    lines.append("Connection: close" if last else "Connection: keep-alive")
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + answer.body
