"""Counting webhooks that were turned away, without letting them cost anything.

Whoever forges can do so by the thousand, and the count is in a row that every claim locks. So a
refusal is counted here first, and written by one task, at most once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import psycopg

from outreach import log
from outreach.core.errors import Unavailable
from outreach.db import Database
from outreach.services.ingest import count_refused

LOG = log.get("web")
PAUSE_SECONDS = 1.0


class Refusals:
    """The count of one process that is not written yet."""

    def __init__(self, db: Database, *, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._db = db
        self._pause_seconds = pause_seconds
        self._waiting = 0
        self._news = asyncio.Event()
        self._is_over = asyncio.Event()

    def add(self) -> None:
        """Count one more; never waits."""
        self._waiting += 1
        self._news.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write counts while the block runs, and what is left at its end."""
        task = asyncio.create_task(self._write_until_over())
        try:
            yield
        finally:
            # Told and not canceled: a write under way would be lost, or counted twice.
            self._is_over.set()
            self._news.set()
            await task

    async def _write_until_over(self) -> None:
        while not self._is_over.is_set():
            await self._news.wait()
            self._news.clear()
            await self._write()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_over.wait(), self._pause_seconds)
        await self._write()

    async def _write(self) -> None:
        many, self._waiting = self._waiting, 0
        if not many:
            return
        LOG.warning("webhooks_refused", count=many)
        try:
            await count_refused(self._db, many)
        except (Unavailable, psycopg.Error):
            self._waiting += many
            self._news.set()
