"""What `outreach doctor` asks the database: the server, the brakes, the queue and its workers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from outreach import sql
from outreach.sql import Tx

SQL = sql.load(__file__)

WORKERS_MAX = 100


@dataclass(frozen=True, slots=True)
class Server:
    """The server's version, and what time it says it is."""

    version: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Brakes:
    """What stops sending for everybody."""

    state: str
    pause_reason: str | None
    provider_paused_at: datetime | None
    provider_pause_reason: str | None
    provider_later_until: datetime | None
    provider_failures: int  # in a row; 0 where it asked for the wait itself
    data_loss_reason: str | None
    webhooks_refused: int


@dataclass(frozen=True, slots=True)
class Queue:
    """Jobs of one queue; `oldest_seconds` since the oldest one's last step."""

    queue: str
    todo: int
    doing: int
    oldest_seconds: float | None


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker, and how long ago it was last heard of."""

    id: int
    silent_seconds: float


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that people should look at, and how often it is open."""

    code: str
    many: int


async def list_alarms(tx: Tx) -> list[Alarm]:
    """Open alarms by code, over all tenants."""
    return await sql.fetch_all(tx, SQL["list_alarms"], Alarm)


async def read_server(tx: Tx) -> Server:
    """Version and clock."""
    found = await sql.find(tx, SQL["read_server"], Server)
    assert found is not None
    return found


async def read_brakes(tx: Tx) -> Brakes:
    """The installation's one row."""
    found = await sql.find(tx, SQL["read_brakes"], Brakes)
    assert found is not None, "the migration made the row"
    return found


async def list_queues(tx: Tx) -> list[Queue]:
    """Each queue in which something waits or runs."""
    return await sql.fetch_all(tx, SQL["list_queues"], Queue)


async def list_workers(tx: Tx) -> list[Worker]:
    """The workers that registered and were not forgotten, the liveliest first."""
    return await sql.fetch_all(tx, SQL["list_workers"], Worker, rows_max=WORKERS_MAX)
