"""SIGTERM and SIGINT: the first asks, the second ends, and nothing outlives its time."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STOP_SECONDS_MAX = 19.5
SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_on_signals() -> Iterator[asyncio.Event]:
    """An event that the first signal sets; from then on a second one kills, and so does the time.

    A process that hangs past its time is killed as `kill -9` would, which the ledger bears.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    end = threading.Timer(STOP_SECONDS_MAX, os._exit, [1])
    end.daemon = True

    def ask() -> None:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
        end.start()
        stop.set()

    for number in SIGNALS:
        loop.add_signal_handler(number, ask)
    try:
        yield stop
    finally:
        end.cancel()
        for number in SIGNALS:
            loop.remove_signal_handler(number)
