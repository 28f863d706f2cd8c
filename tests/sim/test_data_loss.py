"""Drills with real clusters: copies, recovery to a point in time, rolled back disks, promotions.

Each world sends a first half of its mail before the moment that will come back, and the second half
after it. Whatever the database then knows, the provider must have taken each mail once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import pytest

from outreach.core.errors import Unavailable
from outreach.core.fence import Held
from outreach.db import Database
from outreach.dev.sandbox import FateRates, SandboxServer, SandboxSettings
from outreach.services import fence
from outreach.services.apply_events import apply_events
from outreach.services.claim import claim_batch
from outreach.services.compose import Terms
from outreach.services.fence_marks import Marks
from outreach.services.fence_watch import Watch
from outreach.services.regain import Gap, reconcile
from tests.sim.world import webhook
from tests.support.clusters import DATABASE, SUPERUSER, Cluster, Yard, yard
from tests.support.database import OWNER
from tests.support.factories import Campaign, run
from tests.support.sending import SECRET, accepted_by_message, due_campaign
from tests.support.waiting import eventually
from tests.support.workers import running_worker, settings_for

HALF = 12
LATER: LiteralString = """
update scheduled_actions set due_at = now() + interval '1 day'
where id in (select id from scheduled_actions where kind = 'send' order by id offset %(half)s)
"""
NOW: LiteralString = """
with unparked as (update tenants set parked_until = null)
update scheduled_actions set due_at = now() where kind = 'send' and state = 'pending'
"""
UNFENCED: LiteralString = """
update installation set fence_system_identifier = null, fence_database = null,
  fence_timeline = null, fence_started_at = null, fence_approved_at = null
