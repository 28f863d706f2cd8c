"""What dead workers knew of their requests is written down, once, and only as far as it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from outreach.core.outcome import Accepted, Because, NotSent, Rejected
from outreach.db import Database
from outreach.recorder import FileRecorder, Recorder
from outreach.services import send
from outreach.services.claim import Claim, claim_batch
from outreach.services.recover import recover
from outreach.services.send import rescue, send_due
from tests.support.factories import Campaign, run
from tests.support.outcomes import TERMS, incidents
from tests.support.sending import (
    accepted_by_message,
    drain,
    due_campaign,
    message_states,
    sending,
)

ATTEMPTS: LiteralString = """
select outcome::text, settled_by, count(*) from send_attempts group by 1, 2 order by 1
"""
DUE_AGAIN: LiteralString = """
update scheduled_actions set due_at = now() where state = 'pending' and kind = 'send'
"""
# Whatever settles an attempt fails.
BREAK: LiteralString = """
create function fail() returns trigger language plpgsql as
  $$ begin raise exception 'broken' using errcode = 'check_violation'; end $$;
create trigger broken before update on send_attempts for each row execute function fail()
"""
MEND: LiteralString = "drop trigger broken on send_attempts; drop function fail"


@contextmanager
def recording(folder: Path, conninfo: str) -> Iterator[FileRecorder]:
    recorder = FileRecorder(folder, conninfo)
    try:
        yield recorder
    finally:
        recorder.close()


def files(folder: Path) -> list[Path]:
    """What is left there."""
    return list(folder.iterdir())


async def armed(db: Database, campaign: Campaign, recorder: Recorder) -> Claim:
    """A claim of all that is due, whose requests have not begun."""
    return await claim_batch(
        db,
        campaign.tenant_id,
        size_max=100,
        terms=TERMS,
        deadline_seconds=10.0,
        recorder=recorder,
    )


async def found(db: Database, folder: Path, conninfo: str) -> int:
    """What a worker that begins now settles."""
    with recording(folder, conninfo) as recorder:
        return await recover(db, recorder)


async def tokens_taken(db: Database) -> Any:
    ((used,),) = await run(
        db,
        "select sum((select sum(u) from unnest(bucket_used) as u)) from rate_limit_counters"
        " where scope = 'tenant' and window_seconds = 3600",
    )
    return used


async def test_what_never_left_is_due_again_and_sent_once(
    db: Database, conninfo: str, tmp_path: Path
) -> None:
    campaign = await due_campaign(db, 30, is_limited=True)
    await run(
        db,
        "insert into send_rate_limits (tenant_id, scope, per_hour_max)"
        " select id, scope, 1000 from tenants, unnest(array['sender', 'tenant', 'domain']) as scope"
        " on conflict do nothing",
    )
    with recording(tmp_path, conninfo) as recorder:
        claim = await armed(db, campaign, recorder)
    count = len(claim.mails)
    assert count > 0 and await tokens_taken(db) == count

    assert await found(db, tmp_path, conninfo) == count
    assert await run(db, ATTEMPTS) == [("not_sent", "recorder", count)]
    assert await message_states(db) == {"waiting_retry": count}
    assert await tokens_taken(db) == 0, "and their tokens are back"
    assert files(tmp_path) == []

    await run(db, DUE_AGAIN)
    await run(db, "update tenants set parked_until = null")
    async with sending(db) as (context, sandbox):
        await drain(context, campaign.tenant_id)
        accepted = accepted_by_message(sandbox)
    assert {str(mail.message_id) for mail in claim.mails} <= set(accepted)
    assert set(accepted.values()) == {1}


async def test_each_attempt_comes_to_what_was_seen_of_it(
    db: Database, conninfo: str, tmp_path: Path
) -> None:
    campaign = await due_campaign(db, 4)
    with recording(tmp_path, conninfo) as recorder:
        attempts = (await armed(db, campaign, recorder)).attempts
        for attempt in attempts[1:]:
            recorder.slot(*attempt).leaving()
        recorder.slot(*attempts[2]).answered(Accepted("abc", 202))
        recorder.slot(*attempts[3]).answered(Rejected(Because.MESSAGE, 400, "400 no"))
        before = datetime.now(UTC)

    assert await found(db, tmp_path, conninfo) == 3
    rows = await run(
        db,
        "select m.id, m.state::text, a.outcome::text, a.settled_by, a.http_status,"
        " m.provider_message_id from outbound_messages m join send_attempts a"
        " on a.tenant_id = m.tenant_id and a.message_id = m.id",
    )
    seen = {id_: rest for id_, *rest in rows}
    assert [seen[message] for message, _ in attempts] == [
        ["waiting_retry", "not_sent", "recorder", None, None],
        ["sending", "armed", None, None, None],
        ["sent", "accepted", "recorder", 202, "abc"],
        ["failed", "rejected", "recorder", 400, None],
    ]
    ((sent_at,),) = await run(db, "select sent_at from outbound_messages where state = 'sent'")
    assert sent_at <= before, "when it was answered, not when that was found"
    timers = await run(db, "select count(*) from scheduled_actions where kind = 'timeout'")
    assert timers == [(1,)]

    await run(db, "update send_attempts set deadline_at = now() where outcome = 'armed'")
    assert await rescue(db, grace_seconds=-1.0) == 1
    assert await message_states(db) == {
        "waiting_retry": 1,
        "unknown": 1,
        "sent": 1,
        "failed": 1,
    }


async def test_a_second_look_changes_nothing(db: Database, conninfo: str, tmp_path: Path) -> None:
    campaign = await due_campaign(db, 3)
    with recording(tmp_path, conninfo) as recorder:
        await armed(db, campaign, recorder)
    (path,) = files(tmp_path)
    with recording(tmp_path, conninfo) as recorder:
        keep = path.with_name("kept")
        keep.hardlink_to(path)
        assert await recover(db, recorder) == 3
        before = await run(db, "select * from send_attempts order by message_id, attempt")
        keep.rename(path)  # as though its reader had died before it removed the file
        assert await recover(db, recorder) == 3
    assert await run(db, "select * from send_attempts order by message_id, attempt") == before
    assert await incidents(db) == []


async def test_an_attempt_armed_at_another_moment_is_another(
    db: Database, conninfo: str, tmp_path: Path
) -> None:
    """A claim that was rolled back gave its numbers to nobody; the next one gives them again."""
    campaign = await due_campaign(db, 3)
    with recording(tmp_path, conninfo) as recorder:
        claim = await armed(db, campaign, recorder)
        await run(db, "update send_attempts set armed_at = armed_at + interval '1 microsecond'")
        assert claim.armed_at is not None
    assert await found(db, tmp_path, conninfo) == 3
    assert await run(db, ATTEMPTS) == [("armed", None, 3)]


async def test_what_was_never_committed_is_nothing(
    db: Database, conninfo: str, tmp_path: Path
) -> None:
    campaign = await due_campaign(db, 3)
    with recording(tmp_path, conninfo) as recorder:
        claim = await armed(db, campaign, recorder)
    async with db.connection() as connection, connection.transaction():
        await connection.execute("truncate send_attempts, outbound_messages cascade")
    await found(db, tmp_path, conninfo)
    assert len(claim.mails) == 3 and await message_states(db) == {}


@pytest.mark.parametrize("is_accepted", [True, False])
async def test_after_the_rescuer_only_proof_of_acceptance_counts(
    db: Database, conninfo: str, tmp_path: Path, is_accepted: bool
) -> None:
    campaign = await due_campaign(db, 1)
    with recording(tmp_path, conninfo) as recorder:
        (attempt,) = (await armed(db, campaign, recorder)).attempts
        if is_accepted:
            recorder.slot(*attempt).answered(Accepted("abc", 202))
    await run(db, "update send_attempts set deadline_at = now() - interval '1 second'")
    assert await rescue(db) == 1
    await found(db, tmp_path, conninfo)
    assert await message_states(db) == {"sent" if is_accepted else "unknown": 1}


async def test_the_last_claim_of_the_dead_is_waited_for(
    db: Database, conninfo: str, tmp_path: Path
) -> None:
    """Its commit may still be on its way when its process is gone."""
    campaign = await due_campaign(db, 2)
    key = str(campaign.tenant_id)
    with recording(tmp_path, conninfo) as recorder:
        await armed(db, campaign, recorder)
    async with db.connection() as connection:
        async with connection.transaction():
            await connection.execute(
                "select pg_advisory_xact_lock(hashtextextended(%(key)s::text, 1))", {"key": key}
            )
            looking = asyncio.create_task(found(db, tmp_path, conninfo))
            waiting = "select 1 from pg_locks where locktype = 'advisory' and not granted"
            while not await run(db, waiting):
                assert not looking.done(), "it did not wait"
                await asyncio.sleep(0.01)
    assert await looking == 2
    assert await run(db, ATTEMPTS) == [("not_sent", "recorder", 2)]


async def test_of_two_readers_one_has_the_file(db: Database, conninfo: str, tmp_path: Path) -> None:
    campaign = await due_campaign(db, 20)
    with recording(tmp_path, conninfo) as recorder:
        await armed(db, campaign, recorder)
    with recording(tmp_path, conninfo) as one, recording(tmp_path, conninfo) as other:
        counts = await asyncio.gather(recover(db, one), recover(db, other))
    assert sorted(counts) == [0, 20]
    assert await run(db, ATTEMPTS) == [("not_sent", "recorder", 20)]


async def test_a_file_that_cannot_be_settled_is_set_aside(
    db: Database, conninfo: str, tmp_path: Path
) -> None:
    campaign = await due_campaign(db, 3)
    with recording(tmp_path, conninfo) as recorder:
        await armed(db, campaign, recorder)
    await run(db, BREAK)
    assert await found(db, tmp_path, conninfo) == 0
    await run(db, MEND)
    assert await run(db, ATTEMPTS) == [("armed", None, 3)], "the rescuer finds them"
    assert [path.suffix for path in files(tmp_path)] == [".unreadable"]
    assert await found(db, tmp_path, conninfo) == 0


# --- a process that lives on -------------------------------------------------------------------


async def test_mails_that_nobody_hands_over_are_due_again(
    db: Database, conninfo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise psycopg.OperationalError("gone")

    campaign = await due_campaign(db, 5)
    with recording(tmp_path, conninfo) as recorder:
        async with sending(db) as (context, sandbox):
            context = replace(context, recorder=recorder)
            monkeypatch.setattr(send, "refuse", fail)
            with pytest.raises(psycopg.OperationalError):
                await send_due(context, campaign.tenant_id, stop=asyncio.Event(), slice_seconds=5.0)
            monkeypatch.undo()
            assert await run(db, ATTEMPTS) == [("armed", None, 5)]

            assert await recover(db, recorder) == 5
            await run(db, DUE_AGAIN)
            await drain(context, campaign.tenant_id)
            assert set(accepted_by_message(sandbox).values()) == {1}
    assert await message_states(db) == {"sent": 5}
    assert files(tmp_path) == []


async def test_answers_that_could_not_be_recorded_are_recorded_later(
    db: Database, conninfo: str, tmp_path: Path
) -> None:
    campaign = await due_campaign(db, 5)
    with recording(tmp_path, conninfo) as recorder:
        async with sending(db) as (context, sandbox):
            context = replace(context, recorder=recorder)
            await run(db, BREAK)
            with pytest.raises(psycopg.errors.CheckViolation):
                await send_due(context, campaign.tenant_id, stop=asyncio.Event(), slice_seconds=5.0)
            await run(db, MEND)
            assert len(sandbox.accepted) == 5
        assert await message_states(db) == {"sending": 5}
        assert await recover(db, recorder) == 5
    assert await message_states(db) == {"sent": 5}
    assert await run(db, ATTEMPTS) == [("accepted", "recorder", 5)]
    assert files(tmp_path) == []


async def test_after_its_end_a_request_that_has_not_begun_is_not_made(
    db: Database, conninfo: str, tmp_path: Path
) -> None:
    """Its file says that it never left, and others may have read that."""
    campaign = await due_campaign(db, 1)
    with recording(tmp_path, conninfo) as recorder:
        async with sending(db) as (context, sandbox):
            context = replace(context, recorder=recorder)
            claim = await armed(db, campaign, recorder)
            recorder.close()
            outcome = await send._hand_over(context, claim.mails[0], claim.start_by)
            assert isinstance(outcome, NotSent)
            assert sandbox.accepted == []


async def test_what_cannot_be_written_down_keeps_nothing_else_from_it(
    db: Database, conninfo: str, tmp_path: Path
) -> None:
    """A word that no text of PostgreSQL may hold would be the same at every look."""
    campaign = await due_campaign(db, 2)
    with recording(tmp_path / "dead", conninfo) as recorder:
        attempts = (await armed(db, campaign, recorder)).attempts
        for attempt, said in zip(attempts, ("400 a\0b", "400 no"), strict=True):
            recorder.slot(*attempt).leaving()
            recorder.slot(*attempt).answered(Rejected(Because.MESSAGE, 400, said))
        recorder.lapse(attempts)
        assert await recover(db, recorder) == 0
        assert await recover(db, recorder) == 0, "and not looked at again and again"
        assert recorder.lapsed() == []
    await run(db, "update send_attempts set deadline_at = now()")
    assert await rescue(db, grace_seconds=-1.0) == 2
    assert await message_states(db) == {"unknown": 2}
