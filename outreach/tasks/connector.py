"""procrastinate's connections: few, straight to the server where that is given, found dead early.

A job must be heard of (LISTEN), which a transaction pooler cannot carry, so the direct address is
taken where there is one. With a pooler only, workers poll and nothing is prepared.
"""

from __future__ import annotations

from typing import Any

from procrastinate import PsycopgConnector
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from outreach import config
from outreach.config import Settings
from outreach.core.errors import Invalid
from outreach.db import KEEPALIVE

# Fetching, finishing and heartbeats are short and mostly one at a time.
POOL_SIZE = 4
POOL_TIMEOUT_SECONDS = 5.0


def can_listen(settings: Settings) -> bool:
    """Whether notifications reach us."""
    return settings.database_direct_url is not None or not settings.pooled


def connector(settings: Settings) -> PsycopgConnector:
    """A connector for a worker; raises Invalid without a database."""
    return PsycopgConnector(min_size=1, **_options(settings))


def environment_connector() -> PsycopgConnector:
    """A connector that asks the environment when it is opened, and connects when it is used."""
    return PsycopgConnector(pool_factory=_environment_pool)


def _environment_pool(**given: Any) -> AsyncConnectionPool[AsyncConnection[Any]]:
    return AsyncConnectionPool(min_size=0, **_options(config.load()), **given)


def _options(settings: Settings) -> dict[str, Any]:
    if settings.direct_dsn is None:
        raise Invalid.at("DATABASE_URL", "is not set, and jobs are kept in a database of yours.")
    kwargs: dict[str, Any] = {"application_name": "outreach-jobs", **KEEPALIVE}
    if not can_listen(settings):
        kwargs["prepare_threshold"] = None
    return {
        "conninfo": settings.direct_dsn,
        "max_size": POOL_SIZE,
        "timeout": POOL_TIMEOUT_SECONDS,
        "kwargs": kwargs,
    }