"""
QUIET = FateRates(bounce=0, block=0, defer=0, open=0, machine_open=0, click=0, unsubscribe=0,
                  spam=0, repeat=0, disorder=0)  # fmt: skip
NOWHERE = "http://127.0.0.1:9/"

pytestmark = pytest.mark.slow


@dataclass(slots=True)
class Drill:
    """A cluster, a provider that keeps its events to itself for now, and a folder of marks."""

    primary: Cluster
    sandbox: SandboxServer
    state: Path
    campaign: Campaign
    batch_max: int = 100

    @asynccontextmanager
    async def working(self, conninfo: str) -> AsyncIterator[None]:
        """A worker on that database, of this machine."""
        given: dict[str, Any] = {"sendgrid_base_url": self.sandbox.url, "secret_keys": (SECRET,)}
        given |= {"send_batch_max": self.batch_max, "send_batches_in_flight": 1}
        settings = settings_for(conninfo, state_dir=str(self.state), **given)
        async with running_worker(settings):
            yield

    async def accepts(self, count: int) -> None:
        """Wait until the provider has taken so many mails and the answers are written down."""

        async def has() -> bool:
            return len(self.sandbox.accepted) >= count

        await eventually(has)

    async def half(self, conninfo: str) -> None:
        """Send the mail that is due, to the last record."""
        async with self.working(conninfo):
            await self.accepts(len(self.sandbox.accepted) + HALF)
            await all_recorded(conninfo)

    async def recover(self, conninfo: str, *, reason: str) -> Gap:
        """The way of the runbook, on a database that holds; then the rest is sent, each once."""
        async with Database.at(conninfo, application="outreach-drill") as db:
            assert (await fence.status(db)).fence.reason == reason
            async with webhook(conninfo, self.sandbox):
                assert await self.sandbox.flush()
                while await apply_events(db):
                    pass
                gap = await reconcile(db, actor="drill")
            await fence.approve(db, reason="drill", actor="drill")
            await run(db, NOW)
            async with self.working(conninfo):
                await all_recorded(conninfo)
            await self.judge(db)
            return gap

    async def judge(self, db: Database) -> None:
        """Each mail was taken once, and the ledger says so."""
        assert set(accepted_by_message(self.sandbox).values()) == {1}
        assert len(self.sandbox.accepted) == 2 * HALF
        rows = await run(db, "select id::text from outbound_messages where state = 'sent'")
        assert {id_ for (id_,) in rows} == set(accepted_by_message(self.sandbox))


async def all_recorded(conninfo: str) -> None:
    """Wait until nothing is due or under way."""
    question: LiteralString = """
    select exists (select from send_attempts where outcome = 'armed') or exists (
      select from scheduled_actions where kind = 'send' and state <> 'done' and due_at <= now())
    """
    async with Database.at(conninfo, application="outreach-drill") as db:

        async def is_done() -> bool:
            return await run(db, question) == [(False,)]

        await eventually(is_done)


async def state_of(conninfo: str) -> tuple[str, str | None]:
    async with Database.at(conninfo, application="outreach-drill") as db:
        status = await fence.status(db)
        return status.state, status.fence.reason


async def comes_to(conninfo: str, state: str) -> None:
    """Wait until the fence is so."""

    async def is_so() -> bool:
        return (await state_of(conninfo))[0] == state

    await eventually(is_so, seconds=60)


def recover_to(backup: Cluster, point: str) -> None:
    """Start a copy that takes the archive up to a named moment, and goes on from there."""
    (backup.data / "recovery.signal").touch()
    backup.start(
        restore_command=f"cp {backup.yard.archive}/%f %p",
        recovery_target_name=point,
        recovery_target_action="promote",
    )


@pytest.fixture(scope="session")
def template() -> Iterator[Path]:
    """The data of a migrated cluster, stopped."""
    with yard() as found:
        cluster = found.new("template")
        cluster.stop()
        yield cluster.data


@pytest.fixture
def place() -> Iterator[Yard]:
    with yard() as found:
        yield found


@pytest.fixture
async def drill(place: Yard, template: Path, tmp_path: Path) -> AsyncIterator[Drill]:
    """Half of the mail is due; the events of all of it are kept back."""
    primary = place.like(template, "primary")
    settings = SandboxSettings(seed=3, time_scale=0.001, rates=QUIET, webhook_url=NOWHERE)
    async with SandboxServer(settings) as sandbox:
        sandbox.pause()
        async with Database.at(primary.conninfo(), application="outreach-drill") as db:
            campaign = await due_campaign(db, 2 * HALF)
            await run(db, LATER, half=HALF)
        yield Drill(primary, sandbox, tmp_path / "state", campaign)


async def second_half(drill: Drill, conninfo: str) -> None:
    async with Database.at(conninfo, application="outreach-drill") as db:
        await run(db, NOW)
    await drill.half(conninfo)


async def sends_nothing(drill: Drill, conninfo: str) -> None:
    """A worker on it finds it held, and hands over nothing, whatever is due."""
    before = len(drill.sandbox.accepted)
    async with Database.at(conninfo, application="outreach-drill") as db:
        await run(db, NOW)
    async with drill.working(conninfo):
        await comes_to(conninfo, "held")
    assert len(drill.sandbox.accepted) == before


async def test_recovery_to_a_point_in_time_holds_and_is_reconciled(
    drill: Drill, place: Yard
) -> None:
    backup = drill.primary.copy("recovered")
    await drill.half(drill.primary.conninfo())
    drill.primary.ask("select pg_create_restore_point('half')")
    await second_half(drill, drill.primary.conninfo())
    drill.primary.ask("select pg_switch_wal()")
    drill.primary.stop()

    recover_to(backup, "half")
    await eventually(lambda: is_primary(backup))
    await sends_nothing(drill, backup.conninfo())
    gap = await drill.recover(backup.conninfo(), reason="sends_missing")
    assert (gap.messages, gap.unproven) == (HALF, [])


async def test_recovery_into_the_midst_of_sending_doubles_nothing(
    drill: Drill, place: Yard
) -> None:
    backup = drill.primary.copy("recovered")
    conninfo = drill.primary.conninfo()
    drill.batch_max = 2
    async with Database.at(conninfo, application="outreach-drill") as db:
        await run(db, NOW)
    async with drill.working(conninfo):
        await drill.accepts(HALF // 2)
        drill.primary.ask("select pg_create_restore_point('midst')")
        await drill.accepts(2 * HALF)
        await all_recorded(conninfo)
    drill.primary.ask("select pg_switch_wal()")
    drill.primary.stop()
    recover_to(backup, "midst")
    await eventually(lambda: is_primary(backup))

    await sends_nothing(drill, backup.conninfo())
    await drill.recover(backup.conninfo(), reason="sends_missing")


async def test_without_the_fence_a_rewound_database_sends_again(drill: Drill, place: Yard) -> None:
    backup = drill.primary.copy("recovered")
    await drill.half(drill.primary.conninfo())
    drill.primary.ask("select pg_create_restore_point('half')")
    await second_half(drill, drill.primary.conninfo())
    drill.primary.ask("select pg_switch_wal()")
    drill.primary.stop()
    recover_to(backup, "half")
    await eventually(lambda: is_primary(backup))

    async with Database.at(backup.conninfo(), application="outreach-drill") as db:
        await run(db, UNFENCED)
        await run(db, NOW)
    drill.state = drill.state / "elsewhere"
    async with drill.working(backup.conninfo()):
        await drill.accepts(3 * HALF)
    assert sorted(accepted_by_message(drill.sandbox).values()) == [1] * HALF + [2] * HALF


async def test_a_recovered_copy_of_which_nobody_remembers_anything_is_held(
    drill: Drill, place: Yard
) -> None:
    backup = drill.primary.copy("recovered")
    await drill.half(drill.primary.conninfo())
    drill.primary.ask("select pg_switch_wal()")
    drill.primary.stop()
    (backup.data / "recovery.signal").touch()
    backup.start(restore_command=f"cp {place.archive}/%f %p")
    await eventually(lambda: is_primary(backup))

    clock = [0.0]
    async with Database.at(backup.conninfo(), application="outreach-drill") as db:
        stranger = Watch(db, Marks(None), lambda: clock[0])
        await stranger.look()
        assert (await fence.status(db)).state == "unproven"
        clock[0] = 15.0
        assert await stranger.look() == Held("timeline_changed")


async def test_a_restored_dump_is_held_from_its_first_moment(drill: Drill, place: Yard) -> None:
    await drill.half(drill.primary.conninfo())
    roles, dump = place.archive / "roles.sql", place.archive / "dump.sql"
    source = ("-h", drill.primary.socket, *SUPERUSER)
    place.do("pg_dumpall", *source, "--roles-only", "-f", roles)
    place.do("pg_dump", *source, "-f", dump, DATABASE)
    await second_half(drill, drill.primary.conninfo())
    drill.primary.stop("immediate")

    restored = Cluster(place, "restored")
    place.init(restored)
    restored.start()
    words = ("-q", "-h", restored.socket, *SUPERUSER)
    place.do("psql", *words, "-f", roles)
    restored.administer(f"create database {DATABASE} owner {OWNER}")
    place.do("psql", *words, "-v", "ON_ERROR_STOP=1", "-d", DATABASE, "-f", dump)

    assert (await state_of(restored.conninfo()))[0] == "unproven"
    await sends_nothing(drill, restored.conninfo())
    gap = await drill.recover(restored.conninfo(), reason="system_changed")
    assert gap.messages == HALF


async def test_a_disk_that_is_rolled_back_under_a_living_worker_is_held(
    drill: Drill, place: Yard
) -> None:
    conninfo = drill.primary.conninfo()
    await drill.half(conninfo)
    drill.primary.stop()
    snapshot = place.home / "snapshot"
    place.copy_stopped(drill.primary.data, snapshot)
    drill.primary.start()
    async with Database.at(conninfo, application="outreach-drill") as db:
        await run(db, NOW)
    async with drill.working(conninfo):
        await drill.accepts(2 * HALF)
        await all_recorded(conninfo)
        drill.primary.stop("immediate")
        drill.primary.replace_data(snapshot)
        drill.primary.start()
        await comes_to(conninfo, "held")
    assert len(drill.sandbox.accepted) == 2 * HALF

    gap = await drill.recover(conninfo, reason="sends_missing")
    assert gap.messages == HALF


async def test_a_crash_that_loses_nothing_holds_nothing(drill: Drill) -> None:
    conninfo = drill.primary.conninfo()
    await drill.half(conninfo)
    async with Database.at(conninfo, application="outreach-drill") as db:
        await run(db, NOW)
    async with drill.working(conninfo):
        await drill.accepts(HALF + 1)
        drill.primary.stop("immediate")
        drill.primary.start()
        await comes_to(conninfo, "open")
        await drill.accepts(2 * HALF)
    assert max(accepted_by_message(drill.sandbox).values()) == 1
    assert (await state_of(conninfo)) == ("open", None)


def either(first: Cluster, second: Cluster) -> str:
    """Whichever of the two takes writes."""
    hosts = f"{first.socket},{second.socket}"
    return f"postgresql://{OWNER}@/{DATABASE}?host={hosts}&target_session_attrs=read-write"


async def is_primary(cluster: Cluster) -> bool:
    return cluster.ask("select not pg_is_in_recovery()") is True


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
