from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import psycopg
import pytest
from procrastinate import App, PsycopgConnector

from outreach.db import Database, Role
from outreach.store.wakeups import wake

NOTIFICATION_SECONDS_MAX = 10.0


async def jobs(conninfo: str) -> list[tuple[str, str, str, dict[str, str]]]:
    connection = await psycopg.AsyncConnection.connect(conninfo)
    async with connection:
        found = await connection.execute(
            "select queue_name, task_name, queueing_lock, args from procrastinate_jobs order by id"
        )
        return await found.fetchall()


@pytest.mark.parametrize("role", [Role.APP, Role.WORKER])
async def test_many_askers_leave_one_job_for_each_task_and_tenant(
    db: Database, conninfo: str, role: Role
) -> None:
    one, two = uuid4(), uuid4()

    async def ask(tenant_id: UUID) -> None:
        async with db.transaction(role, tenant_id) as tx:
            await wake(tx, "send_due", tenant_id=tenant_id)

    await asyncio.gather(*(ask(tenant_id) for tenant_id in [one] * 6))
    await ask(two)
    async with db.transaction(role) as tx:
        await wake(tx, "apply_events")
    assert await jobs(conninfo) == [
        ("sends", "send_due", f"send_due:{one}", {"tenant_id": str(one)}),
        ("sends", "send_due", f"send_due:{two}", {"tenant_id": str(two)}),
        ("webhooks", "apply_events", "apply_events", {}),
    ]


async def test_a_job_that_has_started_does_not_count_as_waiting(
    db: Database, conninfo: str
) -> None:
    async with db.transaction(Role.WORKER) as tx:
        await wake(tx, "apply_events")
        await tx.execute("update procrastinate_jobs set status = 'doing'")
        await wake(tx, "apply_events")
    assert len(await jobs(conninfo)) == 2


async def test_nothing_is_woken_by_what_is_rolled_back(db: Database, conninfo: str) -> None:
    with pytest.raises(ZeroDivisionError):
        async with db.transaction(Role.APP) as tx:
            await wake(tx, "apply_events")
            raise ZeroDivisionError
    assert await jobs(conninfo) == []


async def test_the_notification_leaves_with_the_commit(db: Database, conninfo: str) -> None:
    listener = await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
    async with listener:
        await listener.execute("listen procrastinate_any_queue_v1")
        async with db.transaction(Role.APP) as tx:
            await wake(tx, "fire_timers", tenant_id=uuid4())
            assert [n async for n in listener.notifies(timeout=0)] == []
        heard = listener.notifies(timeout=NOTIFICATION_SECONDS_MAX, stop_after=1)
        assert len([n async for n in heard]) == 1


async def test_procrastinate_runs_what_we_wake(db: Database, conninfo: str) -> None:
    ran: list[str] = []
    app = App(connector=PsycopgConnector(conninfo=conninfo))

    @app.task(name="send_due", queue="sends")
    async def send_due(tenant_id: str) -> None:
        ran.append(tenant_id)

    tenant_id = uuid4()
    async with db.transaction(Role.APP, tenant_id) as tx:
        await wake(tx, "send_due", tenant_id=tenant_id)
    async with app.open_async():
        await app.run_worker_async(wait=False, install_signal_handlers=False)
    assert ran == [str(tenant_id)]
