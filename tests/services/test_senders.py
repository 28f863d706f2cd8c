"""Sender identities, and keys: who may send, and who may ask."""

from __future__ import annotations

import hashlib
from uuid import uuid4

import pytest

from outreach.core.errors import Conflict, Invalid, NotFound, Unavailable
from outreach.db import Database, Role
from outreach.services import keys, senders
from outreach.services.senders import NewSender
from outreach.store.ledger import pause_senders
from tests.support.people import ACTOR, ask, new_tenant

ANN = NewSender("ann@acme.example", "Ann")
ACTS = "select act, actor, reason from audit_log where act like 'sender%%' order by created_at"


class Provider:
    """Vouches for what it is told to, or is away."""

    def __init__(self, answer: bool | Exception) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def is_verified(self, email: str) -> bool:
        self.asked.append(email)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_a_new_sender_is_unverified_and_the_same_again_changes_nothing(db: Database) -> None:
    tenant_id = await new_tenant(db)
    sender = await senders.add(db, tenant_id, ANN, actor=ACTOR)
    assert (sender.from_email, sender.from_name, sender.state) == (ANN.email, "Ann", "unverified")
    again = await senders.add(db, tenant_id, NewSender("ANN@Acme.Example", "Ann"), actor=ACTOR)
    assert again == sender
    with pytest.raises(Conflict):
        await senders.add(db, tenant_id, NewSender(ANN.email, "Another"), actor=ACTOR)
    assert await senders.list_all(db, tenant_id) == [sender]


@pytest.mark.parametrize(
    ("new", "paths"),
    [
        (NewSender("ann", ""), ["$.email", "$.name"]),
        (NewSender("änn@acme.example", "Ann"), ["$.email"]),
        (NewSender("ann@acme.example", "Ann\r\nBcc: x"), ["$.name"]),
        (NewSender("ann@acme.example", "Ann", "nowhere"), ["$.reply_to"]),
    ],
)
async def test_every_problem_of_a_sender_is_named(
    db: Database, new: NewSender, paths: list[str]
) -> None:
    tenant_id = await new_tenant(db)
    with pytest.raises(Invalid) as refused:
        await senders.add(db, tenant_id, new, actor=ACTOR)
    assert [problem.path for problem in refused.value.problems] == paths
    assert await senders.list_all(db, tenant_id) == []


async def test_the_provider_decides_and_may_take_it_back(db: Database) -> None:
    tenant_id = await new_tenant(db)
    await senders.add(db, tenant_id, ANN, actor=ACTOR)
    yes, no = Provider(True), Provider(False)
    sender = await senders.verify(db, tenant_id, "Ann@acme.example", yes, actor="mei")
    assert (sender.state, sender.verified_by, yes.asked) == ("verified", "provider", [ANN.email])
    woken = "select task_name from procrastinate_jobs where status = 'todo'"
    assert await ask(db, tenant_id, woken) == [("send_due",)]
    sender = await senders.verify(db, tenant_id, ANN.email, no, actor="mei")
    assert (sender.state, sender.verified_at) == ("unverified", None)
    assert [act for act, _, _ in await ask(db, tenant_id, ACTS)] == [
        "sender_added",
        "sender_verified",
        "sender_unverified",
    ]


async def test_a_provider_that_is_away_changes_nothing(db: Database) -> None:
    tenant_id = await new_tenant(db)
    await senders.add(db, tenant_id, ANN, actor=ACTOR)
    await senders.force_verified(db, tenant_id, ANN.email, actor="mei")
    with pytest.raises(Unavailable):
        await senders.verify(db, tenant_id, ANN.email, Provider(Unavailable("away")), actor="mei")
    [sender] = await senders.list_all(db, tenant_id)
    assert sender.state == "verified"


async def test_force_is_under_the_operators_name(db: Database) -> None:
    tenant_id = await new_tenant(db)
    await senders.add(db, tenant_id, ANN, actor=ACTOR)
    sender = await senders.force_verified(db, tenant_id, ANN.email, actor="mei", reason="demo")
    assert (sender.state, sender.verified_by) == ("verified", "mei")
    assert (await ask(db, tenant_id, ACTS))[1:] == [("sender_verified_by_force", "mei", "demo")]


async def test_verifying_ends_the_pause_and_its_holds(db: Database) -> None:
    tenant_id = await new_tenant(db)
    sender = await senders.add(db, tenant_id, ANN, actor=ACTOR)
    await ask(
        db,
        tenant_id,
        "update sender_identities set paused_at = now(), pause_reason = '403' returning 1",
    )
    await ask(
        db,
        tenant_id,
        "insert into send_holds (tenant_id, scope, subject_id, reason)"
        " values (%(t)s, 'sender', %(s)s, 'sender_paused') returning 1",
        t=tenant_id,
        s=sender.id,
    )
    verified = await senders.verify(db, tenant_id, ANN.email, Provider(True), actor="mei")
    assert verified.paused_at is None
    assert await ask(db, tenant_id, "select ended_at is null from send_holds") == [(False,)]


