"""Mails that came in become what they mean: events, like everything else that happens.

One transaction takes some mails, reads and matches them, closes them, and hands what follows to the
applier of events as deliveries of our own. A crash anywhere loses nothing and repeats nothing, and
the ids of these events are made of message and mail, so the same mail means the same once.

A mail is matched by the address it came to, which nobody can guess, else by the Message-IDs that it
answers. Who sent it is not asked: people answer from other addresses, and `From` proves nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg

from outreach.core.replies import BadMail, Mail, read_mail
from outreach.core.replies_class import Classified, classify
from outreach.core.replies_match import Candidates, candidates
from outreach.core.states import DeliveryState, InboundClass
from outreach.db import Database, Role, set_actor
from outreach.services.unsubscribe import PROVIDER
from outreach.sql import Tx
from outreach.store import events as event_store
from outreach.store import replies as store
from outreach.store.events import Owner, Reference
from outreach.store.replies import Inbound, MailEvent
from outreach.store.wakeups import wake

ROWS_MAX = 20
BYTES_MAX = 4 * 1024 * 1024  # a batch in memory is some ten times that
OLD_MAX = timedelta(days=4)  # a mail's own date may be so much older than its coming

UNMATCHED = "No message of ours is named."
OTHER_RECIPIENT = "It is about another recipient."


@dataclass(frozen=True, slots=True)
class Read:
    """One mail, what it says, and where it may belong."""

    row: Inbound
    mail: Mail
    kind: Classified
    candidates: Candidates

    @property
    def at(self) -> datetime:
        """When it was written, where its date can be true."""
        sent_at, received_at = self.mail.sent_at, self.row.received_at
        is_true = sent_at is not None and received_at - OLD_MAX <= sent_at <= received_at
        return sent_at if is_true and sent_at is not None else received_at


async def apply_replies(db: Database) -> int:
    """Apply the oldest mails; how many were closed, 0 when none is left."""
    try:
        return await _apply(db, ROWS_MAX)
    except (psycopg.DataError, psycopg.IntegrityError):
        return await _apply(db, 1, is_refusal_kept=True)


async def _apply(db: Database, rows_max: int, *, is_refusal_kept: bool = False) -> int:
    async with db.transaction(Role.WORKER) as tx:
        rows = await store.claim_inbound(tx, rows_max=rows_max, bytes_max=BYTES_MAX)
        if not rows:
            return 0
        if not is_refusal_kept:
            await _apply_in(tx, rows)
            return len(rows)
        try:
            async with tx.transaction():
                await _apply_in(tx, rows)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            await set_actor(tx, Role.WORKER)
            problem = f"The database refuses it: {error.diag.message_primary}."
            await store.close_inbound(tx, None, [_quarantined(row, problem) for row in rows])
        return len(rows)


async def _apply_in(tx: Tx, rows: Sequence[Inbound]) -> None:
    # In a thread: what strangers write may take its time, and others wait for this loop.
    found = await asyncio.to_thread(lambda: [_read(row) for row in rows])
    reads = [item for item in found if isinstance(item, Read)]
    owners = await _owners(tx, reads)
    nobodys = [item for item in found if not isinstance(item, Read)]
    nobodys += [_closing(item, None, UNMATCHED) for item in reads if item.row.id not in owners]
    by_tenant: dict[UUID, list[Read]] = defaultdict(list)
    for item in reads:
        if item.row.id in owners:
            by_tenant[owners[item.row.id].tenant_id].append(item)
    events: dict[bytes, MailEvent] = {}
    for tenant_id, mine in sorted(by_tenant.items()):
        await set_actor(tx, Role.WORKER, tenant_id)
        for event in await _give(tx, tenant_id, mine, owners):
            events.setdefault(event.payload_hash, event)
    await set_actor(tx, Role.WORKER)
    if nobodys:
        await store.close_inbound(tx, None, nobodys)
    if events and await store.insert_mail_events(tx, PROVIDER, list(events.values())):
        await wake(tx, "apply_events")


def _read(row: Inbound) -> Read | Mapping[str, object]:
    """What the mail says, or the closing of one that cannot be read."""
    try:
        mail = read_mail(row.raw)
    except BadMail as problem:
        return _quarantined(row, str(problem))
    envelope = row.envelope if isinstance(row.envelope, dict) else {}
    if envelope.get("from") == "":  # RFC 3834: so that nobody answers it
        mail = replace(mail, marks=(*mail.marks, "envelope:empty"))
    found = candidates(envelope.get("to", []), mail.to, mail.references)
    kind = classify(mail, row.received_at, is_unsubscribe_address=found.is_unsubscribe)
    return Read(row, mail, kind, found)


async def _owners(tx: Tx, reads: Sequence[Read]) -> dict[UUID, Owner]:
    """The message of each mail that has one; three statements for all of them."""
    asked = {item.candidates.message_id for item in reads} - {None}
    tenants = await event_store.tenants_of_messages(tx, [id_ for id_ in asked if id_ is not None])
    references: list[Reference] = []
    for place, item in enumerate(reads):
        message_id = item.candidates.message_id
        if message_id is not None and message_id in tenants:
            references.append(Reference(place, tenants[message_id], message_id, None))
            continue
        own = item.candidates.own
        references += [Reference(place, tenant, message, None) for message, tenant in own]
        provider_ids = item.candidates.provider_ids
        references += [Reference(place, None, None, id_) for id_ in provider_ids]
    found: dict[int, set[Owner]] = defaultdict(set)
    for owner in await event_store.resolve_messages(tx, references) if references else []:
        found[owner.ref].add(owner)
    chosen = {place: _latest(reads[place], owners) for place, owners in found.items()}
    return {reads[place].row.id: owner for place, owner in chosen.items() if owner is not None}


def _latest(item: Read, owners: set[Owner]) -> Owner | None:
    """Of a thread's messages the latest that it names; of several tenants' none."""
    if len({owner.tenant_id for owner in owners}) != 1:
        return None
    order = [message for message, _ in item.candidates.own]
    return min(
        owners,
        key=lambda o: (order.index(o.message_id) if o.message_id in order else 99, o.message_id),
    )


async def _give(
    tx: Tx, tenant_id: UUID, mine: Sequence[Read], owners: Mapping[UUID, Owner]
) -> list[MailEvent]:
    """Close a tenant's mails; the events that they are, the oldest first."""
    messages = {owners[item.row.id].message_id for item in mine}
    addresses = await event_store.list_addresses(tx, tenant_id, messages)
    events: list[MailEvent] = []
    closings = []
    for item in mine:
        owner = owners[item.row.id]
        is_strangers = _is_of_another(item, addresses.get(owner.message_id, ""))
        event = None if is_strangers else _event(item, owner)
        if event is not None:
            events.append(event)
        closings.append(_closing(item, owner, OTHER_RECIPIENT if is_strangers else None))
    await store.close_inbound(tx, tenant_id, closings)
    return events


