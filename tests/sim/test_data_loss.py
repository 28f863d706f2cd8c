"""Drills with real clusters: copies, recovery to a point in time, rolled back disks."""

from __future__ import annotations

from typing import LiteralString

import pytest

from outreach.core.fence import Held
from outreach.db import Database
from outreach.services import fence
from outreach.services.fence_marks import Marks
from outreach.services.fence_watch import Watch
from tests.sim.drills import HALF, NOW, Drill, all_recorded, comes_to, state_of
from tests.support.clusters import DATABASE, SUPERUSER, Cluster, Yard
from tests.support.database import OWNER
from tests.support.factories import run
from tests.support.sending import accepted_by_message
from tests.support.waiting import eventually

UNFENCED: LiteralString = """
update installation set fence_system_identifier = null, fence_database = null,
  fence_timeline = null, fence_started_at = null, fence_approved_at = null
"""

pytestmark = pytest.mark.slow


def recover_to(backup: Cluster, point: str) -> None:
    """Start a copy that takes the archive up to a named moment, and goes on from there."""
    (backup.data / "recovery.signal").touch()
    backup.start(
        restore_command=f"cp {backup.yard.archive}/%f %p",
        recovery_target_name=point,
        recovery_target_action="promote",
    )


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


async def is_primary(cluster: Cluster) -> bool:
    return cluster.ask("select not pg_is_in_recovery()") is True
