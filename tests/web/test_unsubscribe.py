from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from uuid import UUID, uuid4

import httpx2
import psycopg
import pytest

from outreach.core.states import SuppressionReason
from outreach.db import Database, Role
from outreach.links import unsubscribe_url
from outreach.services.apply_events import apply_events
from outreach.services.suppress import lift
from tests.support.factories import (
    Message,
    enroll,
    make_campaign,
    make_sent,
    position_of,
    run,
)
from tests.support.waiting import eventually
from tests.support.web import SECRET, running

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
async def client(db: Database) -> AsyncIterator[httpx2.AsyncClient]:
    async with running(db) as client:
        yield client


@pytest.fixture
async def message(db: Database) -> Message:
    return await make_sent(db, await enroll(db, await make_campaign(db)))


def path_of(message: Message, *, key: str = SECRET, message_id: UUID | None = None) -> str:
    found = unsubscribe_url("", (key,), message.tenant_id, message_id or message.id)
    assert found.startswith("/u/")
    return found


async def suppressions(db: Database) -> list[tuple[object, ...]]:
    return await run(
        db,
        "select value, reason::text, source, created_by from suppressions"
        " where lifted_at is null order by created_at",
    )


async def deliveries(db: Database) -> int:
    ((count,),) = await run(db, "select count(*) from webhook_deliveries")
    return int(count)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_looking_at_the_link_changes_nothing(
    db: Database, client: httpx2.AsyncClient, message: Message, method: str
) -> None:
    response = await client.request(method, path_of(message))
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert ("<form" in response.text) == (method == "GET")
    assert await suppressions(db) == []
    assert await deliveries(db) == 0


@pytest.mark.parametrize(
    "body", [{"data": ONE_CLICK}, {"files": ONE_CLICK}, {"content": b""}, {"content": b"\xff=1"}]
)
async def test_the_post_stops_everything_whatever_its_body(
    db: Database, client: httpx2.AsyncClient, message: Message, body: dict[str, object]
) -> None:
    response = await client.post(path_of(message), **body)  # type: ignore[arg-type]  # any body
    assert response.status_code == 200
    assert "You are unsubscribed" in response.text
    address = message.enrollment.email
    assert await suppressions(db) == [
        (address, "unsubscribe", f"link-{message.id}", "recipient"),
    ]
    assert await run(db, "select email from contacts where suppressed_at is not null") == [
        (address,)
    ]
    await apply_events(db)
    state, _, reason = await position_of(db, message.enrollment)
    assert (state, reason) == ("stopped", "suppressed_unsubscribe")


async def test_a_second_click_changes_nothing(
    db: Database, client: httpx2.AsyncClient, message: Message
) -> None:
    for _ in range(3):
        response = await client.post(path_of(message), data=ONE_CLICK)
        assert response.status_code == 200
    assert len(await suppressions(db)) == 1
    assert await deliveries(db) == 1
    assert await apply_events(db) == 1
    assert (await client.post(path_of(message), data=ONE_CLICK)).status_code == 200
    assert await apply_events(db) == 0


async def test_a_click_counts_again_after_the_suppression_was_lifted(
    db: Database, client: httpx2.AsyncClient, message: Message
) -> None:
    await client.post(path_of(message), data=ONE_CLICK)
    reason = SuppressionReason.UNSUBSCRIBE
    email = message.enrollment.email
    await lift(db, message.tenant_id, email, reason=reason, actor="test")
    assert await suppressions(db) == []
    await client.post(path_of(message), data=ONE_CLICK)
    assert len(await suppressions(db)) == 1


async def test_it_works_when_the_contact_is_gone(
    db: Database, client: httpx2.AsyncClient, message: Message
) -> None:
    address = message.enrollment.email
    await run(
        db,
        "update contacts set email = id::text || '@erased.invalid', erased_at = now(),"
        " first_name = null where email = %(email)s",
        email=address,
    )
    assert (await client.post(path_of(message), data=ONE_CLICK)).status_code == 200
    assert [value for value, *_ in await suppressions(db)] == [address]
    await apply_events(db)
    assert (await position_of(db, message.enrollment))[0] == "stopped"


async def test_it_works_when_the_address_is_erased(
    db: Database, client: httpx2.AsyncClient, message: Message
) -> None:
    await run(db, "update outbound_messages set to_address = '' where id = %(m)s", m=message.id)
    response = await client.post(path_of(message), data=ONE_CLICK)
    assert response.status_code == 200
    assert await suppressions(db) == []
    await apply_events(db)
    assert (await position_of(db, message.enrollment))[0] == "stopped"


