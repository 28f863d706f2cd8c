"""Events as the webhook gets them: signed, repeated, in disorder, until they are taken."""

import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import orjson
import pytest

from outreach.dev.sandbox import FateRates, SandboxServer, SandboxSettings, Signing
from tests.dev.sandbox_support import HEADERS, SEND, Webhook, mail_to, signature_holds, until

FAST = SandboxSettings(time_scale=0.001, batch_seconds=0.01, retry_first_seconds=0.01)
CALM = replace(FAST, rates=FateRates.quiet())
PEOPLE = [f"person{n}@cust.example" for n in range(60)]


@pytest.fixture
async def webhook() -> AsyncIterator[Webhook]:
    async with Webhook() as receiver:
        yield receiver


async def send_to(sandbox: SandboxServer, *emails: str) -> None:
    async with aiohttp.ClientSession(sandbox.url, headers=HEADERS) as client:
        for email in emails:
            async with client.post(SEND, json=mail_to(email)) as answer:
                assert answer.status == 202


async def test_a_mails_events_come_signed_with_its_own_ids(webhook: Webhook) -> None:
    async with SandboxServer(replace(CALM, webhook_url=webhook.url)) as sandbox:
        await send_to(sandbox, "sam@cust.example")
        await until(lambda: len(webhook.events) == 2)
        [record] = sandbox.accepted
        for headers, body in webhook.bodies:
            assert body.startswith(b"[{") and body.endswith(b"}]\r\n")
            assert signature_holds(sandbox.public_key, headers, body)
            assert not signature_holds(sandbox.public_key, headers, body + b" ")
    assert sorted(webhook.names("sam@cust.example")) == ["delivered", "processed"]
    for event in webhook.events:
        assert event["sg_message_id"].startswith(record.message_id + ".")
        assert event["smtp-id"].startswith(f"<{record.message_id}@")
        assert event["outreach_message_id"] == record.outreach_message_id
        assert isinstance(event["timestamp"], int)
        assert event["category"] in ("campaign-42", ["campaign-42"])


async def test_the_same_seed_gives_each_contact_the_same_events() -> None:
    rates = FateRates(bounce=0.2, unsubscribe=0.2, click=0.5, repeat=0.3, disorder=0.3)

    async def story(seed: int, people: list[str]) -> dict[str, Counter[str]]:
        async with Webhook() as webhook:
            settings = replace(FAST, seed=seed, rates=rates, webhook_url=webhook.url)
            async with SandboxServer(settings) as sandbox:
                await send_to(sandbox, *people, *people)
                assert await sandbox.flush()
                assert sandbox.pending == 0
            return {email: Counter(webhook.names(email)) for email in people}

    first = await story(1, PEOPLE)
    assert first == await story(1, PEOPLE[::-1])
    assert first != await story(2, PEOPLE)
    total = sum(first.values(), Counter[str]())
    assert {"processed", "delivered", "bounce", "dropped", "open", "click", "unsubscribe"} <= set(
        total
    )


async def test_a_repeat_has_the_same_event_id(webhook: Webhook) -> None:
    rates = replace(FateRates.quiet(), repeat=1.0)
    async with SandboxServer(replace(FAST, rates=rates, webhook_url=webhook.url)) as sandbox:
        await send_to(sandbox, "sam@cust.example")
        await until(lambda: len(webhook.events) == 4)
    ids = Counter(event["sg_event_id"] for event in webhook.events)
    assert list(ids.values()) == [2, 2]


async def test_a_refused_post_comes_again_until_it_is_taken(webhook: Webhook) -> None:
    webhook.answers = [503, 302, 404]
    async with SandboxServer(replace(CALM, webhook_url=webhook.url)) as sandbox:
        await send_to(sandbox, "sam@cust.example")
        await until(lambda: sandbox.summary()["events"] == {"delivered": 1, "processed": 1})
        summary = sandbox.summary()
        assert summary["pending"] == 0
        assert summary["webhook"]["failures"] == 3
        assert summary["webhook"]["given_up"] == 0
        headers, body = webhook.bodies[-1]
        assert signature_holds(sandbox.public_key, headers, body)
    assert len(webhook.events) == 2


