"""`rebuild --check`: nothing differs after whatever happened, and each damage is found."""

from __future__ import annotations

from typing import LiteralString

from psycopg import AsyncConnection

from outreach.db import Database
from outreach.services import rebuild
from outreach.services.apply_events import apply_events
from tests.support.database import Databases
from tests.support.factories import enroll, event, make_campaign, make_sent, receive, run
from tests.support.rebuilding import compared_in, everything_happens


async def test_nothing_differs_whatever_happened(db: Database) -> None:
    campaign = await everything_happens(db)
    pages = [page async for page in rebuild.check(db, campaign.tenant_id, rows_max=4)]
    assert [one for page in pages for one in page.differences] == []
    assert sum(page.compared for page in pages) == 3 * 14


# What is done to the rows, and the difference that shows it.
DAMAGE: dict[tuple[str, str], LiteralString] = {
    ("message", "delivery"): "update outbound_messages set delivery = 'complained'"
    " where delivery = 'delivered'",
    ("message", "state"): "update outbound_messages set state = 'failed' where state = 'unknown'",
    ("message", "accepted_attempt"): "update outbound_messages set accepted_attempt = 2"
    " where delivery = 'bounced'",
    ("message", "attempts"): "update outbound_messages set attempts = 7 where state = 'failed'",
    ("message", "proof"): "update send_attempts set outcome = 'not_sent' where message_id in"
    " (select id from outbound_messages where delivery = 'deferred')",
    ("enrollment", "state"): "update enrollments set state = 'active', paused_at = null"
    " where state = 'paused'",
    ("enrollment", "current_node_id"): "update enrollments set current_node_id = 'bump'"
    " where current_node_id = 'intro'",
    ("enrollment", "visits"): "update enrollments set visits = '{\"intro\": 9}'",
    ("enrollment", "end_reason"): "update enrollments set end_reason = 'replied'"
    " where state = 'stopped'",
    ("enrollment", "latest_message_id"): "update enrollments set latest_message_id = null",
    ("enrollment", "steps"): "delete from campaign_transitions where code = 'step_taken_back'",
    ("event", "suppression"): "delete from suppressions where reason = 'bounce'",
    ("event", "step"): "update message_events set provider_event_id = 'another'"
    " where event_type = 'opened'; update message_events set event_type = 'unsubscribed'"
    " where provider_event_id = 'another'",
    ("contact", "suppressed_reason"): "update contacts set suppressed_reason = null,"
    " suppressed_at = null",
}


async def test_each_damage_is_found(db: Database, databases: Databases) -> None:
    campaign = await everything_happens(db)
    ((name,),) = await run(db, "select current_database()")
    superuser = databases.server.conninfo(name)
    async with await AsyncConnection.connect(superuser, autocommit=True) as tx:
        for (kind, field), statement in DAMAGE.items():
            async with tx.transaction(force_rollback=True):
                # No guards: the rows are bent as no code of ours could.
                await tx.execute("set local session_replication_role = replica")
                await tx.execute(statement)
                found = await compared_in(tx, campaign.tenant_id)
            shown = {(one.kind, one.field) for one in found}
            assert (kind, field) in shown, f"not found: {kind} {field}: {found}"
        assert await compared_in(tx, campaign.tenant_id) == []


async def test_a_suppression_lifted_before_the_event_came_is_missed(db: Database) -> None:
    campaign = await make_campaign(db)
    message = await make_sent(db, await enroll(db, campaign))
    await receive(db, event(message, "unsubscribe"))
    await apply_events(db)
    await run(
        db,
        "update suppressions set lifted_by = 'ana', source = '',"
        " lifted_at = now() - interval '1 hour'",
    )
    await run(db, "update contacts set suppressed_at = null, suppressed_reason = null")
    (page, _) = [page async for page in rebuild.check(db, campaign.tenant_id)]
    ((kind, field, derived),) = [(one.kind, one.field, one.derived) for one in page.differences]
    assert (kind, field, derived) == ("event", "suppression", "unsubscribe")


async def test_a_check_reads_its_own_tenant_and_writes_nothing(db: Database) -> None:
    here, there = await make_campaign(db), await make_campaign(db)
    for campaign in (here, there):
        await make_sent(db, await enroll(db, campaign))
    await run(
        db,
        "update outbound_messages set delivery = 'delivered' where tenant_id = %(t)s",
        t=there.tenant_id,
    )
    assert [p.differences async for p in rebuild.check(db, here.tenant_id)] == [[], []]
    found = [one async for p in rebuild.check(db, there.tenant_id) for one in p.differences]
    assert [(one.stored, one.derived) for one in found] == [("delivered", "none")]
