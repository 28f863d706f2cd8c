"""A worker takes up what dead ones of its machine had armed, at its start and while it works."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from outreach.db import Database
from outreach.dev.sandbox import SandboxServer
from outreach.recorder import FileRecorder
from outreach.services.claim import claim_batch
from tests.support.factories import run
from tests.support.outcomes import TERMS
from tests.support.sending import accepted_by_message, due_campaign, message_states
from tests.support.workers import (
    OUTREACH,
    eventually,
    running_worker,
    settings_for,
    worker_process,
)

COUNT = 20


async def armed(db: Database, conninfo: str, folder: Path) -> FileRecorder:
    """The recorder of a process that has armed all that is due, and made no request."""
    campaign = await due_campaign(db, COUNT)
    recorder = FileRecorder(folder / "recorder", conninfo)
    claim = await claim_batch(
        db,
        campaign.tenant_id,
        size_max=COUNT,
        terms=TERMS,
        deadline_seconds=60.0,
        recorder=recorder,
    )
    assert len(claim.mails) == COUNT
    return recorder


def _put_a_file_there(path: Path) -> None:
    path.write_text("no folder")


async def _all_sent(db: Database) -> bool:
    return await message_states(db) == {"sent": COUNT}


async def test_what_a_dead_worker_had_armed_is_sent_once(
    db: Database, conninfo: str, tmp_path: Path
) -> None:
    recorder = await armed(db, conninfo, tmp_path)
    recorder.close()
    async with SandboxServer() as sandbox:
        settings = settings_for(conninfo, sendgrid_base_url=sandbox.url, state_dir=str(tmp_path))
        async with running_worker(settings):
            await eventually(partial(_all_sent, db))
        accepted = accepted_by_message(sandbox)
    assert len(accepted) == COUNT and set(accepted.values()) == {1}


async def test_a_worker_that_dies_beside_a_living_one_is_followed(
    db: Database, conninfo: str, tmp_path: Path
) -> None:
    recorder = await armed(db, conninfo, tmp_path)
    async with SandboxServer() as sandbox:
        with worker_process(
            OUTREACH, conninfo, SENDGRID_BASE_URL=sandbox.url, OUTREACH_STATE_DIR=str(tmp_path)
        ) as worker:
            worker.wait_for("worker_started")
            assert await message_states(db) == {"sending": COUNT}, "its lock is held"
            recorder.close()
            await eventually(partial(_all_sent, db))
        accepted = accepted_by_message(sandbox)
    assert len(accepted) == COUNT and set(accepted.values()) == {1}
    rows = await run(db, "select count(*) from send_attempts where settled_by = 'recorder'")
    assert rows == [(COUNT,)]


async def test_without_a_place_for_its_recorder_a_worker_works(
    db: Database, conninfo: str, tmp_path: Path
) -> None:
    await due_campaign(db, COUNT)
    _put_a_file_there(tmp_path / "recorder")
    async with SandboxServer() as sandbox:
        with worker_process(
            OUTREACH, conninfo, SENDGRID_BASE_URL=sandbox.url, OUTREACH_STATE_DIR=str(tmp_path)
        ) as worker:
            worker.wait_for("recorder_off")
            worker.wait_for("worker_started")
            await eventually(partial(_all_sent, db))
            said = [line for line in worker.lines if "recorder_off" in line]
    assert len(said) == 1
