"""Reading a request's body within bounds of size and time."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from outreach.web.errors import BodyTooLarge, BodyTooSlow


async def read_body(request: Request, *, bytes_max: int, seconds_max: float) -> bytes:
    """The raw bytes; raises BodyTooLarge as soon as that is clear, and BodyTooSlow in the end."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > bytes_max:
        raise BodyTooLarge
    parts: list[bytes] = []
    length = 0
    try:
        async with asyncio.timeout(seconds_max):
            async for part in request.stream():
                length += len(part)
                if length > bytes_max:
                    raise BodyTooLarge
                parts.append(part)
    except TimeoutError as error:
        raise BodyTooSlow from error
    return b"".join(parts)