async def test_only_the_tenant_of_the_message_is_left(
    db: Database, client: httpx2.AsyncClient, message: Message
) -> None:
    other = await make_campaign(db)
    theirs = await enroll(db, other, email=message.enrollment.email)
    await client.post(path_of(message), data=ONE_CLICK)
    await apply_events(db)
    assert (await position_of(db, theirs))[0] == "active"
    async with db.transaction(Role.APP, other.tenant_id) as tx:
        found = await tx.execute("select from suppressions")
        assert await found.fetchall() == []


async def test_a_wrong_link_is_a_404_and_a_page(
    db: Database, client: httpx2.AsyncClient, message: Message
) -> None:
    good = path_of(message)
    wrong = [
        path_of(message, key="some other secret key"),
        path_of(message, message_id=uuid4()),
        good[:-1],
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        "/u/x",
        "/u/" + "%FF" * 40,
    ]
    for path in wrong:
        response = await client.post(path, data=ONE_CLICK)
        assert response.status_code == 404, path
        assert "not complete" in response.text
    # Only the post asks the database, so a well-signed link is a page until then.
    for path in (wrong[0], *wrong[2:]):
        assert (await client.get(path)).status_code == 404
    assert await suppressions(db) == []
    assert await deliveries(db) == 0


async def test_a_link_that_was_signed_with_an_older_key_still_works(
    db: Database, message: Message
) -> None:
    keys = ("a newer secret of sixteen", SECRET)
    async with running(db, secret_keys=keys) as client:
        assert (await client.post(path_of(message), data=ONE_CLICK)).status_code == 200


async def test_both_are_noted_or_neither(
    db: Database, client: httpx2.AsyncClient, message: Message, conninfo: str
) -> None:
    """A failure after the suppression takes it back, and the reader is not told that it is done."""
    await run(db, "alter table webhook_deliveries rename to elsewhere")
    response = await client.post(path_of(message), data=ONE_CLICK)
    assert response.status_code == 500
    assert await suppressions(db) == []
    await run(db, "alter table elsewhere rename to webhook_deliveries")
    assert (await client.post(path_of(message), data=ONE_CLICK)).status_code == 200
    assert len(await suppressions(db)) == 1


async def test_when_it_cannot_be_noted_the_reader_is_told(
    conninfo: str, db: Database, message: Message
) -> None:
    async with Database.at(conninfo, timeout_seconds=0.2, size_max=1) as small:
        async with running(small) as client, small.connection():
            assert (await client.get(path_of(message))).status_code == 200
            response = await client.post(path_of(message), data=ONE_CLICK)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "60"
    assert "Not yet unsubscribed" in response.text
    assert await suppressions(db) == []


class Page(HTMLParser):
    """The tags of a page, and what is wrong with their nesting."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


async def test_the_pages_need_nothing_else_and_can_be_read_by_everybody(
    client: httpx2.AsyncClient, message: Message
) -> None:
    path = path_of(message)
    for response in (
        await client.get(path),
        await client.post(path, data=ONE_CLICK),
        await client.get("/u/x"),
    ):
        page = Page()
        page.feed(response.text)
        assert page.open == []
        names = [tag for tag, _ in page.tags]
        assert names.count("h1") == names.count("main") == names.count("title") == 1
        assert ("html", {"lang": "en"}) in page.tags
        assert not {"script", "img", "link", "iframe"} & set(names)
        assert not any(name.startswith("on") or name == "style" for _, a in page.tags for name in a)
        (style,) = re.findall(r"<style>(.*?)</style>", response.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        policy = response.headers["content-security-policy"]
        assert f"style-src 'sha256-{digest}'" in policy
        assert "unsafe" not in policy
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "set-cookie" not in response.headers
        assert message.enrollment.email not in response.text


async def test_a_lost_connection_during_the_post_is_no_success(
    db: Database, client: httpx2.AsyncClient, message: Message, conninfo: str
) -> None:
    """The suppression waits for the contact's row; its session is ended meanwhile."""
    holder = await psycopg.AsyncConnection.connect(conninfo)
    async with holder:
        await holder.execute("select from contacts for update")

        async def end_waiter() -> object:
            ended = await holder.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where wait_event_type = 'Lock' and datname = current_database()"
            )
            return await ended.fetchall()

        post = asyncio.create_task(client.post(path_of(message), data=ONE_CLICK))
        await eventually(end_waiter)
        response = await post
        assert response.status_code == 503
        await holder.rollback()
    assert await suppressions(db) == []
