"""Events lie in their month and each once; what has had its time goes, and nothing else does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import errors

from outreach import config
from outreach.core.errors import Invalid
from outreach.db import Database
from outreach.services import sweep
from outreach.services.doctor import Verdict, examine, judge
from outreach.services.replay import replay
from outreach.services.retention import Policy
from outreach.store import retention as store
from tests.support.factories import Message, event, receive, run
from tests.support.stories import drain, sent, state_of

LONG_AGO = datetime(2024, 2, 10, 12, tzinfo=UTC)
WHERE = (
    "select tableoid::regclass::text, count(*)::int from message_events"
    " where event_at < '2025-01-01' group by 1 order by 1"
)
KEYS = "select count(*)::int from message_event_keys"
FOREVER = Policy(applied_days=36_500, quarantined_days=36_500)


async def told_of_long_ago(db: Database) -> Message:
    message = await sent(db)
    await receive(db, *(event(message, "open", at=LONG_AGO + timedelta(days=d)) for d in (0, 3)))
    await receive(db, event(message, "click", at=LONG_AGO + timedelta(days=40)))
    await drain(db)
    assert await run(db, WHERE) == [("message_events_default", 3)]
    return message


async def events_check(db: Database) -> tuple[Verdict, str]:
    checks = {check.name: check for check in judge(await examine(db))}
    return checks["events"].verdict, checks["events"].sentence


async def test_the_same_event_told_with_another_month_is_the_same_event(db: Database) -> None:
    message = await sent(db)
    now = datetime.now(UTC)
    for months in (0, 1, 14, 0):
        await receive(db, event(message, "open", at=now - timedelta(days=31 * months), id="once"))
        await drain(db)
    stored = await run(db, "select event_at from message_events where event_type = 'opened'")
    assert [at for (at,) in stored] == [now.replace(microsecond=0)], "the time that was told first"


async def test_rows_outside_their_month_are_an_alarm_and_are_brought_there(db: Database) -> None:
    await told_of_long_ago(db)
    before = await state_of(db)
    assert await events_check(db) == (
        Verdict.WARN,
        "Events that lie outside their month (by `event_at`): 3. A worker moves them each minute;"
        " see docs/retention.md if they stay.",
    )
    await sweep.keep_house(db, FOREVER)
    months = [("message_events_2024_02", 2)]
    assert await run(db, WHERE) == [*months, ("message_events_default", 1)], "one month a run"
    await sweep.keep_house(db, FOREVER)
    months.append(("message_events_2024_03", 1))
    assert await run(db, WHERE) == months
    assert await state_of(db) == before
    assert (await events_check(db))[0] is Verdict.OK
    await receive(db, event(None, "open"))
    await sweep.keep_house(db, FOREVER)
    assert await run(db, WHERE) == months


async def test_a_month_that_would_hold_others_up_stays(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await told_of_long_ago(db)
    monkeypatch.setattr(store, "PLACED_MAX", 1)
    await sweep.keep_house(db, FOREVER)
    left = [("message_events_2024_03", 1), ("message_events_default", 2)]
    assert await run(db, WHERE) == left, "the smaller month does not wait for it"


async def test_moments_that_no_month_is_made_for_stay(db: Database) -> None:
    message = await sent(db)
    ahead = datetime.now(UTC) + timedelta(days=200)  # counts as of when it was received
    await receive(db, event(message, "open", at=datetime(2006, 1, 1, tzinfo=UTC)))
    await receive(db, event(message, "open", at=ahead))
    await drain(db)
    await sweep.keep_house(db, FOREVER)
    assert "month (by `event_at`): 1." in (await events_check(db))[1]


async def test_next_month_without_a_place_is_told(db: Database) -> None:
    await run(
        db,
        "do $$ begin execute 'drop table message_events_'"
        " || to_char(now() at time zone 'UTC' + interval '1 month', 'YYYY_MM'); end $$",
    )
    assert (await events_check(db))[0] is Verdict.WARN
    await sweep.keep_house(db, FOREVER)
    assert (await events_check(db))[0] is Verdict.OK


async def test_where_a_lock_is_held_it_gives_up_and_comes_again(
    db: Database, conninfo: str
) -> None:
    await told_of_long_ago(db)
    async with await psycopg.AsyncConnection.connect(conninfo) as holder:
        await holder.execute("select count(*) from message_events_default")  # until it ends
        await sweep.keep_house(db, FOREVER)
        assert (await run(db, WHERE))[0][0] == "message_events_default"
    await sweep.keep_house(db, FOREVER)
    assert (await run(db, WHERE))[0][0] == "message_events_2024_02"


@pytest.mark.parametrize("is_dropped", [True, False])
async def test_old_months_go_one_a_run_and_never_come_back(db: Database, is_dropped: bool) -> None:
    await told_of_long_ago(db)
    policy = Policy(event_months=13, is_dropped=is_dropped, applied_days=36_500)
    await sweep.keep_house(db, policy)
    assert await run(db, WHERE) == [("message_events_default", 1)], "moved, then taken out"
    await sweep.keep_house(db, policy)
    assert await run(db, WHERE) == []
    assert await run(db, KEYS) == [(3,)]
    await replay(db, LONG_AGO, datetime.now(UTC) + timedelta(days=1))
    assert await run(db, WHERE) == []
    kept = await run(
        db, "select relname from pg_class where relkind = 'r' and relname ~ '_detached_' order by 1"
    )
    assert len(kept) == (0 if is_dropped else 2)
    if not is_dropped:
        assert kept[0][0].startswith("message_events_2024_02_detached_2")
    ahead = await run(
        db, "select count(*) from pg_inherits where inhparent = 'message_events'::regclass"
    )
    assert ahead == [(sweep.MONTHS_AHEAD + 3,)], "last month, this one, those ahead, the default"


async def test_without_a_policy_no_month_goes(db: Database) -> None:
    await told_of_long_ago(db)
    for _ in range(3):
        await sweep.keep_house(db)
    assert sum(count for _, count in await run(db, WHERE)) == 3


async def test_bodies_go_by_what_became_of_them(db: Database) -> None:
    for days in (100, 80):
        for state in ("received", "applied", "quarantined"):
            delivery = await receive(db, raw=f"{state} {days}".encode())
            await run(
                db,
                "update webhook_deliveries set state = %(state)s::webhook_state,"
                " received_at = now() - make_interval(days => %(days)s),"
                " applied_at = case when %(state)s <> 'received' then now() end where id = %(id)s",
                days=days,
                state=state,
                id=delivery,
            )
    left = "select convert_from(payload, 'UTF8') from webhook_deliveries order by 1"
    await sweep.keep_house(db)
    bodies = [body for (body,) in await run(db, left)]
    assert bodies == [
        "applied 80",
        "quarantined 100",
        "quarantined 80",
        "received 100",
        "received 80",
    ]
    await sweep.keep_house(db, Policy(applied_days=70, quarantined_days=90))
    bodies = [body for (body,) in await run(db, left)]
    assert bodies == ["quarantined 80", "received 100", "received 80"], "never one not applied"


@pytest.mark.parametrize("role", ["outreach_app", "outreach_readonly"])
async def test_only_a_worker_may(db: Database, role: str) -> None:
    for call in (
        "select place_default_events(1, 1)",
        "select retire_event_month(13, true)",
        "delete from webhook_deliveries",
    ):
        async with db.connection() as connection:
            async with connection.transaction(force_rollback=True):
                await connection.execute(
                    psycopg.sql.SQL("set local role {}").format(psycopg.sql.Identifier(role))
                )
                with pytest.raises(errors.InsufficientPrivilege):
                    await connection.execute(call)


@pytest.mark.parametrize("months", ["12", "0", "many"])
def test_less_than_a_plan_may_look_back_is_refused(
    monkeypatch: pytest.MonkeyPatch, months: str
) -> None:
    monkeypatch.setenv("OUTREACH_EVENT_RETENTION_MONTHS", months)
    with pytest.raises(Invalid, match="OUTREACH_EVENT_RETENTION_MONTHS"):
        config.load()
    monkeypatch.setenv("OUTREACH_EVENT_RETENTION_MONTHS", "13")
    monkeypatch.setenv("OUTREACH_EVENT_RETENTION", "drop")
    assert Policy.of(config.load()) == Policy(event_months=13, is_dropped=True)
