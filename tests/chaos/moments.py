"""The one place where time itself is the harm, or what is between two harms."""

from __future__ import annotations

import asyncio
import time


async def lasting(seconds: float) -> None:
    """Let so much time pass: a fault lasts so long, or strikes so much later than the last one."""
    await asyncio.sleep(seconds)


def standing_still(seconds: float) -> None:
    """Let the whole loop of events stand still for so long."""
    time.sleep(seconds)
