"""The fence's rows: the installation's columns, and a pulse for each worker."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from outreach import sql
from outreach.core.fence import Identity
from outreach.sql import Tx

SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class Fence:
    """What was approved, and whether a loss is being held."""

    held_at: datetime | None
    reason: str | None
    detail: Mapping[str, Any]
    system_identifier: int | None
    database: int | None
    timeline: int | None
    started_at: datetime | None
    epoch: int
    approved_at: datetime | None
    is_failover_expected: bool

    @property
    def approved(self) -> Identity | None:
        """The run that was looked at last; None before the first worker."""
        if self.system_identifier is None:
            return None
        assert self.database is not None
        assert self.timeline is not None
        assert self.started_at is not None
        return Identity(self.system_identifier, self.database, self.timeline, self.started_at)


@dataclass(frozen=True, slots=True)
class Pulse:
    """How far a worker had come."""

    worker_id: UUID
    sequence: int


async def get_identity(tx: Tx) -> Identity:
    """Which database answers; on a standby PostgreSQL refuses the question."""
    found = await sql.find(tx, SQL["read_identity"], Identity)
    assert found is not None, "a connection is to a database"
    return found


async def get_fence(tx: Tx) -> Fence:
    """The fence as it stands."""
    found = await sql.find(tx, SQL["read_fence"], Fence)
    assert found is not None, "the migration made the row"
    return found


async def set_run_if_open(tx: Tx, run: Identity) -> bool:
    """Let this run send; whether that was news, and no loss is held."""
    return await sql.execute(tx, SQL["set_run_if_open"], **asdict(run)) > 0


async def set_held_if_open(tx: Tx, reason: str, detail: Mapping[str, object]) -> bool:
    """Hold all sending; whether it was not held before."""
    return await sql.execute(tx, SQL["set_held_if_open"], reason=reason, detail=Jsonb(detail)) > 0


async def approve(tx: Tx, run: Identity) -> None:
    """End the hold, and make this run the one that counts."""
    await sql.execute(tx, SQL["approve"], **asdict(run))


async def expect_failover(tx: Tx, *, seconds: float) -> datetime:
    """Believe a promotion for so long; until when."""
    until: datetime = await sql.value(tx, SQL["expect_failover"], seconds=seconds)
    return until


async def pulse(tx: Tx, worker_id: UUID, sequence: int, started_at: datetime) -> None:
    """Note how far this worker has come, in a run that it has looked at."""
    await sql.execute(
        tx, SQL["pulse"], worker_id=worker_id, sequence=sequence, started_at=started_at
    )


async def end_pulse(tx: Tx, worker_id: UUID) -> None:
    """Note that the worker ends in good order."""
    await sql.execute(tx, SQL["end_pulse"], worker_id=worker_id)


async def list_pulses(tx: Tx, worker_ids: Collection[UUID]) -> dict[UUID, int]:
    """The sequences of those workers that the database knows."""
    rows = await sql.fetch_all(tx, SQL["list_pulses"], Pulse, worker_ids=list(worker_ids))
    return {row.worker_id: row.sequence for row in rows}


async def list_missing_attempts(
    tx: Tx, attempts: Sequence[tuple[UUID, UUID, int]]
) -> set[tuple[UUID, UUID, int]]:
    """Those of these (tenant, message, attempt) that the ledger does not know."""
    cursor = await tx.execute(
        SQL["list_missing_attempts"],
        {
            "tenant_ids": [tenant_id for tenant_id, _, _ in attempts],
            "message_ids": [message_id for _, message_id, _ in attempts],
            "attempts": [attempt for _, _, attempt in attempts],
        },
    )
    return {attempts[place - 1] for (place,) in await cursor.fetchall()}


async def prove(tx: Tx, worker_ids: Collection[UUID], started_at: datetime) -> None:
    """Note that nothing that these workers remember is missing in this run."""
    await sql.execute(tx, SQL["prove"], worker_ids=list(worker_ids), started_at=started_at)


async def count_unproven(tx: Tx, started_at: datetime, *, alive_seconds: float) -> int:
    """Workers that were alive at the last noted moment and have not looked at this run."""
    return int(
        await sql.value(
            tx, SQL["count_unproven"], started_at=started_at, alive_seconds=alive_seconds
        )
    )


async def prune_pulses_before(tx: Tx, *, days: int) -> int:
    """Forget workers not heard of for so long; how many."""
    return await sql.execute(tx, SQL["prune_pulses_before"], days=days)
