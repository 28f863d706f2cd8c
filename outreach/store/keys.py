"""Rows of `api_keys`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it may be shown: without its secret."""

    id: UUID
    tenant_id: UUID | None
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


async def insert_key(
    tx: Tx, *, id: UUID, tenant_id: UUID | None, secret_hash: bytes, scopes: Sequence[str]
) -> None:
    """Store a new key."""
    await sql.execute(
        tx,
        SQL["insert_key"],
        id=id,
        tenant_id=tenant_id,
        secret_hash=secret_hash,
        scopes=list(scopes),
    )


async def list_keys(tx: Tx, tenant_id: UUID | None, *, rows_max: int) -> list[Key]:
    """The newest keys of a tenant, or the operators'."""
    return await sql.fetch_all(tx, SQL["list_keys"], Key, tenant_id=tenant_id, rows_max=rows_max)


async def set_key_revoked_if_valid(tx: Tx, key_id: UUID) -> Key | None:
    """The key that was revoked now, or None where it had been before or is unknown."""
    return await sql.find(tx, SQL["set_key_revoked_if_valid"], Key, id=key_id)
