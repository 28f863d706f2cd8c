"""The sandbox over real sockets: answers, records, faults, and what a broken client gets."""

import asyncio
import io
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest

from outreach.dev.sandbox import Act, FaultOrder, SandboxServer, SandboxSettings, When
from tests.dev.sandbox_support import HEADERS, SEND, mail_to, until


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    async with SandboxServer(SandboxSettings()) as server:
        yield server


@pytest.fixture
async def client(sandbox: SandboxServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sandbox.url, headers=HEADERS) as session:
        yield session


async def send(
    client: aiohttp.ClientSession, mail: dict[str, Any] | None = None
) -> tuple[int, str | None]:
    async with client.post(SEND, json=mail or mail_to()) as answer:
        await answer.read()
        return answer.status, answer.headers.get("X-Message-Id")


async def raw(sandbox: SandboxServer, data: bytes) -> bytes:
    """What the server answers to these bytes, up to the end of the connection."""
    port = int(sandbox.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_good_mail_is_accepted_and_recorded(
    sandbox: SandboxServer, client: aiohttp.ClientSession
) -> None:
    status, message_id = await send(client)
    assert status == 202
    assert message_id is not None and len(message_id) == 22
    [record] = sandbox.accepted
    assert (record.number, record.message_id) == (1, message_id)
    assert record.outreach_message_id == "0192f0c4-7b1e-7c7d-9d0e-2f5f0b0f9a10"
    assert (record.outreach_attempt, record.to) == ("1", ("sam@cust.example",))
    assert record.outreach_tenant == "0192f0c4-7b1e-7c7d-9d0e-2f5f0b0f9a11"
    assert (record.sender, record.subject) == ("ana@mail.acme.example", "Quick question, Sam")
    assert record.arrived_monotonic <= record.accepted_monotonic
    assert sandbox.body(message_id) == mail_to()


@pytest.mark.parametrize("value", [None, "", "Basic abc", "Bearer ", "Bearer"])
async def test_without_a_bearer_token_nobody_is_let_in(
    sandbox: SandboxServer, value: str | None
) -> None:
    headers = {} if value is None else {"Authorization": value}
    async with aiohttp.ClientSession(sandbox.url, headers=headers) as client:
        async with client.post(SEND, json=mail_to()) as answer:
            assert answer.status == 401
            assert set((await answer.json())["errors"][0]) == {"message", "field", "help"}
    assert sandbox.accepted == []


async def test_only_the_key_that_was_set_is_let_in() -> None:
    async with SandboxServer(SandboxSettings(api_key="SG.test")) as sandbox:
        for token, status in (("SG.test", 202), ("SG.other", 401)):
            headers = {"Authorization": f"Bearer {token}"}
            async with aiohttp.ClientSession(sandbox.url, headers=headers) as client:
                assert (await send(client))[0] == status


async def test_refusals_are_counted_and_recorded_nowhere(
    sandbox: SandboxServer, client: aiohttp.ClientSession
) -> None:
    bad = mail_to() | {"content": []}
    assert (await send(client, bad))[0] == 400
    async with client.post(SEND, data=b"{", headers={"Content-Type": "application/json"}) as answer:
        assert answer.status == 400
    async with client.post(SEND, data=b"{}", headers={"Content-Type": "text/plain"}) as answer:
        assert answer.status == 415
    async with client.get(SEND) as answer:
        assert answer.status == 405
    async with client.get("/v3/nothing") as answer:
        assert answer.status == 404
    summary = sandbox.summary()
    assert summary["refused_by_status"] == {"400": 2, "405": 1, "415": 1}
    assert summary["accepted"] == 0


async def test_sandbox_mode_is_answered_200_and_not_accepted(
    sandbox: SandboxServer, client: aiohttp.ClientSession
) -> None:
    mail = mail_to() | {"mail_settings": {"sandbox_mode": {"enable": True}}}
    assert await send(client, mail) == (200, None)
    assert sandbox.accepted == []
    mail["mail_settings"]["sandbox_mode"]["enable"] = False
    assert (await send(client, mail))[0] == 202


async def test_a_body_over_30_mb_gets_the_proxys_html(
    sandbox: SandboxServer, client: aiohttp.ClientSession
) -> None:
    body = io.BytesIO(b"x" * (30 * 1024 * 1024 + 1))
    async with client.post(SEND, data=body, headers={"Content-Type": "application/json"}) as answer:
        assert answer.status == 413
        assert answer.content_type == "text/html"
        assert b"<html>" in await answer.read()
    assert (await send(client))[0] == 202


async def test_a_chunked_body_and_a_closing_client_are_understood(
    sandbox: SandboxServer, client: aiohttp.ClientSession
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        body = orjson.dumps(mail_to())
        for at in range(0, len(body), 100):
            yield body[at : at + 100]

    kind = {"Content-Type": "application/json", "Connection": "close"}
    async with client.post(SEND, data=pieces(), headers=kind) as answer:
        assert answer.status == 202
    body = orjson.dumps(mail_to())
    head = (
        f"POST {SEND} HTTP/1.1\r\nAuthorization: Bearer k\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    answers = await raw(sandbox, head.encode() + body)
    assert answers.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\n")


async def test_requests_sent_ahead_are_answered_in_turn(sandbox: SandboxServer) -> None:
    sandbox.set_latency(20)
    one = b"GET /v3/scopes HTTP/1.1\r\nAuthorization: Bearer k\r\n\r\n"
    last = b"GET /sandbox HTTP/1.0\r\n\r\n"
    answers = await raw(sandbox, one + one + last)
    assert answers.count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize(
    "nonsense",
    [b"hello\r\n\r\n", b"GET /sandbox HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"x" * 70_000],
)
async def test_what_is_no_request_is_answered_400_and_closed(
    sandbox: SandboxServer, nonsense: bytes
) -> None:
    assert (await raw(sandbox, nonsense)).startswith(b"HTTP/1.1 400 ")


async def test_accepted_can_be_read_in_pages_and_stays_bounded() -> None:
    settings = SandboxSettings(accepted_max=5, bodies_max=2)
    async with (
        SandboxServer(settings) as sandbox,
        aiohttp.ClientSession(sandbox.url, headers=HEADERS) as client,
    ):
        for n in range(7):
            await send(client, mail_to(message_id=f"m{n % 6}"))
        assert [record.number for record in sandbox.accepted] == [3, 4, 5, 6, 7]
        async with client.get("/sandbox/accepted?after=4&limit=2") as answer:
            page = await answer.json()
        assert [record["number"] for record in page["data"]] == [5, 6]
        assert page["next_after"] == 6
        assert page["data"][0]["to"] == ["sam@cust.example"]
        async with client.get("/sandbox/accepted?after=6") as answer:
            rest = await answer.json()
        assert ([record["number"] for record in rest["data"]], rest["next_after"]) == ([7], None)
        async with client.get(f"/sandbox/accepted/{rest['data'][0]['message_id']}") as answer:
            assert await answer.json() == mail_to(message_id="m0")
        async with client.get(f"/sandbox/accepted/{sandbox.accepted[0].message_id}") as answer:
            assert answer.status == 404
        async with client.get("/sandbox/accepted?after=x") as answer:
            assert answer.status == 400
        summary = sandbox.summary()
        assert (summary["accepted"], summary["accepted_again"]) == (7, 0)


async def test_a_message_accepted_twice_is_seen(
    sandbox: SandboxServer, client: aiohttp.ClientSession
) -> None:
    await send(client, mail_to(message_id="m1"))
    await send(client, mail_to(message_id="m2"))
    assert sandbox.summary()["accepted_again"] == 0
    await send(client, mail_to(message_id="m1"))
    assert sandbox.summary()["accepted_again"] == 1


async def test_senders_are_verified_unless_ordered_otherwise(
    sandbox: SandboxServer, client: aiohttp.ClientSession
) -> None:
    async def listed(query: str) -> dict[str, bool]:
        async with client.get(f"/v3/verified_senders{query}") as answer:
            results = (await answer.json())["results"]
        return {sender["from_email"]: sender["verified"] for sender in results}

    async def domain() -> bool:
        async with client.get("/v3/whitelabel/domains?domain=mail.acme.example") as answer:
            [found] = await answer.json()
        return bool(found["valid"])

    async def order(value: str, verified: bool) -> None:
        body = {"value": value, "verified": verified}
        async with client.post("/sandbox/senders", json=body) as answer:
            assert answer.status == 201

    assert await listed("?from_email=ana%40mail.acme.example") == {"ana@mail.acme.example": True}
    assert (await domain(), (await send(client))[0]) == (True, 202)
    await order("@mail.acme.example", False)
    assert await listed("") == {"ana@mail.acme.example": False}
    assert (await domain(), (await send(client))[0]) == (False, 403)
    await order("ana@mail.acme.example", True)
    assert (await send(client))[0] == 202
    async with client.get("/v3/scopes") as answer:
        assert "mail.send" in (await answer.json())["scopes"]


async def test_an_answer_fault_is_given_as_often_as_ordered(
    sandbox: SandboxServer, client: aiohttp.ClientSession
) -> None:
    order = {"status": 429, "reset_seconds": 5, "times": 2}
    async with client.post("/sandbox/faults", json=order) as answer:
        assert (answer.status, await answer.json()) == (201, {"ids": [1]})
    async with client.post(SEND, json=mail_to()) as answer:
        assert answer.status == 429
        assert int(answer.headers["X-RateLimit-Reset"]) > 1_700_000_000
        assert answer.headers["X-RateLimit-Remaining"] == "0"
        assert (await answer.json())["errors"][0]["message"] == "too many requests"
    assert [(await send(client))[0] for _ in range(2)] == [429, 202]
    assert len(sandbox.accepted) == 1
    assert sandbox.summary()["faults_served"] == 2


@pytest.mark.parametrize(
    ("when", "recorded"), [(When.BEFORE_READ, 0), (When.BEFORE_ACCEPT, 0), (When.AFTER_ACCEPT, 1)]
)
@pytest.mark.parametrize("act", [Act.ANSWER, Act.CLOSE, Act.RESET, Act.GARBLE, Act.HANG])
async def test_each_act_strikes_at_each_moment(
    sandbox: SandboxServer, client: aiohttp.ClientSession, act: Act, when: When, recorded: int
) -> None:
    status = 502 if act is Act.ANSWER else None
    sandbox.order(FaultOrder(act=act, when=when, status=status))
    port = int(sandbox.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = orjson.dumps(mail_to())
    head = f"POST {SEND} HTTP/1.1\r\nAuthorization: Bearer k\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    if act is Act.RESET:
        with pytest.raises(ConnectionResetError):
            await reader.read()
    elif act is Act.HANG:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
    elif act is Act.CLOSE:
        assert await reader.read() == b""
    elif act is Act.GARBLE:
        assert not (await reader.read()).startswith(b"HTTP/")
    else:
        assert (await reader.read(16)).startswith(b"HTTP/1.1 502 ")
    writer.close()
    assert len(sandbox.accepted) == recorded
    assert (await send(client))[0] == 202
    assert len(sandbox.accepted) == recorded + 1


async def test_an_answer_may_drip_and_may_end_in_its_midst(
    sandbox: SandboxServer, client: aiohttp.ClientSession
) -> None:
    sandbox.order(
        FaultOrder(act=Act.DRIP, when=When.AFTER_ACCEPT, delay_ms=1),
        FaultOrder(act=Act.CUT, when=When.AFTER_ACCEPT, bytes_max=20),
    )
    assert (await send(client))[0] == 202, "slow, and whole in the end"
    with pytest.raises(aiohttp.ClientError):
        await send(client)
    sandbox.order(FaultOrder(act=Act.CUT, status=503, body="long" * 99, bytes_max=300))
    with pytest.raises(aiohttp.ClientPayloadError):
        await send(client)
    assert len(sandbox.accepted) == 2
    assert (await send(client))[0] == 202


async def test_a_fault_strikes_only_the_address_it_names(
    sandbox: SandboxServer, client: aiohttp.ClientSession
) -> None:
    order = FaultOrder(status=503, address="@Bad.example", times=None)
    sandbox.order(order, FaultOrder(status=500, address="one@good.example", times=None))
    tried = ["a@bad.example", "one@good.example", "two@good.example", "b@bad.example"]
    assert [(await send(client, mail_to(to)))[0] for to in tried] == [503, 500, 202, 503]
    async with client.get("/sandbox/faults") as answer:
        assert [fault["left"] for fault in (await answer.json())["data"]] == [None, None]
    async with client.delete("/sandbox/faults") as answer:
        assert await answer.json() == {"cleared": 2}
    assert (await send(client, mail_to("a@bad.example")))[0] == 202


async def test_a_share_of_requests_is_struck_the_same_way_for_a_seed() -> None:
    async def statuses(seed: int) -> list[int]:
        async with (
            SandboxServer(SandboxSettings(seed=seed)) as sandbox,
            aiohttp.ClientSession(sandbox.url, headers=HEADERS) as client,
        ):
            sandbox.order(FaultOrder(status=500, times=None, share=0.3))
            return [(await send(client))[0] for _ in range(60)]

    first = await statuses(1)
    assert first == await statuses(1)
    assert first != await statuses(2)
    assert 5 < first.count(500) < 35


async def test_a_slow_answer_comes_late_and_the_mail_is_recorded_at_once(
    sandbox: SandboxServer, client: aiohttp.ClientSession
) -> None:
    sandbox.order(FaultOrder(when=When.AFTER_ACCEPT, delay_ms=60_000))
    impatient = aiohttp.ClientTimeout(total=0.2)
    with pytest.raises(TimeoutError):
        await client.post(SEND, json=mail_to(), timeout=impatient)
    assert len(sandbox.accepted) == 1
    async with client.post("/sandbox/latency", json={"latency_ms": 30}) as answer:
        assert await answer.json() == {"latency_ms": 30}
    started = asyncio.get_running_loop().time()
    assert (await send(client))[0] == 202
    assert asyncio.get_running_loop().time() - started >= 0.03


@pytest.mark.parametrize(
    "order",
    [
        b"{",
        b'{"act": "explode"}',
        b'{"status": 429, "typo": 1}',
        b'{"delay_ms": 5}',
        b'{"act": "reset", "when": "before_read", "address": "a@b.example"}',
        b'{"act": "reset", "status": 500}',
        b'{"act": "cut", "status": 500}',
        b'{"act": "hang", "bytes_max": 5}',
        b'{"status": 500, "times": 0}',
    ],
)
async def test_an_order_that_makes_no_sense_is_refused(
    sandbox: SandboxServer, client: aiohttp.ClientSession, order: bytes
) -> None:
    async with client.post("/sandbox/faults", data=order) as answer:
        assert answer.status == 400
        assert (await answer.json())["errors"][0]["message"]
    assert (await send(client))[0] == 202


async def test_many_requests_at_once_are_all_accepted_once(
    sandbox: SandboxServer, client: aiohttp.ClientSession
) -> None:
    async def some(start: int) -> None:
        for n in range(start, start + 50):
            assert (await send(client, mail_to(message_id=f"m{n}")))[0] == 202

    await asyncio.gather(*(some(start) for start in range(0, 1_000, 50)))
    assert len({record.outreach_message_id for record in sandbox.accepted}) == 1_000
    assert [record.number for record in sandbox.accepted] == list(range(1, 1_001))


async def test_stopping_ends_what_hangs(sandbox: SandboxServer) -> None:
    async with SandboxServer() as other:
        other.order(FaultOrder(act=Act.HANG))
        async with aiohttp.ClientSession(other.url, headers=HEADERS) as client:
            hung = asyncio.create_task(client.post(SEND, json=mail_to()))
            await until(lambda: other.summary()["faults_served"] == 1)
            await other.__aexit__(None, None, None)
            with pytest.raises(aiohttp.ClientError):
                await hung
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(other.url.rpartition(":")[2]))) != 0