def _is_of_another(item: Read, address: str) -> bool:
    """A bounce that names recipients, and not ours: a forward, or one of a group."""
    bounce = item.mail.bounce
    return bounce is not None and address.lower() not in bounce.recipients


def _event(item: Read, owner: Owner) -> MailEvent | None:
    """The event that the mail is; None for one of which nothing follows."""
    fields: dict[str, object] = {}
    match item.kind.kind:
        case InboundClass.REPLY:
            name = "reply"
        case InboundClass.UNSUBSCRIBE_REQUEST:
            name = "unsubscribe"
        case InboundClass.BOUNCE if item.mail.bounce is not None and item.mail.bounce.is_permanent:
            bounce = item.mail.bounce
            name = "bounce"
            fields = {"type": "bounce", "status": bounce.status, "reason": bounce.diagnostic}
        case InboundClass.BOUNCE | InboundClass.OUT_OF_OFFICE | InboundClass.OTHER:
            return None
    mail = item.mail.mail_id or hashlib.sha256(item.row.raw).hexdigest()
    digest = hashlib.sha256(f"{name}\n{owner.message_id}\n{mail}".encode()).hexdigest()
    event_id = f"mail-{digest}"
    event = {
        "event": name,
        "sg_event_id": event_id,
        "timestamp": int(item.at.timestamp()),
        "outreach_message_id": str(owner.message_id),
        "outreach_tenant": str(owner.tenant_id),
        **fields,
    }
    # Of the event and not of the body: the same mail again may have another date.
    payload_hash = hashlib.sha256(f"{PROVIDER}\n{event_id}".encode()).digest()
    return MailEvent(payload_hash, json.dumps([event]).encode(), item.row.received_at)


def _matched_by(item: Read, owner: Owner) -> str:
    return "address" if owner.message_id == item.candidates.message_id else "references"


def _quarantined(row: Inbound, problem: str) -> dict[str, object]:
    return {"id": str(row.id), "state": DeliveryState.QUARANTINED.value, "problem": problem}


def _closing(item: Read, owner: Owner | None, problem: str | None) -> dict[str, object]:
    """The columns of an applied mail."""
    mail, bounce = item.mail, item.mail.bounce
    detail: dict[str, object] = {
        "marks": mail.marks,
        "attachments": [asdict(each) for each in mail.attachments],
        "bounce": None if bounce is None else asdict(bounce),
        "has_calendar": mail.has_calendar or None,
    }
    return {
        "id": str(item.row.id),
        "state": DeliveryState.APPLIED.value,
        "problem": problem,
        "outbound_message_id": None if owner is None else str(owner.message_id),
        "enrollment_id": None if owner is None else str(owner.enrollment_id),
        "matched_by": None if owner is None else _matched_by(item, owner),
        "class": item.kind.kind.value,
        "mail_id": mail.mail_id,
        "from_address": mail.from_address,
        "from_name": mail.from_name,
        "subject": mail.subject,
        "sent_at": None if mail.sent_at is None else mail.sent_at.astimezone(UTC).isoformat(),
        "body_text": mail.text,
        "body_html": mail.html,
        "returns_on": None if item.kind.returns_on is None else item.kind.returns_on.isoformat(),
        "detail": {key: value for key, value in detail.items() if value},
    }
