"""The judge can say no: a sender that repeats what it is not sure of, and rows that were bent."""

from __future__ import annotations

from typing import LiteralString

import pytest
from psycopg import AsyncConnection

from outreach.db import Database
from tests.sim.child import Kill
from tests.sim.judge import Ends, judged, violations
from tests.sim.naive import send_again
from tests.sim.world import World, world
from tests.support.database import Databases
from tests.support.factories import run

pytestmark = pytest.mark.slow


async def killed_on_its_way(here: World) -> None:
    """A worker ends while the provider has the mail and has not answered."""
    assert await here.live(Kill("request: on its way"))
    await here.note_kill()


async def test_a_sender_that_repeats_is_found(
    db: Database, conninfo: str, undisturbed: Ends
) -> None:
    async with world(db, conninfo) as here:
        await killed_on_its_way(here)
        await send_again(db, here.sandbox)
        assert await here.play() == []
        found = await violations(db, here.sandbox, lost=here.lost, expected=undisturbed)
    assert any(sentence.startswith("accepted 2 times") for sentence in found)


async def test_the_same_without_repeating_is_in_order(
    db: Database, conninfo: str, undisturbed: Ends
) -> None:
    async with world(db, conninfo) as here:
        await killed_on_its_way(here)
        assert await here.play() == []
        assert await violations(db, here.sandbox, lost=here.lost, expected=undisturbed) == []


BENT: dict[str, LiteralString] = {
    "an attempt nobody answers for": "update send_attempts"
    " set outcome = 'armed', settled_at = null, settled_by = null where outcome = 'accepted'",
    "something due and not done": "update scheduled_actions set state = 'pending', due_at = now()"
    " where kind = 'timeout' and state = 'done'",
    "a claimed action without a message in flight": "update scheduled_actions"
    " set state = 'claimed' where kind = 'send' and state = 'done'",
    "the counter of sender": "update rate_limit_counters set bucket_used = array_fill("
    "0, array[cardinality(bucket_used)]) where scope = 'sender'",
    "the counter of installation": "update installation_counters set bucket_used = array_fill("
    "0, array[cardinality(bucket_used)])",
    "accepted, but None": "delete from message_events; delete from send_attempts;"
    " delete from outbound_messages",
    "a body not applied": "update webhook_deliveries set state = 'received', applied_at = null",
    "an accepted message without its events": "delete from message_events",
    "a step taken twice": "insert into campaign_transitions (tenant_id, enrollment_id,"
    " from_node_id, to_node_id, visit, code, occurred_at) select tenant_id, enrollment_id,"
    " from_node_id, to_node_id, visit, code, occurred_at from campaign_transitions",
    "an enrollment that nothing will move": "update enrollments set state = 'active',"
    " ended_at = null, end_reason = null",
    "an action twice": "insert into scheduled_actions (tenant_id, enrollment_id, campaign_id,"
    " sender_id, node_id, visit, kind, trigger, due_at, state) select tenant_id, enrollment_id,"
    " campaign_id, sender_id, node_id, visit, kind, trigger, due_at, state from scheduled_actions",
    "its records come to delivered": "update outbound_messages set delivery = 'none'",
    "its records come to steps that are no way": "delete from campaign_transitions"
    " where code = 'entered'",
    "enrollments of 40": "delete from enrollments where state = 'completed'",
    "is ('completed'": "update enrollments set current_node_id = 'wait_click'"
    " where state = 'completed'",
}


async def test_bent_rows_are_found(
    db: Database, databases: Databases, conninfo: str, undisturbed: Ends
) -> None:
    async with world(db, conninfo) as here:
        assert await here.play() == []
        ((name,),) = await run(db, "select current_database()")
        superuser = databases.server.conninfo(name)
        async with await AsyncConnection.connect(superuser, autocommit=True) as tx:
            for sentence, statement in BENT.items():
                async with tx.transaction(force_rollback=True):
                    # No guards: the rows are bent as no code of ours could.
                    await tx.execute("set local session_replication_role = replica")
                    await tx.execute(statement)
                    found = await judged(tx, here.sandbox, lost=(), expected=undisturbed)
                assert any(sentence in one for one in found), f"not found: {sentence}: {found}"
            assert await judged(tx, here.sandbox, lost=(), expected=undisturbed) == []