async def test_a_persons_pause_says_who_and_why_and_ends_by_a_person(db: Database) -> None:
    tenant_id = await new_tenant(db)
    await senders.add(db, tenant_id, ANN, actor=ACTOR)
    await senders.force_verified(db, tenant_id, ANN.email, actor="mei")
    paused = await senders.pause(db, tenant_id, "ANN@acme.example", reason="left us", actor="mei")
    assert (paused.paused_by, paused.pause_reason, paused.state) == ("mei", "left us", "verified")
    again = await senders.pause(db, tenant_id, ANN.email, reason="another", actor="tom")
    assert again == paused
    detail = {"sender": ANN.email, "who": "mei", "reason": "left us"}
    hold = "select reason, detail, ended_at is null from send_holds"
    assert await ask(db, tenant_id, hold) == [("sender_paused", detail, True)]
    verified = await senders.verify(db, tenant_id, ANN.email, Provider(True), actor="tom")
    assert verified.paused_at is not None, "whoever verifies it did not pause it"
    assert await ask(db, tenant_id, hold) == [("sender_paused", detail, True)]
    resumed = await senders.resume(db, tenant_id, ANN.email, actor="tom", reason="is back")
    assert (resumed.paused_at, resumed.paused_by, resumed.pause_reason) == (None, None, None)
    assert await ask(db, tenant_id, hold) == [("sender_paused", detail, False)]
    assert await senders.resume(db, tenant_id, ANN.email, actor="tom") == resumed
    acts = [row for row in await ask(db, tenant_id, ACTS) if "paused" in row[0] or "resu" in row[0]]
    assert acts == [("sender_paused", "mei", "left us"), ("sender_resumed", "tom", "is back")]


async def test_a_pause_by_the_provider_becomes_a_persons(db: Database) -> None:
    tenant_id = await new_tenant(db)
    sender = await senders.add(db, tenant_id, ANN, actor=ACTOR)
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        await pause_senders(tx, tenant_id, [sender.id], "403")
    [listed] = await senders.list_all(db, tenant_id)
    assert (listed.paused_by, listed.pause_reason) == ("provider", "403")
    who = "select detail->>'who', detail->>'reason' from send_holds where ended_at is null"
    assert await ask(db, tenant_id, who) == [("the provider", "403")]
    paused = await senders.pause(db, tenant_id, ANN.email, reason="left us", actor="mei")
    assert await ask(db, tenant_id, who) == [("mei", "left us")]
    assert (paused.paused_at, paused.paused_by) == (listed.paused_at, "mei")
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        await pause_senders(tx, tenant_id, [sender.id], "403")
    assert await senders.list_all(db, tenant_id) == [paused]
    resumed = await senders.resume(db, tenant_id, ANN.email, actor="mei")
    assert resumed.paused_at is None
    assert await ask(db, tenant_id, who) == []


async def test_a_sender_is_paused_with_a_reason_and_only_where_it_is(db: Database) -> None:
    tenant_id = await new_tenant(db)
    await senders.add(db, tenant_id, ANN, actor=ACTOR)
    with pytest.raises(Invalid):
        await senders.pause(db, tenant_id, ANN.email, reason=" ", actor=ACTOR)
    with pytest.raises(NotFound):
        await senders.pause(db, tenant_id, "bob@acme.example", reason="r", actor=ACTOR)
    with pytest.raises(NotFound):
        await senders.resume(db, tenant_id, "bob@acme.example", actor=ACTOR)
    other = await new_tenant(db, "other")
    with pytest.raises(NotFound):
        await senders.pause(db, other, ANN.email, reason="r", actor=ACTOR)
    [sender] = await senders.list_all(db, tenant_id)
    assert sender.paused_at is None


async def test_a_sender_of_another_tenant_is_not_there(db: Database) -> None:
    ours, theirs = await new_tenant(db, "ours"), await new_tenant(db, "theirs")
    await senders.add(db, theirs, ANN, actor=ACTOR)
    with pytest.raises(NotFound):
        await senders.force_verified(db, ours, ANN.email, actor=ACTOR)
    with pytest.raises(NotFound):
        await senders.verify(db, ours, ANN.email, Provider(True), actor=ACTOR)


async def test_a_key_is_shown_once_and_stored_as_a_hash(db: Database) -> None:
    tenant_id = await new_tenant(db)
    new = await keys.create_for_tenant(db, tenant_id, ["write", "read", "read"], actor="mei")
    start, kind, key_id, secret = new.key.split("_", 3)
    assert (start, kind, key_id, new.scopes) == ("ok", "live", new.id.hex, ("read", "write"))
    assert len(secret) == 43
    [row] = await ask(db, tenant_id, "select id, secret_hash, scopes from api_keys")
    assert row == (new.id, hashlib.sha256(secret.encode()).digest(), ["read", "write"])
    everything = await ask(db, None, "select to_jsonb(a)::text from audit_log a")
    assert not any(secret in text for (text,) in everything)


async def test_an_operators_key_belongs_to_no_tenant(db: Database) -> None:
    tenant_id = await new_tenant(db)
    new = await keys.create_for_operator(db, actor="mei")
    assert new.key.startswith(f"ok_op_{new.id.hex}_")
    assert await keys.list_page(db, tenant_id) == []
    [key] = await keys.list_page(db, None)
    assert (key.id, key.tenant_id, key.scopes) == (new.id, None, ["operator"])


@pytest.mark.parametrize("scopes", [[], ["everything"], ["read", "operator"]])
async def test_a_tenants_key_has_a_tenants_scopes(db: Database, scopes: list[str]) -> None:
    tenant_id = await new_tenant(db)
    with pytest.raises(Invalid):
        await keys.create_for_tenant(db, tenant_id, scopes, actor=ACTOR)
    assert await keys.list_page(db, tenant_id) == []


async def test_a_key_is_revoked_once(db: Database) -> None:
    tenant_id = await new_tenant(db)
    new = await keys.create_for_tenant(db, tenant_id, ["read"], actor=ACTOR)
    revoked = await keys.revoke(db, new.id, actor="mei", reason="leaked")
    assert revoked.revoked_at is not None
    for unknown in (new.id, uuid4()):
        with pytest.raises(NotFound):
            await keys.revoke(db, unknown, actor="mei")