async def test_a_post_that_nobody_takes_is_given_up_and_counted(webhook: Webhook) -> None:
    webhook.answers = [503] * 1_000
    settings = replace(CALM, webhook_url=webhook.url, retry_for_seconds=0.05)
    async with SandboxServer(settings) as sandbox:
        await send_to(sandbox, "sam@cust.example")
        await until(lambda: sandbox.pending == 0)
        summary = sandbox.summary()
        assert summary["webhook"]["given_up"] >= 1
        assert summary["events"] == {}
    assert webhook.events == []


async def test_an_unreachable_webhook_is_a_failure_not_a_crash() -> None:
    async with Webhook() as gone:
        url = gone.url
    async with SandboxServer(replace(CALM, webhook_url=url)) as sandbox:
        await send_to(sandbox, "sam@cust.example")
        await until(lambda: sandbox.summary()["webhook"]["failures"] >= 2)
        assert sandbox.pending == 2
        assert not await sandbox.flush(timeout_seconds=0.05)
        async with Webhook() as back:
            sandbox.set_webhook_url(back.url)
            assert await sandbox.flush()
            assert len(back.events) == 2


async def test_without_an_address_no_events_are_planned(webhook: Webhook) -> None:
    async with SandboxServer(CALM) as sandbox:
        await send_to(sandbox, "sam@cust.example")
        assert sandbox.pending == 0
        sandbox.set_webhook_url(webhook.url)
        await send_to(sandbox, "pat@cust.example")
        await until(lambda: len(webhook.events) == 2)
    assert webhook.names("sam@cust.example") == []


async def test_a_flush_brings_the_future_without_dating_events_in_it(webhook: Webhook) -> None:
    slow = replace(CALM, time_scale=1_000.0, webhook_url=webhook.url)
    async with SandboxServer(slow) as sandbox:
        await send_to(sandbox, *PEOPLE[:5])
        assert (sandbox.pending, webhook.events) == (10, [])
        assert await sandbox.flush()
        assert sandbox.pending == 0
    assert len(webhook.events) == 10
    assert all(event["timestamp"] <= time.time() for event in webhook.events)


async def test_a_pause_holds_events_back_and_resume_lets_them_go(webhook: Webhook) -> None:
    async with (
        SandboxServer(replace(CALM, webhook_url=webhook.url)) as sandbox,
        aiohttp.ClientSession(sandbox.url) as client,
    ):
        async with client.post("/sandbox/pause") as answer:
            assert await answer.json() == {"paused": True}
        await send_to(sandbox, *PEOPLE[:5])
        assert (sandbox.pending, webhook.events) == (10, [])
        async with client.post("/sandbox/resume") as answer:
            assert await answer.json() == {"paused": False}
        await until(lambda: len(webhook.events) == 10)


async def test_the_control_endpoints_flush_and_tell(webhook: Webhook) -> None:
    slow = replace(CALM, time_scale=1_000.0)
    async with (
        SandboxServer(slow) as sandbox,
        aiohttp.ClientSession(sandbox.url) as client,
    ):
        async with client.post("/sandbox/webhook", json={"url": webhook.url}) as answer:
            assert await answer.json() == {"url": webhook.url}
        await send_to(sandbox, "sam@cust.example")
        async with client.post("/sandbox/flush") as answer:
            assert (answer.status, await answer.json()) == (200, {"flushed": True, "pending": 0})
        async with client.get("/sandbox") as answer:
            assert (await answer.json())["events"] == {"delivered": 1, "processed": 1}
        async with client.get("/sandbox/public-key") as answer:
            assert await answer.json() == {"public_key": sandbox.public_key}
        webhook.answers = [503] * 100
        await send_to(sandbox, "sam@cust.example")
        async with client.post("/sandbox/flush?timeout_seconds=0.05") as answer:
            assert (answer.status, await answer.json()) == (504, {"flushed": False, "pending": 2})


