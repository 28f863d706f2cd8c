"""Reading a request's body within bounds of size and time, and of memory for all together.

A body is kept as it came: nothing here unpacks what a client says is packed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.requests import Request

from outreach.core.errors import Unavailable
from outreach.web.errors import BodyTooLarge, BodyTooSlow


class Place:
    """What one request has taken of a room."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._taken = 0

    def take(self, many: int) -> None:
        """Take so many bytes more; Unavailable while others have them."""
        if many > self._room.left:
            raise Unavailable("Too many bodies are coming in at once.")
        self._room.left -= many
        self._taken += many

    def leave(self) -> None:
        """Give back all that was taken."""
        self._room.left += self._taken
        self._taken = 0


class Room:
    """The bytes that bodies may take in memory at one moment, all together."""

    def __init__(self, bytes_max: int) -> None:
        self.left = bytes_max

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A request's own place, which is empty again when the block ends."""
        place = Place(self)
        try:
            yield place
        finally:
            place.leave()


async def read_body(
    request: Request, *, bytes_max: int, seconds_max: float, place: Place | None = None
) -> bytes:
    """The raw bytes; raises as `pass_body` does."""
    body = bytearray()  # and no list of parts: a client may send byte by byte
    await pass_body(request, body.extend, bytes_max=bytes_max, seconds_max=seconds_max, place=place)
    return bytes(body)


async def pass_body(
    request: Request,
    take: Callable[[bytes], None],
    *,
    bytes_max: int,
    seconds_max: float,
    place: Place | None = None,
) -> None:
    """Hand the raw bytes to `take` as they come.

    Raises BodyTooLarge as soon as that is clear, and BodyTooSlow in the end. What is read takes
    its bytes of the place, where one is given: a flood of bodies is then put off, and does not end
    the process.
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
                if place is not None:
                    place.take(len(part))
                take(part)
    except TimeoutError as error:
        raise BodyTooSlow from error
