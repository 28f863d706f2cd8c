"""A server that misbehaves in every way at random: what the client says is still true."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

import pytest
import uvloop

from outreach.providers.http1 import Pool
from outreach.providers.http1_connection import Answer, Exchange, Found, NotBegun
from tests.providers.sendgrid_support import http, raw

REQUESTS = 200


def act(chance: random.Random, whole: bytes) -> list[bytes | None]:
    """What the server does with a request: bytes it sends, in turns of the loop; None hangs up."""
    cut = chance.randrange(len(whole))
    return chance.choices(
        [
            [whole],
            [whole[:cut], whole[cut:]],
            [b"HTTP/1.1 100 Continue\r\n\r\n", whole],
            [whole, None],
            [whole + http("429 Too Many")],
            [whole, http("202 Accepted", b"", "X-Message-Id: stray")],
            [http("400 Bad", b"no") + whole],
            [whole[:cut], None],
            [b"garbage\r\n\r\n"],
            [None],
            [],
        ],
        [20, 5, 3, 3, 2, 2, 2, 2, 1, 2, 1],
    )[0]


async def ordeal(seed: int) -> None:
    chance = random.Random(seed)
    arrived: Counter[bytes] = Counter()

    async def misbehave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = server.requests[-1].rpartition(b"\r\n\r\n")[2]
        arrived[name] += 1
        answer = http("202 Accepted", b"", f"X-Message-Id: {name.decode()}")
        for step in act(chance, answer):
            await asyncio.sleep(0)
            if step is None:
                writer.transport.abort() if chance.random() < 0.5 else writer.close()
                return
            writer.write(step)

    async def one(name: bytes) -> Found | None:
        def refuse() -> None:
            raise ValueError

        now = time.monotonic()
        leaving = refuse if chance.random() < 0.05 else None
        task = asyncio.create_task(pool.post(Exchange(name, now + 1, now + 1.2, leaving)))
        if chance.random() < 0.05:
            await asyncio.sleep(0)
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            return None

    async with raw(misbehave) as (url, server):
        pool = Pool(f"{url}/post", connections_max=6, headers={})
        names = [f"{seed}-{number}".encode() for number in range(REQUESTS)]
        found = dict(zip(names, await asyncio.gather(*map(one, names)), strict=True))
        for name, end in found.items():
            assert arrived[name] <= 1, "nothing is sent twice"
            if isinstance(end, NotBegun):
                assert arrived[name] == 0
            if isinstance(end, Answer):
                assert arrived[name] == 1
            if isinstance(end, Answer) and end.status == 202:
                assert end.headers[b"x-message-id"] == name, "each has its own answer"
        assert sum(isinstance(end, Answer) for end in found.values()) > REQUESTS / 3
        assert pool.active == 0
        assert not pool._waiting
        pool.close()


@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_server_does_the_client_says_what_is_true(seed: int) -> None:
    uvloop.run(ordeal(seed))
    asyncio.run(ordeal(seed + 100))
