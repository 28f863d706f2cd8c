"""Attacks on the webhook's intake: each is bounded, and good bodies beside it are kept."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import pytest

from outreach.core.webhook_body import EVENTS_MAX
from outreach.db import Database
from outreach.services.apply_events import apply_events
from outreach.web.hooks import sendgrid
from tests.support.factories import run
from tests.support.web import PATH, running, signed

GOOD = b'[{"event":"open","timestamp":1764000001,"sg_event_id":"good"}]'
ROOM = 2 * 1024 * 1024


async def states(db: Database) -> list[tuple[str, str | None]]:
    query = "select state::text, problem from webhook_deliveries order by received_at"
    return [(state, problem) for state, problem in await run(db, query)]


async def test_bodies_that_come_at_once_share_a_room_and_leave_it(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of bodies that never end: who does not fit is put off, and nobody is forgotten."""
    monkeypatch.setattr(sendgrid, "BODIES_BYTES_MAX", 4 * 4096)
    goes_on, begun = asyncio.Event(), asyncio.Semaphore(0)

    async def half() -> AsyncIterator[bytes]:
        yield b" " * 4000
        begun.release()
        await goes_on.wait()
        yield b" " * 90

    async with running(db) as client:
        flood = [asyncio.create_task(client.post(PATH, content=half())) for _ in range(4)]
        for _ in flood:
            await begun.acquire()
        large = GOOD + b" " * 1000
        put_off = await client.post(PATH, content=large, headers=signed(large))
        assert put_off.status_code == 503
        assert int(put_off.headers["retry-after"]) > 0
        small = await client.post(PATH, content=GOOD, headers=signed(GOOD))
        assert small.is_success
        goes_on.set()
        assert {(await one).status_code for one in flood} == {401}
        again = await client.post(PATH, content=large, headers=signed(large))
        assert again.is_success
    assert len(await states(db)) == 2


@pytest.mark.parametrize("end", ["too slow", "too large", "gone"])
async def test_whoever_breaks_off_leaves_the_room(
    db: Database, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(sendgrid, "BODIES_BYTES_MAX", 0)
    monkeypatch.setattr(sendgrid, "BODIES_MIN", 1)
    monkeypatch.setattr(sendgrid, "BODY_SECONDS_MAX", 0.05 if end == "too slow" else 10.0)
    never, begun = asyncio.Event(), asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        yield b" " * 4090
        begun.set()
        if end == "too large":
            yield b" " * 4090
        await never.wait()

    async with running(db) as client:
        for _ in range(3):
            begun.clear()
            attack = asyncio.create_task(client.post(PATH, content=parts()))
            if end == "gone":
                await begun.wait()
                attack.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await attack
            else:
                assert (await attack).status_code == {"too slow": 408, "too large": 413}[end]
        body = GOOD + b" " * 4000
        assert (await client.post(PATH, content=body, headers=signed(body))).is_success


async def test_a_body_byte_by_byte_is_one_body(db: Database) -> None:
    async def drip() -> AsyncIterator[bytes]:
        for byte in GOOD:
            yield bytes([byte])

    async with running(db) as client:
        response = await client.post(PATH, content=drip(), headers=signed(GOOD))
    assert response.is_success
    assert await run(db, "select payload from webhook_deliveries") == [(GOOD,)]


async def test_a_packed_body_is_kept_packed_and_never_unpacked(db: Database) -> None:
    """A bomb of 16 MiB in 16 KB: what it would hold is nobody's business."""
    bomb = gzip.compress(b" " * (16 * 1024 * 1024), compresslevel=9, mtime=0)
    async with running(db, webhook_body_bytes_max=ROOM) as client:
        packed = {"content-encoding": "gzip"}
        refused = await client.post(PATH, content=bomb, headers=packed)
        assert refused.status_code == 401
        response = await client.post(PATH, content=bomb, headers=signed(bomb) | packed)
        assert response.is_success
    await apply_events(db)
    ((state, problem),) = await states(db)
    assert (state, problem is not None) == ("quarantined", True)
    assert await run(db, "select octet_length(payload) from webhook_deliveries") == [(len(bomb),)]


@pytest.mark.parametrize(
    ("name", "body", "state"),
    [
        ("arrays", b"[" * (ROOM - 1), "quarantined"),
        ("objects", b'[{"a":' * (ROOM // 7), "quarantined"),
        ("closed", b"[" * 900_000 + b"]" * 900_000, "quarantined"),
        ("many", b"[" + b"{}," * 690_000 + b"{}]", "quarantined"),
        ("digits", b'[{"event":"open","timestamp":' + b"9" * 2_000_000 + b"}]", "applied"),
        ("keys", json.dumps([{f"k{n}": n for n in range(30_000)}]).encode(), "applied"),
        ("string", b'[{"event":"' + b"\\u0000" * 300_000 + b'"}]', "applied"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_monstrous_body_is_bounded_and_its_neighbour_applied(
    db: Database, name: str, body: bytes, state: str
) -> None:
    assert len(body) <= ROOM, name
    async with running(db, webhook_body_bytes_max=ROOM) as client:
        assert (await client.post(PATH, content=body, headers=signed(body))).is_success
        assert (await client.post(PATH, content=GOOD, headers=signed(GOOD))).is_success
    while await apply_events(db):
        pass
    assert [found for found, _ in await states(db)] == [state, "applied"]
    assert ("good",) in await run(db, "select provider_event_id from unmatched_events")


def test_the_number_of_elements_is_bounded_below_what_a_body_can_hold() -> None:
    assert EVENTS_MAX * len(b"{},") < ROOM
