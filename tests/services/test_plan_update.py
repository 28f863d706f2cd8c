"""A running campaign goes over to a new plan: everybody, once, or nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import pytest
from psycopg.sql import SQL, Identifier

from outreach.core.errors import Conflict, Invalid, NotFound, Refused
from outreach.core.outcome import Accepted
from outreach.db import Database, Role
from outreach.services import plan_update
from outreach.services.campaign_control import stop
from outreach.services.fire_timers import fire_timers
from outreach.services.outcomes import Result, record_outcomes
from outreach.services.plan_update import Updated
from outreach.services.plan_versions import preview
from tests.services.test_claim import claim
from tests.support.database import Databases
from tests.support.factories import (
    PLAN,
    Campaign,
    Enrollment,
    enroll,
    event,
    make_campaign,
    make_message,
    make_sent,
    make_tenant,
    position_of,
    receive,
    run,
)
from tests.support.people import ACTOR
from tests.support.stories import drain

INTRO, WAIT, BUMP = 0, 1, 2
LONELY: dict[str, Any] = {"nodes": [{**PLAN["nodes"][INTRO], "transitions": []}]}
CAMPAIGN_STATE: LiteralString = "select state::text from campaigns where id = %(c)s"


@pytest.fixture(scope="module")
def conninfo(databases: Databases) -> Iterator[str]:
    """One database for all: each test has a tenant of its own."""
    name = databases.create()
    yield databases.conninfo(name)
    databases.drop(name)


def changed(**nodes: dict[str, Any]) -> dict[str, Any]:
    """The small plan with other fields in some nodes."""
    plan = deepcopy(PLAN)
    for node in plan["nodes"]:
        node.update(nodes.get(node["id"], {}))
    return plan


def renamed(**names: str) -> dict[str, Any]:
    """The small plan with other ids for some nodes."""
    text = json.dumps(PLAN)
    for old, new in names.items():
        text = text.replace(f'"{old}"', f'"{new}"')
    plan: dict[str, Any] = json.loads(text)
    return plan


async def update(
    db: Database,
    campaign: Campaign,
    plan: dict[str, Any],
    mapping: dict[str, str] | None = None,
    **given: Any,
) -> Updated:
    return await plan_update.update(
        db,
        campaign.tenant_id,
        str(campaign.id),
        plan=json.dumps(plan).encode(),
        mapping=mapping or {},
        actor=ACTOR,
        **given,
    )


async def at_bump(db: Database, campaign: Campaign) -> Enrollment:
    """An enrollment whose second mail is due."""
    enrollment = await enroll(db, campaign)
    await make_sent(db, enrollment, age=timedelta(hours=73))
    await fire_timers(db, campaign.tenant_id)
    assert (await position_of(db, enrollment))[1] == "bump"
    return enrollment


async def pending(db: Database, enrollment: Enrollment) -> list[Any]:
    return await run(
        db,
        "select kind::text, node_id, visit, trigger, due_at from scheduled_actions"
        " where enrollment_id = %(e)s and state = 'pending' order by kind, trigger",
        e=enrollment.id,
    )


async def versions_run(db: Database, campaign: Campaign) -> list[Any]:
    query: LiteralString = (
        "select plan_version, count(*) from enrollments where tenant_id = %(t)s"
        " group by 1 order by 1"
    )
    return await run(db, query, t=campaign.tenant_id)


async def everything(db: Database, campaign: Campaign) -> list[Any]:
    """All that an update may write."""
    tables: tuple[LiteralString, ...] = (
        "campaigns",
        "campaign_plans",
        "enrollments",
        "scheduled_actions",
        "campaign_transitions",
        "audit_log",
    )
    statement: LiteralString = (
        "select to_jsonb(x) from {} x where tenant_id = %(t)s order by to_jsonb(x)"
    )
    async with db.connection() as connection:
        return [
            await (
                await connection.execute(
                    SQL(statement).format(Identifier(table)), {"t": campaign.tenant_id}
                )
            ).fetchall()
            for table in tables
        ]


async def test_who_has_not_been_written_to_gets_the_new_words(db: Database) -> None:
    campaign = await make_campaign(db)
    written, waiting = await enroll(db, campaign), await enroll(db, campaign)
    await make_sent(db, written)
    timers = await pending(db, written)
    done = await update(db, campaign, changed(intro={"subject": "New"}), reason="a typo")
    assert (done.version, done.carried, done.mapped, done.stopped, done.retimed) == (2, 2, 0, 0, 0)
    assert await versions_run(db, campaign) == [(2, 2)]
    taken = await claim(db, campaign.tenant_id)
    assert [(mail.to_address, mail.subject) for mail in taken.mails] == [(waiting.email, "New")]
    words = "select subject from outbound_messages where enrollment_id = %(e)s"
    assert await run(db, words, e=written.id) == [("Subject",)]
    assert await pending(db, written) == timers, "timers of a node that keeps them stay"
    acts = await run(
        db,
        "select actor, reason, detail ->> 'from_version', detail ->> 'to_version' from audit_log"
        " where act = 'campaign_plan_updated' and tenant_id = %(t)s",
        t=campaign.tenant_id,
    )
    assert acts == [(ACTOR, "a typo", "1", "2")]


async def test_a_retry_says_what_its_first_attempt_said(db: Database) -> None:
    campaign = await make_campaign(db)
    message = await make_message(db, await enroll(db, campaign), outcome="unknown")
    async with db.transaction(Role.WORKER, campaign.tenant_id) as tx:
        # Row level security keeps these to the tenant.
        await tx.execute("update send_attempts set outcome = 'not_sent'")
        await tx.execute("update outbound_messages set state = 'waiting_retry', wake_at = now()")
        await tx.execute("update scheduled_actions set state = 'pending'")
    await update(db, campaign, changed(intro={"subject": "New"}))
    (mail,) = (await claim(db, campaign.tenant_id)).mails
    assert (mail.message_id, mail.attempt, mail.subject) == (message.id, 2, "Subject")


async def test_timers_that_change_are_set_anew_from_where_they_counted(db: Database) -> None:
    campaign = await make_campaign(db)
    late, early = await enroll(db, campaign), await enroll(db, campaign)
    await make_sent(db, late, age=timedelta(hours=30))
    await make_sent(db, early, age=timedelta(hours=1))
    plan = changed(
        intro={
            "transitions": [
                {"on": "opened", "to": "wait_click"},
                {"on": "no_open", "to": "bump", "after": "PT24H"},
            ]
        }
    )
    assert (await update(db, campaign, plan)).retimed == 2
    ((kind, node_id, visit, trigger, due_at),) = await pending(db, early)
    assert (kind, node_id, visit, trigger) == ("timeout", "intro", 1, "no_open")
    assert timedelta(hours=22) < due_at - datetime.now(UTC) < timedelta(hours=24)
    await fire_timers(db, campaign.tenant_id)
    assert await position_of(db, late) == ("active", "bump", None)
    assert await position_of(db, early) == ("active", "intro", None)


async def test_what_happened_before_forbids_a_timer_that_is_set_anew(db: Database) -> None:
    campaign = await make_campaign(db)
    enrollment = await enroll(db, campaign)
    message = await make_sent(db, enrollment, age=timedelta(hours=30))
    opened_at = datetime.now(UTC) - timedelta(hours=29)
    await receive(db, event(message, "open", at=opened_at))
    await drain(db)
    assert await position_of(db, enrollment) == ("active", "wait_click", None)
    plan = changed(
        wait_click={
            "transitions": [
                {"on": "clicked", "to": "stop"},
                {"on": "no_open", "to": "bump", "after": "PT1H"},
            ]
        }
    )
    assert (await update(db, campaign, plan)).retimed == 1
    ((_, _, _, trigger, _),) = await pending(db, enrollment)
    assert trigger == "no_open", "it has not come due since the node was entered"


async def test_where_nothing_is_left_to_wait_for_the_enrollment_completes(db: Database) -> None:
    campaign = await make_campaign(db)
    enrollment = await enroll(db, campaign)
    await make_sent(db, enrollment)
    await update(db, campaign, PLAN | LONELY)
    assert await position_of(db, enrollment) == ("completed", "intro", "completed")
    assert await run(db, CAMPAIGN_STATE, c=campaign.id) == [("completed",)]


@pytest.mark.parametrize("mapping", [{}, {"wait_click": "rest"}])
async def test_nobody_is_left_on_a_node_that_vanished(
    db: Database, mapping: dict[str, str]
) -> None:
    campaign = await make_campaign(db)
    await at_bump(db, campaign)
    before = await everything(db, campaign)
    with pytest.raises(Invalid) as refused:
        await update(db, campaign, renamed(bump="nudge", wait_click="rest"), mapping)
    (problem,) = refused.value.problems
    assert problem.path == "map.bump"
    assert problem.message.startswith("1 live enrollment on bump, which is not in the new plan")
    assert await everything(db, campaign) == before


async def test_a_bad_mapping_is_refused_whole(db: Database) -> None:
    campaign = await make_campaign(db)
    await at_bump(db, campaign)
    before = await everything(db, campaign)
    mapping = {"intro": "nudge", "bump": "wait_click", "gone": "nudge"}
    with pytest.raises(Invalid) as refused:
        await update(db, campaign, renamed(bump="nudge"), mapping)
    paths = [problem.path for problem in refused.value.problems]
    assert paths == ["map.intro", "map.bump", "map.gone"]
    assert await everything(db, campaign) == before


async def test_what_is_pending_goes_with_who_is_mapped(db: Database) -> None:
    campaign = await make_campaign(db)
    enrollment = await at_bump(db, campaign)
    done = await update(db, campaign, renamed(bump="nudge"), {"bump": "nudge"})
    assert (done.carried, done.mapped) == (1, 1)
    assert await position_of(db, enrollment) == ("active", "nudge", None)
    (mail,) = (await claim(db, campaign.tenant_id)).mails
    assert mail.subject == "Once more"
    result = Result(mail.message_id, 1, Accepted("id", 202), "answer")
    async with db.transaction(Role.WORKER, campaign.tenant_id) as tx:
        await record_outcomes(tx, campaign.tenant_id, [result])
    assert await position_of(db, enrollment) == ("completed", "nudge", "completed")
    steps = await run(
        db,
        "select from_node_id, to_node_id, visit, code, detail from campaign_transitions"
        " where code = 'plan_updated' and enrollment_id = %(e)s",
        e=enrollment.id,
    )
    assert steps == [("bump", "nudge", 1, "plan_updated", {"who": ACTOR})]


async def test_what_was_sent_before_a_mapping_is_not_sent_again(db: Database) -> None:
    campaign = await make_campaign(db)
    enrollment = await enroll(db, campaign)
    message = await make_sent(db, enrollment)
    timers = await pending(db, enrollment)
    await update(db, campaign, renamed(intro="hello"), {"intro": "hello"})
    ((kind, node_id, visit, trigger, due_at),) = await pending(db, enrollment)
    assert (kind, node_id, visit, trigger) == ("timeout", "hello", 1, "no_open")
    assert due_at == timers[0][4]
    assert (await claim(db, campaign.tenant_id)).mails == []
    await receive(db, event(message, "open"))
    await drain(db)
    assert await position_of(db, enrollment) == ("active", "wait_click", None)


async def test_a_node_mapped_to_stop_ends_who_stands_on_it(db: Database) -> None:
    campaign = await make_campaign(db)
    ended, kept = await at_bump(db, campaign), await enroll(db, campaign)
    plan = changed(
        intro={"transitions": [{"on": "opened", "to": "wait_click"}]},
        wait_click={"transitions": [{"on": "clicked", "to": "stop"}]},
    )
    plan["nodes"].pop(BUMP)
    done = await update(db, campaign, plan, {"bump": "stop"})
    assert (done.carried, done.stopped) == (1, 1)
    assert await position_of(db, ended) == ("stopped", "bump", "node_removed")
    assert await position_of(db, kept) == ("active", "intro", None)
    assert await pending(db, ended) == []
    assert await versions_run(db, campaign) == [(1, 1), (2, 1)]


async def test_mail_on_its_way_keeps_its_node(db: Database) -> None:
    campaign = await make_campaign(db)
    await make_message(db, await enroll(db, campaign))
    before = await everything(db, campaign)
    with pytest.raises(Conflict, match=r"still sending mail \(1 of intro\)"):
        await update(db, campaign, renamed(intro="hello"), {"intro": "hello"})
    assert await everything(db, campaign) == before


async def test_a_stale_version_is_told_with_both(db: Database) -> None:
    campaign = await make_campaign(db)
    await update(db, campaign, changed(intro={"subject": "New"}), if_version=1)
    before = await everything(db, campaign)
    with pytest.raises(Conflict, match=r"at version 2; this needs it to be at version 1\."):
        await update(db, campaign, changed(intro={"subject": "Newer"}), if_version=1)
    assert await everything(db, campaign) == before


async def test_the_same_plan_is_no_new_version(db: Database) -> None:
    campaign = await make_campaign(db)
    before = await everything(db, campaign)
    done = await update(db, campaign, PLAN)
    assert (done.version, done.preview.diff.is_empty) == (1, True)
    assert await everything(db, campaign) == before


async def test_a_preview_counts_and_changes_nothing(db: Database) -> None:
    campaign = await make_campaign(db)
    await at_bump(db, campaign)
    await make_sent(db, await enroll(db, campaign))
    await make_message(db, await enroll(db, campaign))
    before = await everything(db, campaign)
    plan = json.dumps(renamed(intro="hello", bump="nudge")).encode()
    found = await preview(db, campaign.tenant_id, str(campaign.id), plan=plan, mapping={})
    assert [
        (one.node_id, one.enrollments, one.sends, one.on_the_way, one.timers)
        for one in found.touched
    ] == [("bump", 1, 1, 0, 0), ("intro", 2, 0, 1, 1)]
    assert found.vanished == ("intro", "bump")
    assert [one.node_id for one in found.unmapped] == ["bump", "intro"]
    assert [one.node_id for one in found.busy] == ["intro"]
    assert (found.untouched, found.drafts) == (0, 0)
    assert await everything(db, campaign) == before


async def test_what_cannot_be_updated_says_why(db: Database) -> None:
    campaign = await make_campaign(db)
    other = await make_tenant(db)
    with pytest.raises(NotFound):
        await plan_update.update(
            db, other, str(campaign.id), plan=json.dumps(PLAN).encode(), mapping={}, actor=ACTOR
        )
    with pytest.raises(Invalid):
        await update(db, campaign, {"version": "1.0"})
    await stop(db, campaign.tenant_id, str(campaign.id), actor=ACTOR)
    with pytest.raises(Conflict, match="is stopped"):
        await update(db, campaign, changed(intro={"subject": "New"}))


async def test_a_node_may_get_another_sender_who_is_verified(db: Database) -> None:
    campaign = await make_campaign(db)
    other = await make_campaign(db, campaign.tenant_id)
    await enroll(db, campaign)
    plan = changed(intro={"sender_identity_id": str(other.sender_id)})
    verify: LiteralString = (
        "update sender_identities set state = %(state)s::sender_state, verified_at = %(at)s"
        " where id = %(s)s"
    )
    await run(db, verify, s=other.sender_id, state="unverified", at=None)
    with pytest.raises(Refused, match="not verified"):
        await update(db, campaign, plan)
    await run(db, verify, s=other.sender_id, state="verified", at=datetime.now(UTC))
    await update(db, campaign, plan)
    senders = await run(
        db, "select sender_id from scheduled_actions where campaign_id = %(c)s", c=campaign.id
    )
    assert senders == [(other.sender_id,)]
    assert len((await claim(db, campaign.tenant_id)).mails) == 1


async def test_many_are_set_anew_in_batches(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_update, "RETIME_BATCH_ROWS", 2)
    campaign = await make_campaign(db)
    for _ in range(5):
        await make_sent(db, await enroll(db, campaign))
    plan = changed(intro={"transitions": [{"on": "no_open", "to": "bump", "after": "P9D"}]})
    plan["nodes"].pop(WAIT)
    assert (await update(db, campaign, plan)).retimed == 5
    due: LiteralString = (
        "select count(*), min(due_at) > now() + interval '8 days' from scheduled_actions"
    )
    where: LiteralString = " where state = 'pending' and campaign_id = %(c)s"
    assert await run(db, due + where, c=campaign.id) == [(5, True)]
