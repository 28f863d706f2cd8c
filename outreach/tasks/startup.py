"""What a worker insists on before it takes work."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

from outreach.config import Settings
from outreach.core.errors import Invalid, Refused
from outreach.db import Database, Role
from outreach.store.sweep import read_clock

SKEW_MAX = timedelta(seconds=5)


def hush_libraries() -> None:
    """Leave it to us to say what fails: a lost database would be told by each connection."""
    logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


async def check_schema(settings: Settings) -> None:
    """Raise Refused unless the database has all that this code needs."""
    # Imported here: yoyo takes time that is needed once, and not by `procrastinate defer`.
    from outreach.migrate import status

    if settings.direct_dsn is None:
        raise Invalid.at("DATABASE_URL", "is not set, and a worker needs a database of yours.")
    schema = await asyncio.to_thread(status, settings.direct_dsn)
    if not schema.is_current:
        raise Refused("schema_behind", "The database's schema is behind. Run `outreach migrate`.")


async def check_clock(db: Database) -> None:
    """Raise Refused when this machine and the database differ by more than 5 s.

    Deadlines of requests are set by the database and kept by this machine.
    """
    async with db.transaction(Role.WORKER) as tx:
        before = datetime.now(UTC)
        theirs = await read_clock(tx)
        after = datetime.now(UTC)
    refuse_skew(theirs, before, after)


def refuse_skew(theirs: datetime, before: datetime, after: datetime) -> None:
    """Raise Refused when `theirs`, read between two moments of ours, cannot be right by 5 s."""
    skew = max(before - theirs, theirs - after, timedelta(0))
    if skew > SKEW_MAX:
        raise Refused(
            "clock_skew",
            "The clocks of this machine and of the database differ by"
            f" {skew.total_seconds():.1f} s; at most 5 s are allowed. Set them by NTP.",
        )
