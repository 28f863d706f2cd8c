"""Counters of sends: taken under the tenant's lock, the installation's last and conditionally.

One row a key and window, its sub-buckets as two arrays (`core/limits.py` says how they are read).
The tenant's lock makes the counters of its senders, domains and itself exact without a second
round trip; the installation's row would be every tenant's bottleneck, so it is touched by one
conditional statement just before commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class CounterRow:
    """One counter of the tenant."""

    scope: str
    key: str
    window_seconds: int
    bucket_at: list[int]
    bucket_used: list[int]
    promised_until: datetime | None


@dataclass(frozen=True, slots=True)
class InstallationCounterRow:
    """One counter of the installation."""

    window_seconds: int
    bucket_at: list[int]
    bucket_used: list[int]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens taken from one counter in one bucket."""

    scope: str
    key: str
    window_seconds: int
    bucket: int
    count: int


async def list_counters(
    tx: Tx, tenant_id: UUID, keys: Sequence[tuple[str, str]]
) -> list[CounterRow]:
    """The counters of (scope, key) pairs, each window its own row."""
    return await sql.fetch_all(
        tx,
        SQL["list_counters"],
        CounterRow,
        tenant_id=tenant_id,
        scopes=[scope for scope, _ in keys],
        keys=[key for _, key in keys],
    )


async def list_installation_counters(tx: Tx) -> list[InstallationCounterRow]:
    """The installation's counters, unlocked: an estimate."""
    return await sql.fetch_all(tx, SQL["list_installation_counters"], InstallationCounterRow)


def _columns(tokens: Sequence[Tokens]) -> dict[str, object]:
    return {
        "scopes": [t.scope for t in tokens],
        "keys": [t.key for t in tokens],
        "windows": [t.window_seconds for t in tokens],
        "buckets": [t.bucket for t in tokens],
        "counts": [t.count for t in tokens],
    }


async def take_tokens(tx: Tx, tenant_id: UUID, tokens: Sequence[Tokens], *, at: datetime) -> None:
    """Add to the tenant's counters; each (scope, key, window) at most once."""
    await tx.execute(SQL["take_tokens"], {"tenant_id": tenant_id, "at": at, **_columns(tokens)})


async def give_back_tokens(tx: Tx, tenant_id: UUID, tokens: Sequence[Tokens]) -> None:
    """Return tokens to the buckets that they came from."""
    await tx.execute(SQL["give_back_tokens"], {"tenant_id": tenant_id, **_columns(tokens)})


async def promise(
    tx: Tx, tenant_id: UUID, promises: Mapping[tuple[str, str, int], datetime]
) -> None:
    """Store how far the promises of (scope, key, window) reach."""
    await tx.execute(
        SQL["promise"],
        {
            "tenant_id": tenant_id,
            "scopes": [key[0] for key in promises],
            "keys": [key[1] for key in promises],
            "windows": [key[2] for key in promises],
            "untils": list(promises.values()),
        },
    )


async def take_installation(
    tx: Tx, count: int, windows: Sequence[tuple[int, int, int]], *, at: datetime
) -> set[int]:
    """Take `count` in each (window, bucket, cap) that has room; the windows that had."""
    cursor = await tx.execute(
        SQL["take_installation"],
        {"count": count, "at": at, **_installation_columns(windows, "caps")},
    )
    return {row[0] for row in await cursor.fetchall()}


async def give_back_installation(tx: Tx, windows: Sequence[tuple[int, int, int]]) -> None:
    """Return (window, bucket, count)."""
    await tx.execute(SQL["give_back_installation"], _installation_columns(windows, "counts"))


def _installation_columns(
    windows: Sequence[tuple[int, int, int]], last: LiteralString
) -> dict[str, object]:
    return {
        "windows": [window for window, _, _ in windows],
        "buckets": [bucket for _, bucket, _ in windows],
        last: [value for _, _, value in windows],
    }
