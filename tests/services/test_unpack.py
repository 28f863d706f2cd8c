"""Whose is an event: its own tenant's, whoever it comes with; and what becomes of what is bad."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from outreach.db import Database
from outreach.services.apply_events import adopt_events, apply_events
from tests.support.factories import (
    enroll,
    event,
    make_campaign,
    make_sent,
    position_of,
    receive,
    run,
)
from tests.support.statements import counted_statements
from tests.support.stories import drain, sent, stored, suppressed, unmatched


async def test_a_body_of_many_tenants_lands_each_event_with_its_own(db: Database) -> None:
    messages = [await sent(db) for _ in range(4)]
    await receive(db, *[event(message, "open") for message in messages])
    with counted_statements() as seen:
        await apply_events(db)
    assert len(seen) < 120
    for message in messages:
        assert await stored(db, message) == [("opened", False)]
        assert await position_of(db, message.enrollment) == ("active", "wait_click", None)


async def test_an_id_that_two_tenants_share_is_an_event_of_each(db: Database) -> None:
    one, two = await sent(db), await sent(db)
    await receive(db, event(one, "open", id="same"), event(two, "open", id="same"))
    await receive(db, event(two, "open", id="same"))
    await apply_events(db)
    assert await stored(db, one) == await stored(db, two) == [("opened", False)]


async def test_tenant_and_message_that_disagree_are_applied_to_nobody(db: Database) -> None:
    message, other = await sent(db), await sent(db)
    lie = event(message, "unsubscribe", id="lie", outreach_tenant=str(other.tenant_id))
    by_id = {"outreach_message_id": None, "sg_message_id": f"{message.provider_message_id}.x.0"}
    lie_by_id = lie | by_id | {"sg_event_id": "lie by id"}
    await receive(db, lie, lie_by_id, event(other, "open"))
    await apply_events(db)
    assert await unmatched(db) == [
        ("lie", "tenant_mismatch", False),
        ("lie by id", "tenant_mismatch", False),
    ]
    assert await suppressed(db, message) == await suppressed(db, other) == []
    assert await stored(db, other) == [("opened", False)]


async def test_without_our_ids_the_providers_find_the_message(db: Database) -> None:
    message = await sent(db)
    by_prefix = {"sg_message_id": f"{message.provider_message_id}.recvd-1.0"}
    by_smtp = {"smtp-id": f"<{message.provider_message_id}@geopod>", "sg_message_id": "filter.1.0"}
    await receive(db, event(None, "open", **by_prefix), event(None, "delivered", **by_smtp))
    await apply_events(db)
    assert sorted(await stored(db, message)) == [("delivered", False), ("opened", False)]


@pytest.mark.parametrize(
    "suffix",
    ["", ".0", ".recvd-85abf8d92c-3qfgp-1-6923C0A1-2F.0", ".filterdrecv-p3iad2-8ddf98858.2.1"],
)
async def test_a_late_bounce_without_our_ids_goes_to_the_tenant_of_its_mail(
    db: Database, suffix: str
) -> None:
    message, other = await sent(db), await sent(db)
    bounce = {"type": "bounce", "sg_message_id": f"{message.provider_message_id}{suffix}"}
    await receive(db, event(None, "bounce", **bounce), event(other, "delivered"))
    await apply_events(db)
    assert await stored(db, message) == [("bounced", False)]
    email = message.enrollment.email
    assert await suppressed(db, message) == [(email, "bounce", "bounce")]
    assert (await position_of(db, message.enrollment))[0] == "stopped"
    assert await stored(db, other) == [("delivered", False)]
    assert await suppressed(db, other) == []


async def test_an_id_that_two_messages_share_is_applied_to_neither(db: Database) -> None:
    one, two = await sent(db), await sent(db)
    await run(
        db,
        "update send_attempts set provider_message_id = %(id)s where message_id = %(m)s",
        id=one.provider_message_id,
        m=two.id,
    )
    shared = f"{one.provider_message_id}.recvd-1.0"
    await receive(db, event(None, "bounce", id="shared", type="bounce", sg_message_id=shared))
    await apply_events(db)
    assert await unmatched(db) == [("shared", "ambiguous_message", False)]
    assert await stored(db, one) == await stored(db, two) == []


async def test_half_of_our_ids_is_no_lie_and_the_providers_find_the_message(db: Database) -> None:
    message, other = await sent(db), await sent(db)
    half = event(message, "open", sg_message_id=f"{message.provider_message_id}.recvd-1.0")
    lie = event(message, "click", id="lie", sg_message_id=f"{other.provider_message_id}.recvd.0")
    for one in (half, lie):
        del one["outreach_tenant"]
    await receive(db, half, lie)
    await apply_events(db)
    assert await stored(db, message) == [("opened", False)]
    assert await stored(db, other) == []
    assert await unmatched(db) == [("lie", "tenant_mismatch", False)]


async def test_nothing_happens_after_we_hear_of_it(db: Database) -> None:
    message = await sent(db)
    ahead = datetime.now(UTC) + timedelta(days=20_000)
    await receive(db, event(message, "open", at=ahead), event(None, "open", at=ahead))
    await apply_events(db)
    assert await position_of(db, message.enrollment) == ("active", "wait_click", None)
    query = "select event_at <= received_at from message_events"
    assert await run(db, query) == [(True,)]


async def test_an_id_that_is_only_a_beginning_finds_nothing(db: Database) -> None:
    message = await sent(db)
    await receive(db, event(None, "open", sg_message_id=f"{message.provider_message_id}x.1"))
    await apply_events(db)
    assert [reason for _, reason, _ in await unmatched(db)] == ["unknown_message"]


async def test_an_unknown_message_is_kept_and_adopted_when_it_is_known(db: Database) -> None:
    enrollment = await enroll(db, await make_campaign(db))
    early = event(None, "open", id="early", sg_message_id="Xlate.recvd.0")
    await receive(db, early)
    await apply_events(db)
    assert await unmatched(db) == [("early", "unknown_message", False)]
    message = await make_sent(db, enrollment)
    await run(
        db,
        "update send_attempts set provider_message_id = 'Xlate' where message_id = %(m)s",
        m=message.id,
    )
    assert await adopt_events(db) == 1
    assert await unmatched(db) == [("early", "unknown_message", True)]
    assert await stored(db, message) == [("opened", False)]
    assert await position_of(db, enrollment) == ("active", "wait_click", None)
    assert await adopt_events(db) == 0


async def test_what_never_finds_its_message_is_looked_for_ever_more_rarely(db: Database) -> None:
    await receive(db, event(None, "open", sg_message_id="Xnever.0"))
    await apply_events(db)
    query = "select look_at > now() from unmatched_events"
    assert await run(db, query) == [(False,)]
    assert await adopt_events(db) == 0
    assert await run(db, query) == [(True,)]


# Bad bodies and bad events


@pytest.mark.parametrize("raw", [b"hello", b"{}", b"[1, 2]", b"[" * 50_000, b"\xff\xfe"])
async def test_signed_garbage_is_quarantined_and_blocks_nobody(db: Database, raw: bytes) -> None:
    message = await sent(db)
    delivery_id = await receive(db, raw=raw)
    await receive(db, event(message, "open"))
    assert await drain(db) == 2
    query = "select state::text, problem from webhook_deliveries where id = %(id)s"
    ((state, problem),) = await run(db, query, id=delivery_id)
    assert state == "quarantined"
    assert problem.startswith("It ")
    assert await stored(db, message) == [("opened", False)]


async def test_a_bad_event_is_kept_and_its_neighbours_go_on(db: Database) -> None:
    message = await sent(db)
    good = json.dumps(event(message, "open")).encode()
    nul = json.dumps(event(message, "delivered", id="nul\x00", response="\ud800 ok")).encode()
    bodies = [
        b"7",
        b"null",
        b'{"event":"opened","sg_event_id":"name"}',
        b'{"event":"open","timestamp":NaN,"sg_event_id":"nan"}',
        b'{"event":"open","timestamp":1764000001,"timestamp":"x","sg_event_id":"twice"}',
        b'{"event":"open","sg_event_id":"deep","x":' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"event":"open","timestamp":1764000001,"sg_event_id":"nobody\xff"}',
        nul,
    ]
    await receive(db, raw=b"[" + b",".join([*bodies, good]) + b"]")
    await apply_events(db)
    assert sorted(await stored(db, message)) == [("delivered", False), ("opened", False)]
    assert sorted(reason for _, reason, _ in await unmatched(db)) == [
        "bad_timestamp",
        "bad_timestamp",
        "not_an_object",
        "not_an_object",
        "too_deep",
        "unknown_event",
        "unknown_message",
    ]


async def test_data_that_the_database_refuses_is_set_aside_alone(db: Database) -> None:
    message, other = await sent(db), await sent(db)
    await run(
        db,
        "alter table message_events add constraint poison check (reason is distinct from 'poison')",
    )
    poison = event(message, "bounce", type="blocked", bounce_classification="poison")
    delivery_id = await receive(db, poison)
    await receive(db, event(other, "open"))
    assert await drain(db) == 2
    query = "select state::text, problem from webhook_deliveries where id = %(id)s"
    ((state, problem),) = await run(db, query, id=delivery_id)
    assert state == "quarantined"
    assert "poison" in problem
    assert await stored(db, message) == []
    assert await stored(db, other) == [("opened", False)]