async def test_given_events_are_posted_signed_forged_unsigned_or_raw(webhook: Webhook) -> None:
    event = {"event": "account_status_change", "type": "compliance_suspend"}
    async with (
        SandboxServer(replace(CALM, webhook_url=webhook.url)) as sandbox,
        aiohttp.ClientSession(sandbox.url) as client,
    ):

        async def post(query: str, body: bytes) -> tuple[int, dict[str, int | None]]:
            async with client.post(f"/sandbox/events{query}", data=body) as answer:
                return answer.status, await answer.json()

        good = orjson.dumps([event])
        assert await post("", good) == (200, {"status": 200})
        assert await post("?sign=forged", good) == (200, {"status": 200})
        assert await post("?sign=none", good) == (200, {"status": 200})
        assert await post("?raw=true&timestamp=1600000000", b"garbage") == (200, {"status": 200})
        assert (await post("", b"garbage"))[0] == 400
        assert (await post("", b"{}"))[0] == 400
        webhook.answers = [401]
        assert await post("", good) == (200, {"status": 401})
        assert await sandbox.post_events([event], Signing.NONE) == 200
        held = [signature_holds(sandbox.public_key, *received) for received in webhook.bodies]
        assert held == [True, False, False, True, False]
    bodies = [body for _, body in webhook.bodies]
    assert orjson.loads(bodies[0]) == [event]
    assert bodies[3] == b"garbage"


async def test_bodies_stay_within_both_bounds(webhook: Webhook) -> None:
    settings = replace(
        CALM, webhook_url=webhook.url, time_scale=1_000.0, batch_events_max=7, posts_max=3
    )
    async with SandboxServer(settings) as sandbox:
        await send_to(sandbox, *PEOPLE[:20])
        assert await sandbox.flush()
    sizes = [len(orjson.loads(body)) for _, body in webhook.bodies]
    assert sum(sizes) == 40
    assert max(sizes) == 7
    async with SandboxServer(replace(settings, batch_events_max=10**6)) as sandbox:
        args = {"outreach_message_id": "x" * 9_000}
        mail = mail_to()
        mail["personalizations"] = [
            {"to": [{"email": email}], "subject": "Hi", "custom_args": args} for email in PEOPLE
        ]
        webhook.bodies.clear()
        async with aiohttp.ClientSession(sandbox.url, headers=HEADERS) as client:
            async with client.post(SEND, json=mail) as answer:
                assert answer.status == 202
        assert await sandbox.flush()
    assert len(webhook.bodies) == 2
    assert all(len(body) <= 768 * 1024 for _, body in webhook.bodies)


async def test_events_beyond_the_bound_are_discarded_and_counted(webhook: Webhook) -> None:
    settings = replace(CALM, webhook_url=webhook.url, time_scale=1_000.0, pending_max=4)
    async with SandboxServer(settings) as sandbox:
        await send_to(sandbox, *PEOPLE[:5])
        assert sandbox.pending == 4
        assert sandbox.summary()["webhook"]["events_discarded"] == 6


@pytest.mark.parametrize("tracked", [True, False])
async def test_without_tracking_there_are_no_opens_or_clicks(
    webhook: Webhook, tracked: bool
) -> None:
    rates = replace(FateRates.quiet(), open=1.0, click=1.0, machine_open=1.0)
    settings = replace(FAST, rates=rates, webhook_url=webhook.url)
    mail = mail_to()
    mail["tracking_settings"] = {
        "open_tracking": {"enable": tracked},
        "click_tracking": {"enable": tracked, "enable_text": False},
    }
    async with (
        SandboxServer(settings) as sandbox,
        aiohttp.ClientSession(sandbox.url, headers=HEADERS) as client,
    ):
        async with client.post(SEND, json=mail) as answer:
            assert answer.status == 202
        assert await sandbox.flush()
    found = Counter(webhook.names("sam@cust.example"))
    assert found["delivered"] == 1
    assert (found["open"], found["click"]) == ((2, 1) if tracked else (0, 0))
