"""What a simulation takes from a tenant: limits, senders, contacts, and who read its mail."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from outreach.core.errors import Invalid, NotFound
from outreach.core.limits import DEFAULTS, Override, Scope
from outreach.core.simulate_habits import SHARES
from outreach.db import Database, Role
from outreach.services import limits, simulate_ground
from outreach.services.simulate import Ground, Past, Wish, try_out
from outreach.services.simulate_ground import ground_of
from outreach.store import simulate as store
from tests.support.factories import Message, enroll, make_campaign, make_sent, make_tenant, run

START = datetime(2026, 5, 4, 9, tzinfo=UTC)
ONE_MAIL = json.dumps(
    {
        "version": "1.0",
        "timezone": "UTC",
        "start_node_id": "intro",
        "nodes": [{"id": "intro", "action": "send", "subject": "A word", "body": "Hello."}],
    }
).encode()


async def tell(
    db: Database, message: Message, *names: str, days: int = 0, is_machine: bool = False
) -> None:
    """Events of a message, as the webhooks leave them."""
    await run(
        db,
        "insert into message_events (tenant_id, provider, provider_event_id, outbound_message_id,"
        " enrollment_id, event_type, event_at, is_machine)"
        " select %(t)s, 'sendgrid', gen_random_uuid()::text, %(m)s, %(e)s, name::event_type,"
        " now() - %(age)s, %(is_machine)s from unnest(%(names)s::text[]) as n (name)",
        t=message.tenant_id,
        m=message.id,
        e=message.enrollment.id,
        names=list(names),
        age=timedelta(days=days),
        is_machine=is_machine,
    )


async def past(db: Database) -> UUID:
    """A tenant with ten mails: eight arrived, one bounced, one was blocked; and one of long ago."""
    campaign = await make_campaign(db)
    zones = ["Asia/Tokyo"] * 6 + [None] * 5
    mails = [
        await make_sent(db, await enroll(db, campaign, email=f"p{n}@big.example", timezone=zone))
        for n, zone in enumerate(zones)
    ]
    for mail in mails[:8]:
        await tell(db, mail, "processed", "delivered")
    await tell(db, mails[0], "opened", "opened", "clicked", "replied")
    await tell(db, mails[1], "opened", "unsubscribed")
    await tell(db, mails[2], "opened", "clicked", is_machine=True)
    await tell(db, mails[3], "spam_report")
    await tell(db, mails[8], "bounced")
    await tell(db, mails[9], "blocked")
    await tell(db, mails[10], "delivered", "opened", days=100)
    return campaign.tenant_id


async def test_past_readers_zones_and_domains_become_the_assumptions(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant_id = await past(db)
    await make_campaign(db)  # another tenant's plays no part
    ground = await ground_of(db, tenant_id)
    assert ground.past == Past(90, 10, is_used=False), "ten mails say nothing"
    assert ground.shares == {**SHARES, "same_domain": 1.0}
    assert sorted(ground.crowd.zones, key=str) == [("Asia/Tokyo", 6.0), (None, 5.0)]
    monkeypatch.setattr(simulate_ground, "MAILS_MIN", 10)
    ground = await ground_of(db, tenant_id)
    assert ground.shares == {
        "opened": 2 / 8,
        "clicked": 1 / 8,
        "replied": 1 / 8,
        "unsubscribed": 1 / 8,
        "spam_report": 1 / 8,
        "bounced": 1 / 10,
        "machine_opened": 1 / 10,
        "blocked": 1 / 10,
        "same_domain": 1.0,
    }
    done = try_out(Wish(ONE_MAIL, START, 50, ["opened=0.9"]), ground)
    assert done.assumptions["opened"] == 0.9, "what is given lies over what was counted"
    assert done.past == Past(90, 10, is_used=True)


async def test_the_sample_is_bounded(db: Database) -> None:
    tenant_id = await past(db)
    async with db.transaction(Role.APP, tenant_id) as tx:
        newest = await store.get_history(tx, tenant_id, days=365, rows_max=2)
        few = await store.list_zones(tx, tenant_id, rows_max=5)
    assert (newest.mails, newest.opened) == (1, 1)
    assert [(part.name, part.contacts) for part in few] == [(None, 5)]


async def test_the_tenants_limits_and_its_senders_warm_up_count(db: Database) -> None:
    campaign = await make_campaign(db)
    tenant_id = campaign.tenant_id
    ((address,),) = await run(
        db,
        "update sender_identities set first_sent_at = %(since)s where id = %(id)s"
        " returning from_email",
        since=START - timedelta(days=60),
        id=campaign.sender_id,
    )

    def days(ground: Ground) -> list[int]:
        return list(try_out(Wish(ONE_MAIL, START, 600), ground).outcome.messages_by_day.values())

    assert days(Ground()) == [200, 200, 200], "a new sender's"
    assert days(await ground_of(db, tenant_id)) == [600], "it is warm"
    given = Override(per_day=400)
    await limits.set_for_tenant(db, tenant_id, Scope.SENDER, given, name=address, actor="test")
    ground = await ground_of(db, tenant_id, address.upper())
    assert days(ground) == [400, 200]
    await limits.set_for_tenant(db, tenant_id, Scope.TENANT, Override(per_hour=1), actor="test")
    done = try_out(Wish(ONE_MAIL, START, 30), await ground_of(db, tenant_id))
    assert done.outcome.binding_limit == "limit_tenant"


async def test_a_domain_has_its_own_limit_where_one_is_set(db: Database) -> None:
    tenant_id = await past(db)
    given = Override(per_hour=5)
    await limits.set_for_tenant(
        db, tenant_id, Scope.DOMAIN, given, name="big.example", actor="test"
    )
    done = try_out(Wish(ONE_MAIL, START, 30), await ground_of(db, tenant_id))
    assert done.outcome.binding_limit == "limit_domain"


async def test_a_tenant_without_anything_has_the_defaults(db: Database) -> None:
    tenant_id = await make_tenant(db)
    ground = await ground_of(db, tenant_id)
    assert ground.caps.limits == DEFAULTS
    assert (ground.caps.own, ground.shares) == (None, SHARES)
    assert list(ground.crowd.zones) == [(None, 1.0)]
    assert sum(try_out(Wish(ONE_MAIL, START, 20), ground).outcome.messages_by_day.values()) == 20


async def test_a_sender_that_there_is_not_is_not_found(db: Database) -> None:
    with pytest.raises(NotFound, match="no sender"):
        await ground_of(db, await make_tenant(db), "nobody@acme.example")


def test_a_plan_that_cannot_run_is_told_with_its_problems() -> None:
    with pytest.raises(Invalid):
        try_out(Wish(b"{}", START))
