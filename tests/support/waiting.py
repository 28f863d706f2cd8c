"""Waiting for something to become true, and failing when it does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

POLL_SECONDS = 0.02


async def eventually(condition: Callable[[], Awaitable[object]], seconds: float = 30.0) -> None:
    """Return as soon as the condition holds."""
    deadline = time.monotonic() + seconds
    while True:
        if await condition():
            return
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(POLL_SECONDS)
