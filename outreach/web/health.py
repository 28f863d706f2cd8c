"""`/healthz`: this process answers. `/readyz`: it can do its work: database there, schema current.

Only the second touches the database: a restart of the process does not mend a database, so what
restarts processes must ask the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import psycopg
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from outreach.core.errors import Unavailable
from outreach.db import Database
from outreach.store.schema_marks import list_applied
from outreach.web.errors import UNAVAILABLE

READY_SECONDS_MAX = 3.0
_NO_STORE = {"Cache-Control": "no-store"}


async def healthz(_request: Request) -> Response:
    """Alive, with no question asked of anybody."""
    return JSONResponse({"status": "ok"}, headers=_NO_STORE)


class Readiness:
    """Whether this process can do its work; `migrations` are those of its own code."""

    def __init__(self, db: Database, migrations: Mapping[str, bytes]) -> None:
        self._db = db
        self._migrations = migrations

    async def readyz(self, _request: Request) -> Response:
        """Each part and whether all are well; the status is 503 when one is not."""
        applied = await self._applied()
        schema = "unknown" if applied is None else self._compare(applied)
        parts = {"database": "ok" if applied is not None else "away", "schema": schema}
        is_ready = all(state == "ok" for state in parts.values())
        content = {"status": "ok" if is_ready else "not_ready", "parts": parts}
        if is_ready:
            return JSONResponse(content, headers=_NO_STORE)
        return JSONResponse(content, UNAVAILABLE, {**_NO_STORE, "Retry-After": "5"})

    async def _applied(self) -> Mapping[str, bytes] | None:
        try:
            async with asyncio.timeout(READY_SECONDS_MAX):
                async with self._db.connection() as connection:
                    return await list_applied(connection)
        except (Unavailable, psycopg.Error, TimeoutError):
            return None

    def _compare(self, applied: Mapping[str, bytes]) -> str:
        """A database ahead of us is fine: an older version of the code runs on a newer schema."""
        if not self._migrations.keys() <= applied.keys():
            return "behind"
        same = all(applied[id] == digest for id, digest in self._migrations.items())
        return "ok" if same else "edited"
