"""A database that may have forgotten something sends nothing until an operator has approved it.

What a restore or a rewind makes of a database is made here by statements; real ones are in
tests/sim/test_data_loss.py.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID

import pytest

from outreach.core.errors import Invalid, Refused
from outreach.core.fence import Held, Open, Wait
from outreach.db import Database, Role
from outreach.ids import new_id
from outreach.services import fence
from outreach.services.fence_marks import FILE_BYTES_MAX, Marks
from outreach.services.fence_watch import Watch
from outreach.services.send import SendContext
from outreach.services.sweep import is_idle
from outreach.store import fence as store
from tests.support.factories import run
from tests.support.sending import accepted_by_message, drain, due_campaign, sending

RESTART: LiteralString = """
with pulse as (update fence_pulses set proven_started_at = proven_started_at - interval '1 hour')
update installation set fence_started_at = fence_started_at - interval '1 hour'
"""
PROMOTE: LiteralString = """
with pulse as (update fence_pulses set proven_started_at = proven_started_at - interval '1 hour')
update installation set fence_started_at = fence_started_at - interval '1 hour',
  fence_timeline = fence_timeline - 1
"""
UNPARK: LiteralString = "update tenants set parked_until = null"
FORGET_PULSES: LiteralString = "update fence_pulses set sequence = sequence - 1"


def watch_with(db: Database, folder: Path | None = None) -> Watch:
    return Watch(db, Marks(folder))


def the_file(folder: Path) -> Path:
    (file,) = folder.glob("mark-*.jsonl")
    return file


async def acts(db: Database) -> list[Any]:
    return [act for (act,) in await run(db, "select act from audit_log order by created_at")]


async def test_the_first_look_makes_the_database_the_one_that_counts(db: Database) -> None:
    assert (await fence.status(db)).fence.approved is None

    assert await watch_with(db).look() == Open("first_run")

    status = await fence.status(db)
    assert status.state == "open"
    assert status.fence.approved == status.present
    with pytest.raises(Refused, match="Nothing is held"):
        await fence.approve(db, reason="why not", actor="ops")


async def test_a_restart_sends_nothing_until_it_was_looked_at(db: Database) -> None:
    async with sending(db) as (context, sandbox):
        campaign = await due_campaign(db, 3)
        watch = watch_with(db)
        await watch.look()
        await run(db, RESTART)
        assert (await fence.status(db)).state == "unproven"

        await drain(context, campaign.tenant_id)
        assert len(sandbox.accepted) == 0
        holds = await run(db, "select reason from send_holds where ended_at is null")
        assert holds == [("data_loss_hold",)]

        assert await watch.look() == Open("restart")
        await run(db, UNPARK)
        await drain(context, campaign.tenant_id)
        assert len(sandbox.accepted) == 3
        assert await run(db, "select reason from send_holds where ended_at is null") == []


async def test_a_worker_that_was_alive_is_waited_for_before_a_restart_goes_on(
    db: Database,
) -> None:
    clock = [0.0]
    other, ours = watch_with(db), Watch(db, Marks(None), lambda: clock[0])
    await other.look()
    await run(db, RESTART)

    assert await ours.look() == Wait()
    clock[0] = 5.0
    assert await ours.look() == Open("restart")


async def test_a_worker_that_remembers_more_holds_everything(db: Database) -> None:
    async with sending(db) as (context, sandbox):
        campaign = await due_campaign(db, 3)
        watch = watch_with(db)
        await watch.look()
        await run(db, RESTART)
        await run(db, FORGET_PULSES)

        assert await watch.look() == Held("sends_missing")
        assert await watch.look() == Held("sends_missing")
        await drain(context, campaign.tenant_id)
        assert len(sandbox.accepted) == 0
        assert await is_idle(db), "nothing can be done until somebody acts"
        status = await fence.status(db)
        assert (status.state, status.fence.reason) == ("held", "sends_missing")
        assert str(watch._marks.own.worker_id) in str(status.fence.detail["missing"])

        with pytest.raises(Invalid):
            await fence.approve(db, reason=" ", actor="ops")
        assert (await fence.approve(db, reason="looked", actor="ops")).state == "open"
        await run(db, UNPARK)
        await drain(context, campaign.tenant_id)
        assert len(sandbox.accepted) == 3
        assert await watch.look() == Open("same_run")
        assert await acts(db) == ["data_loss_held", "fence_approved"]


async def test_an_attempt_that_is_remembered_and_unknown_holds_everything(db: Database) -> None:
    watch = watch_with(db)
    await watch.look()
    watch._marks.note(new_id(), new_id(), 1)
    assert await watch.look() == Open("same_run"), "asked only of a new run"
    watch._marks.note(new_id(), new_id(), 1)
    await run(db, RESTART)

    assert await watch.look() == Held("sends_missing")


async def test_what_was_sent_and_is_known_holds_nothing(db: Database, tmp_path: Path) -> None:
    async with sending(db) as (context, sandbox):
        campaign = await due_campaign(db, 3)
        watch = watch_with(db, tmp_path)
        await watch.look()
        await drain(replace(context, armed=watch.note), campaign.tenant_id)
        assert len(sandbox.accepted) == 3
        assert watch._marks.own.attempts, "the batch is remembered until the next pulse"
        await run(db, RESTART)

        next_worker = watch_with(db, tmp_path)
        assert await next_worker.look() == Open("restart"), "it speaks for the one that died, too"


async def test_the_file_of_a_dead_worker_objects(db: Database, tmp_path: Path) -> None:
    dead = watch_with(db, tmp_path)
    await dead.look()
    dead._marks.close()
    await run(db, RESTART)
    await run(db, FORGET_PULSES)

    assert await watch_with(db, tmp_path).look() == Held("sends_missing")


async def test_a_mark_older_than_an_approval_says_nothing(db: Database, tmp_path: Path) -> None:
    dead, watch = watch_with(db, tmp_path), watch_with(db)
    await dead.look()
    await watch.look()
    dead._marks.close()
    await run(db, FORGET_PULSES)
    await run(db, RESTART)
    assert await watch.look() == Held("sends_missing")
    await fence.approve(db, reason="looked", actor="ops")
    await run(db, RESTART)

    assert await watch_with(db, tmp_path).look() in (Open("restart"), Wait())


async def test_a_mark_newer_than_the_databases_approval_objects(db: Database) -> None:
    watch = watch_with(db)
    await watch.look()
    watch._marks.own.epoch = 1
    await run(db, RESTART)

    assert await watch.look() == Held("sends_missing")


async def test_a_promotion_goes_on_by_a_worker_that_lived_through_it(db: Database) -> None:
    watch = watch_with(db)
    await watch.look()
    await run(db, PROMOTE)

    assert await watch.look() == Open("failover_without_loss")
    assert await acts(db) == ["fence_passed"]


async def test_a_promotion_that_nobody_saw_is_held(db: Database) -> None:
    clock = [0.0]
    await watch_with(db).look()
    await run(db, PROMOTE)

    ours = Watch(db, Marks(None), lambda: clock[0])
    assert await ours.look() == Wait()
    clock[0] = 15.0
    assert await ours.look() == Held("timeline_changed")


async def test_an_announced_promotion_goes_on(db: Database) -> None:
    clock = [0.0]
    await watch_with(db).look()
    await fence.expect_failover(db, seconds=900, actor="ops")
    await run(db, PROMOTE)

    ours = Watch(db, Marks(None), lambda: clock[0])
    assert await ours.look() == Wait()
    clock[0] = 5.0
    assert await ours.look() == Open("failover_announced")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("update installation set fence_system_identifier = 5", "system_changed"),
        ("update installation set fence_database = 5", "database_changed"),
        (
            "update installation set fence_timeline = 9, fence_started_at = '2020-01-01Z'",
            "timeline_went_back",
        ),
    ],
)
async def test_another_cluster_or_database_is_held(
    db: Database, change: LiteralString, reason: str
) -> None:
    watch = watch_with(db)
    await watch.look()
    await run(db, change)

    assert await watch.look() == Held(reason)


async def test_a_claim_in_another_database_finds_itself_fenced(db: Database) -> None:
    async with sending(db) as (context, sandbox):
        campaign = await due_campaign(db, 1)
        await watch_with(db).look()
        await run(db, "update installation set fence_database = 5")

        await drain(context, campaign.tenant_id)
        assert len(sandbox.accepted) == 0


async def test_a_worker_that_ended_in_good_order_is_not_waited_for(db: Database) -> None:
    gone, ours = watch_with(db), watch_with(db)
    await gone.look()
    await ours.look()
    await gone.end()
    await run(db, RESTART)

    assert await ours.look() == Open("restart")


async def test_a_folder_that_cannot_be_written_costs_the_files_only(
    db: Database, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file")
    watch = watch_with(db, tmp_path / "taken" / "state")

    assert await watch.look() == Open("first_run")
    await run(db, RESTART)
    await run(db, FORGET_PULSES)
    assert await watch.look() == Held("sends_missing"), "memory is as good while it lasts"


async def test_a_torn_or_foreign_file_says_nothing(db: Database, tmp_path: Path) -> None:
    dead = watch_with(db, tmp_path)
    await dead.look()
    file = the_file(tmp_path)
    dead._marks.close()
    whole = file.read_bytes()
    file.write_bytes(whole + b"not JSON\n[]\n" + b'{"attempt": ["x", "y", 1]}\n' + whole[:20])
    (tmp_path / file.name.replace(file.stem[-36:], "nobody")).write_bytes(b"\xff\xfe\n")
    await run(db, RESTART)

    assert await watch_with(db, tmp_path).look() == Open("restart")


async def test_files_of_the_dead_go_and_a_long_file_begins_anew(
    db: Database, tmp_path: Path
) -> None:
    dead = watch_with(db, tmp_path)
    await dead.look()
    dead._marks.close()
    watch = watch_with(db, tmp_path)
    await watch.look()
    file = the_file(tmp_path)
    assert str(watch._marks.own.worker_id) in file.name
    with file.open("ab") as longer:
        longer.write(b"\n" * FILE_BYTES_MAX)

    await watch.look()
    file = the_file(tmp_path)
    assert file.stat().st_size < 1000


async def test_files_that_are_too_old_to_say_anything_go_whose_they_are(
    db: Database, tmp_path: Path
) -> None:
    old, young = tmp_path / f"mark-1-2-{new_id()}.jsonl", tmp_path / f"mark-1-2-{new_id()}.jsonl"
    for file in (old, young):
        file.write_text("")
    os.utime(old, (0, 0))

    await watch_with(db, tmp_path).look()

    assert not old.exists()
    assert young.exists()


async def test_batches_are_remembered_before_their_requests_begin(db: Database) -> None:
    async with sending(db, send_batch_max=2) as (context, sandbox):
        campaign = await due_campaign(db, 4)
        noted: list[tuple[int, int]] = []
        watching: SendContext = replace(
            context, armed=lambda _, mails: noted.append((len(mails), len(sandbox.accepted)))
        )
        await drain(watching, campaign.tenant_id)

        assert [mails for mails, _ in noted if mails] == [2, 2]
        assert noted[0] == (2, 0)
        assert max(accepted_by_message(sandbox).values()) == 1


async def test_two_looks_at_once_settle_on_one_story(db: Database) -> None:
    first, second = watch_with(db), watch_with(db)
    await asyncio.gather(first.look(), second.look())
    await run(db, PROMOTE)
    await asyncio.gather(first.look(), second.look())
    await asyncio.gather(first.look(), second.look())

    assert (await fence.status(db)).state == "open"
    assert (await acts(db)).count("fence_passed") == 1


async def test_a_file_that_somebody_else_removed_meanwhile_is_passed_over(
    db: Database, tmp_path: Path
) -> None:
    """Workers that start together find the same dead files, and each is removed by one of them."""
    async with db.transaction(Role.WORKER) as tx:
        identity = await store.get_identity(tx)
    dead = Marks(tmp_path)
    dead.pulsed(identity, 1, 1, 0)
    dead.close()
    name = the_file(tmp_path).name.replace(str(dead.own.worker_id), str(UUID(int=0)))
    (tmp_path / name).symlink_to("removed")  # listed, and gone when it is opened

    ours = Marks(tmp_path)
    ours.pulsed(identity, 1, 1, 0)
    ours.forget_dead(identity)

    assert owners(tmp_path) == {str(ours.own.worker_id)}
    ours.close()


def owners(folder: Path) -> set[str]:
    """Whose files are there."""
    files = [path for path in folder.glob("mark-*.jsonl") if not path.is_symlink()]
    return {path.stem[-36:] for path in files}
