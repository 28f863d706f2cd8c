"""The sandbox as a process: its ready line, its events, its end."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import orjson
import pytest

from outreach.dev.sandbox import public_key_of
from tests.dev.sandbox_support import HEADERS, SEND, Webhook, mail_to, signature_holds, until

Process = asyncio.subprocess.Process


@asynccontextmanager
async def running(webhook_url: str | None = None) -> AsyncIterator[tuple[Process, str, str]]:
    """A sandbox of seed 5 as (process, url, public key)."""
    program = (
        "from outreach.dev.sandbox import SandboxSettings, run\n"
        f"run(SandboxSettings({webhook_url!r}, seed=5, time_scale=0.01, batch_seconds=0.01))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-c",
        program,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        ready = orjson.loads(line)
        assert ready["ready"] is True
        yield process, ready["url"], ready["public_key"]
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_when_it_is_ready_and_stops_cleanly(number: signal.Signals) -> None:
    async with Webhook() as webhook, running(webhook.url) as (process, url, public_key):
        assert public_key == public_key_of(5)
        async with aiohttp.ClientSession(url, headers=HEADERS) as client:
            async with client.post(SEND, json=mail_to()) as answer:
                assert answer.status == 202
            await until(lambda: bool(webhook.bodies))
            headers, body = webhook.bodies[0]
            assert signature_holds(public_key, headers, body)
            process.send_signal(number)
            output, errors = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, output, errors) == (0, b"", b"")


@pytest.mark.parametrize(
    ("act", "broken"),
    [("reset", aiohttp.ClientOSError), ("close", aiohttp.ServerDisconnectedError)],
)
async def test_connections_end_as_ordered_on_the_fast_event_loop_too(
    act: str, broken: type[aiohttp.ClientError]
) -> None:
    async with running() as (_, url, _), aiohttp.ClientSession(url, headers=HEADERS) as client:
        async with client.post("/sandbox/faults", json={"act": act, "when": "after_accept"}) as ok:
            assert ok.status == 201
        with pytest.raises(broken):
            await client.post(SEND, json=mail_to())
        async with client.get("/sandbox/accepted") as answer:
            assert len((await answer.json())["data"]) == 1


async def test_a_port_in_use_is_an_error_at_the_start() -> None:
    async with running() as (_, url, _):
        port = url.rpartition(":")[2]
        program = (
            "from outreach.dev.sandbox import SandboxSettings, run\n"
            f"run(SandboxSettings(port={port}))"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stderr=asyncio.subprocess.PIPE
        )
        _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode != 0
    assert b"OSError" in errors
