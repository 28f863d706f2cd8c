"""Drills with real clusters: a standby takes over, and what it had not yet heard of."""

from __future__ import annotations

import asyncio
from typing import LiteralString

import pytest

from outreach.core.errors import Unavailable
from outreach.db import Database
from outreach.services.claim import claim_batch
from outreach.services.compose import Terms
from tests.sim.drills import HALF, NOW, Drill, all_recorded, comes_to
from tests.support.clusters import DATABASE, Cluster
from tests.support.database import OWNER
from tests.support.factories import run
from tests.support.sending import SECRET
from tests.support.waiting import eventually
from tests.support.workers import settings_for

pytestmark = pytest.mark.slow


def either(first: Cluster, second: Cluster) -> str:
    """Whichever of the two takes writes."""
    hosts = f"{first.socket},{second.socket}"
    return f"postgresql://{OWNER}@/{DATABASE}?host={hosts}&target_session_attrs=read-write"


async def caught_up(primary: Cluster) -> bool:
    question: LiteralString = """
    select count(*) = 1 from pg_stat_replication where replay_lsn >= pg_current_wal_lsn()
    """
    return primary.ask(question) is True


async def test_a_planned_failover_goes_on_without_a_person(drill: Drill) -> None:
    primary = drill.primary
    standby = primary.copy("standby", "-R")
    standby.start()
    conninfo = either(primary, standby)
    async with drill.working(conninfo):
        await drill.accepts(HALF)
        await all_recorded(conninfo)
        await eventually(lambda: caught_up(primary))
        primary.stop()
        standby.promote()
        await comes_to(conninfo, "open")
        async with Database.at(conninfo, application="outreach-drill") as db:
            await run(db, NOW)
            await drill.accepts(2 * HALF)
            await all_recorded(conninfo)
            acts = await run(db, "select act, reason from audit_log where act like 'fence%%'")
            assert acts == [("fence_passed", "failover_without_loss")]
            await drill.judge(db)


async def test_a_standby_that_lagged_behind_is_held(drill: Drill) -> None:
    primary = drill.primary
    standby = primary.copy("standby", "-R")
    standby.start()
    conninfo = either(primary, standby)
    async with drill.working(conninfo):
        await drill.accepts(HALF)
        await all_recorded(conninfo)
        await eventually(lambda: caught_up(primary))
        standby.administer("alter system set primary_conninfo = ''")
        standby.ask("select pg_reload_conf()")
        await eventually(lambda: is_cut_off(primary))
        async with Database.at(conninfo, application="outreach-drill") as db:
            await run(db, NOW)
        await drill.accepts(2 * HALF)
        primary.stop("immediate")
        standby.promote()
        await comes_to(conninfo, "held")
    assert len(drill.sandbox.accepted) == 2 * HALF

    gap = await drill.recover(conninfo, reason="sends_missing")
    assert gap.messages == HALF


async def is_cut_off(primary: Cluster) -> bool:
    return primary.ask("select count(*) = 0 from pg_stat_replication") is True


async def test_a_commit_that_no_standby_has_confirmed_arms_nothing(drill: Drill) -> None:
    primary = drill.primary
    primary.administer("alter system set synchronous_standby_names = '*'")
    settings = settings_for(
        primary.conninfo(), sendgrid_base_url=drill.sandbox.url, secret_keys=(SECRET,)
    )
    terms = Terms(settings.public_url, settings.secrets)
    async with Database.at(primary.conninfo(), application="outreach-drill") as db:
        primary.ask("select pg_reload_conf()")
        await eventually(lambda: has_setting(primary))
        claim = asyncio.create_task(
            claim_batch(db, drill.campaign.tenant_id, size_max=5, terms=terms, deadline_seconds=10)
        )
        await eventually(lambda: is_canceled(primary))
        with pytest.raises(Unavailable, match="replication"):
            await claim
    question: LiteralString = "select count(*) from send_attempts where outcome = 'armed'"
    assert primary.ask(question) == 5, "they are there; they may be forgotten"


async def has_setting(primary: Cluster) -> bool:
    return primary.ask("select current_setting('synchronous_standby_names') = '*'") is True


async def is_canceled(primary: Cluster) -> bool:
    question: LiteralString = """
    select bool_or(pg_cancel_backend(pid)) from pg_stat_activity where wait_event = 'SyncRep'
    """
    return primary.ask(question) is True
