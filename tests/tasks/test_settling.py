"""A worker settles what nobody answered for, by the logs where the account has them."""

from __future__ import annotations

import pytest

from outreach.db import Database
from outreach.dev.sandbox import Act, FaultOrder, When
from tests.support.factories import run
from tests.support.sending import drain, due_campaign, message_states, sending
from tests.support.unknowns import make_due
from tests.support.workers import eventually, running_worker, settings_for

JOB = (
    "insert into procrastinate_jobs (queue_name, task_name, args)"
    " values ('maintenance', 'settle_unknowns', '{\"timestamp\": 0}')"
)

LOOKED = "select state = 'sent' or wake_at > now() + interval '1 minute' from outbound_messages"


@pytest.mark.parametrize("has_logs", [True, False])
async def test_a_worker_asks_the_logs_of_the_account_that_has_them(
    db: Database, conninfo: str, has_logs: bool
) -> None:
    campaign = await due_campaign(db, 1)
    async with sending(db) as (context, sandbox):
        sandbox.order(FaultOrder(act=Act.RESET, when=When.AFTER_ACCEPT))
        await drain(context, campaign.tenant_id)
        await run(db, "update send_attempts set armed_at = armed_at - interval '6 minutes'")
        await make_due(db)
        await run(db, JOB)

        settings = settings_for(conninfo, sendgrid_base_url=sandbox.url, email_activity=has_logs)

        async def is_looked_at() -> object:
            return (await run(db, LOOKED))[0][0]

        async with running_worker(settings):
            await eventually(is_looked_at)
        assert sandbox.sandbox.activity.questions == has_logs
    assert await message_states(db) == {"sent" if has_logs else "unknown": 1}
