"""A webhook's raw body as JSON values, whatever somebody put into it.

The body was signed, so what is odd about it is the provider's and a retry cannot mend it: only one
that is no array, or holds no object at all, is turned away whole. Inside an array each element
stands for itself. Text that PostgreSQL cannot hold (NUL, half a surrogate pair) or that is not
UTF-8 becomes U+FFFD, numbers that JSON does not have become text, and of a repeated key the last
counts.

Source: RFC 8259 8.1, 9; PostgreSQL manual, "JSON Types" (what jsonb refuses).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

EVENTS_MAX = 100_000  # 2 MiB hold some 7,000 real ones
DEPTH_MAX = 16  # real ones reach 3

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class BadBody(Exception):
    """The body is not what a webhook is; the message says what it is instead."""


def read_body(body: bytes) -> list[object]:
    """The elements of the array; BadBody where there is nothing to go through."""
    data = _parse(body.decode("utf-8-sig", errors="replace"))
    if not isinstance(data, list):
        raise BadBody("It is not a JSON array.")
    if len(data) > EVENTS_MAX:
        raise BadBody(f"It holds more than {EVENTS_MAX} elements.")
    if data and not any(isinstance(element, dict) for element in data):
        raise BadBody("It is an array without a single object.")
    if b"\\u" in body or b"\x00" in body:
        return [element if is_too_deep(element) else storable(element) for element in data]
    return data


def _parse(text: str) -> object:
    try:
        try:
            return _loads(text)
        except json.JSONDecodeError:
            raise
        except ValueError:  # an integer of more digits than Python reads
            return _loads(text, _read_integer)
    except RecursionError:
        raise BadBody("It is nested too deeply.") from None
    except json.JSONDecodeError as error:
        raise BadBody(f"It is not JSON: {error.msg} at character {error.pos}.") from None


def _loads(text: str, read_integer: Callable[[str], object] | None = None) -> object:
    return json.loads(text, strict=False, parse_constant=str, parse_int=read_integer)


def _read_integer(digits: str) -> object:
    return int(digits) if len(digits) <= 20 else digits


def is_too_deep(element: object) -> bool:
    """Whether it nests further than DEPTH_MAX; looks no further than that."""
    layer: list[object] = [element]
    for _ in range(DEPTH_MAX):
        layer = [
            child
            for value in layer
            if isinstance(value, dict | list)
            for child in (value.values() if isinstance(value, dict) else value)
            if isinstance(child, dict | list)
        ]
        if not layer:
            return False
    return True


def storable(value: Any) -> Any:
    """The value with nothing in it that jsonb refuses; not for what is too deep."""
    match value:
        case str():
            return _UNSTORABLE.sub("\ufffd", value)
        case dict():
            return {storable(key): storable(item) for key, item in value.items()}
        case list():
            return [storable(item) for item in value]
        case float() if value != value or value in (float("inf"), float("-inf")):
            return str(value)
        case _:
            return value
