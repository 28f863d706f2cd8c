"""Reading a request's body within bounds of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.requests import Request

from outreach.web.errors import BodyTooLarge, BodyTooSlow


async def read_body(request: Request, *, bytes_max: int, seconds_max: float) -> bytes:
    """The raw bytes; raises as `pass_body` does."""
    parts: list[bytes] = []
    await pass_body(request, parts.append, bytes_max=bytes_max, seconds_max=seconds_max)
    return b"".join(parts)


async def pass_body(
    request: Request, take: Callable[[bytes], None], *, bytes_max: int, seconds_max: float
) -> None:
    """Hand the raw bytes to `take` as they come.

    Raises BodyTooLarge as soon as that is clear, and BodyTooSlow in the end.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > bytes_max:
        raise BodyTooLarge
    length = 0
    try:
        async with asyncio.timeout(seconds_max):
            async for part in request.stream():
                length += len(part)
                if length > bytes_max:
                    raise BodyTooLarge
                take(part)
    except TimeoutError as error:
        raise BodyTooSlow from error
