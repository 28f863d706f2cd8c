"""What the database has been migrated to."""

from __future__ import annotations

from psycopg import errors

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


async def list_applied(connection: Tx) -> dict[str, bytes]:
    """The checksum of each applied migration; nothing in a database that was never migrated.

    Needs no role, since before the first migration there is none.
    """
    try:
        rows = await (await connection.execute(SQL["list_applied"])).fetchall()
    except errors.UndefinedTable:
        return {}
    return {id: bytes(digest) for id, digest in rows}
