"""A multipart form as it arrives, piece by piece: a few fields are kept, each up to a bound.

A mail may be thirty megabytes, most of them attachments, and nobody needs them in memory. Of each
wanted field the head is kept, and the length and hash of the whole.

Source: RFC 7578 (multipart/form-data), RFC 2046 5.1 (boundaries).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

HEADERS_LENGTH_MAX = 8 * 1024
PARTS_MAX = 1000  # SendGrid's have some twenty
_BOUNDARY = re.compile(r'\bboundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name=(?:"([^"]*)"|([^\s;"]+))', re.IGNORECASE)


class Field:
    """One field: its head, and what is known of the whole."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._hash = hashlib.sha256()
        self._head = bytearray()
        self.length = 0

    def add(self, piece: bytes) -> None:
        """The next bytes."""
        self._head += piece[: max(0, self._bytes_max - len(self._head))]
        self._hash.update(piece)
        self.length += len(piece)

    @property
    def head(self) -> bytes:
        """The first bytes, up to the bound."""
        return bytes(self._head)

    @property
    def digest(self) -> bytes:
        """SHA-256 of all of it."""
        return self._hash.digest()


class FormReader:
    """Reads one form; `fields` holds what was wanted and has come, the first of each name."""

    def __init__(self, content_type: str, wanted: Mapping[str, int]) -> None:
        """`wanted` are names and how much of each is kept; a form without a boundary has none."""
        found = _BOUNDARY.search(content_type)
        boundary = (found[1] or found[2]) if found else ""
        self._delimiter = b"\r\n--" + boundary.encode("utf-8")
        self._wanted = wanted
        self._buffer = b"\r\n"  # the first boundary may stand at the very beginning
        self._is_in_headers = False
        self._parts = 0
        self._field: Field | None = None
        self.has_ended = found is None
        self.fields: dict[str, Field] = {}

    def feed(self, piece: bytes) -> None:
        """The next bytes of the body; never raises, whatever they are."""
        if self.has_ended:
            return
        self._buffer += piece
        while not self.has_ended and (
            self._read_headers() if self._is_in_headers else self._pass()
        ):
            pass

    def _pass(self) -> bool:
        """Hand on what surely belongs to the field; whether a boundary was reached."""
        at = self._buffer.find(self._delimiter)
        end = at if at >= 0 else max(0, len(self._buffer) - len(self._delimiter) + 1)
        if self._field is not None and end:
            self._field.add(self._buffer[:end])
        self._buffer = self._buffer[end if at < 0 else at + len(self._delimiter) :]
        self._is_in_headers = at >= 0
        return at >= 0

    def _read_headers(self) -> bool:
        """Begin the next field; whether its headers were there."""
        if len(self._buffer) < 2:
            return False
        end = self._buffer.find(b"\r\n\r\n")
        is_last = self._buffer.startswith(b"--")
        if is_last or end > HEADERS_LENGTH_MAX or self._parts == PARTS_MAX:
            self.has_ended = True
            return False
        if end < 0:
            self.has_ended = len(self._buffer) > HEADERS_LENGTH_MAX
            return False
        self._parts += 1
        self._field = self._begin(self._buffer[:end])
        self._buffer = self._buffer[end + 4 :]
        self._is_in_headers = False
        return True

    def _begin(self, headers: bytes) -> Field | None:
        found = _NAME.search(headers)
        name = (found[1] or found[2] or b"").decode("utf-8", "replace") if found else ""
        if name not in self._wanted or name in self.fields:
            return None
        self.fields[name] = Field(self._wanted[name])
        return self.fields[name]
