"""Transactions: who acts, for which tenant, and nothing that outlives them.

Each transaction's first statement sets the role and the tenant for that transaction only, so row
level security binds every statement and a transaction pooler never carries one tenant's setting
into another's. Connections hold no session state: no session locks, no temporary tables.

Prepared statements are off when the pool goes through PgBouncer (`OUTREACH_POOLED=true`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.errors import Diagnostic, IdleInTransactionSessionTimeout
from psycopg.types.array import ListBinaryDumper
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from outreach.core.errors import Unavailable
from outreach.sql import Tx


class Role(StrEnum):
    """The database roles that a transaction can act as; none owns anything."""

    APP = "outreach_app"  # people's acts: CLI, API, console
    WORKER = "outreach_worker"  # sends, timers, webhooks
    OPERATOR = "outreach_operator"  # tenants, keys and the installation, over all tenants
    READONLY = "outreach_readonly"


# The timeout: a process that freezes within a transaction must not hold its locks for ever. It is
# set for the transaction only, as all else, and in `begin_claim` (store/dispatch.sql) as well.
SET_ROLE = (
    "select set_config('role', %(role)s::text, true),"
    " set_config('app.tenant_id', %(tenant_id)s::text, true),"
    " set_config('idle_in_transaction_session_timeout', '60s', true), now()"
)
# Before the first query, or the server refuses it.
SET_SNAPSHOT = "set transaction isolation level repeatable read, read only"

# A dead peer is noticed in about 15 s instead of the kernel's two hours.
KEEPALIVE: dict[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "connect_timeout": 10,
}


class Database:
    """A pool, and transactions out of it."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[tuple[Any, ...]]]) -> None:
        self.pool = pool

    @classmethod
    def at(
        cls,
        conninfo: str,
        *,
        size_max: int = 8,
        size_min: int = 1,
        is_pooled: bool = False,
        application: str = "outreach",
        timeout_seconds: float = 10.0,
    ) -> Self:
        """A database that is not connected yet; `async with` it."""
        kwargs: dict[str, Any] = {
            "autocommit": True,
            "application_name": application,
            "prepare_threshold": None if is_pooled else 2,
            **KEEPALIVE,
        }
        return cls(
            AsyncConnectionPool(
                conninfo,
                min_size=size_min,
                max_size=size_max,
                timeout=timeout_seconds,
                # Recycled, because a session keeps the foreign key checks' plans for ever, and
                # one made while a table was empty is a sequential scan.
                max_lifetime=300.0,
                kwargs=kwargs,
                configure=_configure,
                open=False,
            )
        )

    async def __aenter__(self) -> Self:
        await self.pool.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[tuple[Any, ...]]]:
        """A connection without a transaction; raises Unavailable when there is none in time."""
        try:
            async with self.pool.connection() as connection:
                yield connection
        except PoolTimeout as error:
            raise Unavailable("The database does not answer.", 5.0) from error

    @asynccontextmanager
    async def transaction(self, role: Role, tenant_id: UUID | None = None) -> AsyncIterator[Tx]:
        """One transaction as `role`, seeing only `tenant_id`'s rows (none at all without it)."""
        async with self.connection() as connection:
            async with connection.transaction():
                await set_actor(connection, role, tenant_id)
                yield connection

    @asynccontextmanager
    async def snapshot(self, role: Role, tenant_id: UUID | None = None) -> AsyncIterator[Tx]:
        """The same, reading only, and all of it as it was at one moment."""
        async with self.connection() as connection:
            async with connection.transaction():
                await connection.execute(SET_SNAPSHOT)
                await set_actor(connection, role, tenant_id)
                yield connection


async def _configure(connection: AsyncConnection[Any]) -> None:
    """Send arrays in binary: as text each element is searched for what must be escaped.

    A hundred bodies take 36 microseconds instead of 570 (psycopg 3.3).
    """
    connection.adapters.register_dumper(list, ListBinaryDumper)


async def set_actor(tx: Tx, role: Role, tenant_id: UUID | None = None) -> datetime:
    """Make the rest of this transaction act as `role` for `tenant_id`; the moment of it."""
    params = {"role": role.value, "tenant_id": "" if tenant_id is None else str(tenant_id)}
    row = await (await tx.execute(SET_ROLE, params)).fetchone()
    assert row is not None
    moment: datetime = row[-1]
    return moment


@asynccontextmanager
async def replicated_transaction(connection: Tx) -> AsyncIterator[None]:
    """A transaction; raises Unavailable when its commit may not have reached the standby.

    A wait for a synchronous standby that is canceled ends in a commit and a warning: what was
    written is there, but a failover may forget it, so nothing must be done because of it.
    """
    warnings: list[str | None] = []

    def heed(notice: Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            warnings.append(notice.message_primary)

    connection.add_notice_handler(heed)
    try:
        async with connection.transaction():
            yield
    finally:
        connection.remove_notice_handler(heed)
    if warnings:
        raise Unavailable(f"The database warns: {warnings[0]}.", 1.0)


async def lock_tenant(tx: Tx, tenant_id: UUID) -> None:
    """Wait for, and hold to the transaction's end, the lock under which a tenant's limits change.

    Taken before any row lock (see docs/locks.md), by claims, by what gives tokens back, and by
    stops that no single locked row carries (domain suppressions).
    """
    await tx.execute(
        "select pg_advisory_xact_lock(hashtextextended(%(key)s::text, 1))", {"key": str(tenant_id)}
    )


def is_connection_lost(error: psycopg.Error) -> bool:
    """Whether the server went away or ended the session, as opposed to refusing something.

    Behind a pooler the last words of a session that was ended may come as an answer to the next
    command; then psycopg raises an InternalError of its own, which has no code of the server's.
    """
    if isinstance(error, psycopg.InternalError) and error.sqlstate is None:
        return True
    lost = psycopg.OperationalError | psycopg.InterfaceError | IdleInTransactionSessionTimeout
    return isinstance(error, lost)
