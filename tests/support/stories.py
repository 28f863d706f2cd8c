"""Messages to which everything happens, and what may have changed by it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from outreach.db import Database
from outreach.services.apply_events import apply_events
from tests.support.factories import Message, enroll, event, make_campaign, make_sent, run
from tests.support.waiting import eventually


async def sent(db: Database, plan: dict[str, Any] | None = None, **at: Any) -> Message:
    """A message of a new tenant, accepted an hour ago."""
    return await make_sent(db, await enroll(db, await make_campaign(db, plan=plan)), **at)


async def drain(db: Database) -> int:
    """Apply until nothing is left; how many deliveries."""
    total = 0
    while applied := await apply_events(db):
        total += applied
    return total


async def state_of(db: Database) -> str:
    """All that events may change, without ids and moments of our own making."""
    parts = await run(
        db,
        "select json_build_array("
        " (select json_agg(x order by x.k) from (select provider_event_id k, event_type, event_at,"
        "   is_machine, outbound_message_id from message_events) x),"
        " (select json_agg(x order by x.k) from (select id k, state, delivery, accepted_attempt"
        "   from outbound_messages) x),"
        " (select json_agg(x order by x.k) from (select id k, state, current_node_id, visits,"
        "   end_reason from enrollments) x),"
        " (select json_agg(x order by x.k, x.reason) from (select value k, reason"
        "   from suppressions) x),"
        " (select json_agg(x order by x.k, x.node_id, x.trigger) from (select enrollment_id k,"
        "   node_id, kind, trigger from scheduled_actions where state = 'pending') x),"
        " (select json_agg(x order by x.k) from (select provider_event_id k, reason,"
        "   adopted_at is not null from unmatched_events) x),"
        " (select json_agg(x order by x.k) from (select id k, state from campaigns) x))::text",
    )
    return str(parts[0][0])


def story_of(message: Message) -> list[dict[str, Any]]:
    """Everything that may happen to a message that is read, with a repeat."""
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)
    opened = event(message, "open", at=at + timedelta(minutes=2))
    return [
        event(message, "processed", at=at),
        event(message, "deferred", at=at + timedelta(seconds=10)),
        event(message, "delivered", at=at + timedelta(minutes=1)),
        event(message, "open", at=at + timedelta(minutes=1), sg_machine_open=True),
        opened,
        opened,
        event(message, "unsubscribe", at=at + timedelta(minutes=3)),
    ]


async def stored(db: Database, message: Message) -> list[tuple[Any, ...]]:
    return await run(
        db,
        "select event_type::text, is_machine from message_events"
        " where tenant_id = %(t)s and outbound_message_id = %(m)s order by event_at, event_type",
        t=message.tenant_id,
        m=message.id,
    )


async def delivery_of(db: Database, message: Message) -> str:
    rows = await run(
        db, "select delivery::text from outbound_messages where id = %(m)s", m=message.id
    )
    return str(rows[0][0])


async def suppressed(db: Database, message: Message) -> list[tuple[Any, ...]]:
    return await run(
        db,
        "select s.value, s.reason::text, c.suppressed_reason::text from suppressions s"
        " join contacts c on c.tenant_id = s.tenant_id and c.email_key = s.value_key"
        " where s.tenant_id = %(t)s order by s.reason",
        t=message.tenant_id,
    )


async def unmatched(db: Database) -> list[tuple[Any, ...]]:
    return await run(
        db,
        "select provider_event_id, reason, adopted_at is not null from unmatched_events"
        " order by provider_event_id",
    )


async def until_somebody_waits(db: Database) -> None:
    """Return once a transaction of this database waits for a lock."""

    async def waits() -> object:
        return await run(
            db,
            "select 1 from pg_stat_activity"
            " where datname = current_database() and wait_event_type = 'Lock'",
        )

    await eventually(waits)
