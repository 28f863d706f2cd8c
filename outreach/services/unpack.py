"""Whose is each event? From elements of webhook bodies to events with tenant and message.

By our own ids where an event carries them, else by the provider's id of the message. An event is
never given to the tenant of its neighbours, and one whose tenant and message disagree to nobody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from outreach.core.provider_events import AccountEvent, BadEvent, ProviderEvent, read_event
from outreach.sql import Tx
from outreach.store import events as store
from outreach.store.events import Owner, Reference

UNKNOWN_MESSAGE = "unknown_message"
TENANT_MISMATCH = "tenant_mismatch"
AMBIGUOUS_MESSAGE = "ambiguous_message"

# Only these many of a batch are looked for over all tenants, to tell a lie from a stranger's event.
STRANGERS_MAX = 200


Key = tuple[str, str]  # a provider, and its id of an event


@dataclass(frozen=True, slots=True)
class OwnedEvent:
    """An event, and the message that it is about."""

    provider: str
    event: ProviderEvent
    message_id: UUID
    enrollment_id: UUID

    @property
    def key(self) -> Key:
        """What makes it the same event."""
        return self.provider, self.event.id


@dataclass(frozen=True, slots=True)
class Stray:
    """What cannot be applied to anybody, and why."""

    provider: str
    id: str
    reason: str
    payload: object
    delivery_id: UUID | None


@dataclass(slots=True)
class Unpacked:
    """The events of some bodies, each in one of these places, and once for each tenant."""

    by_tenant: dict[UUID, list[OwnedEvent]] = field(default_factory=lambda: defaultdict(list))
    strays: dict[Key, Stray] = field(default_factory=dict)
    account: dict[Key, AccountEvent] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a body's array."""

    provider: str
    value: object
    delivery_id: UUID | None
    received_at: datetime
    known_as: str | None = None  # the id under which it was kept before


async def unpack(tx: Tx, elements: Iterable[Element]) -> Unpacked:
    """Read and place each; two statements for all, whoever they belong to."""
    unpacked = Unpacked()
    events: list[tuple[ProviderEvent, Element]] = []

    def stray(event_id: str, reason: str, payload: object, element: Element) -> None:
        key = element.provider, event_id
        unpacked.strays.setdefault(key, Stray(*key, reason, payload, element.delivery_id))

    for element in elements:
        read = read_event(element.value)
        if element.known_as is not None:
            read = replace(read, id=element.known_as)
        match read:
            case ProviderEvent():
                # Nothing happens after we hear of it; a wrong clock must not keep a plan waiting.
                event = replace(read, at=min(read.at, element.received_at))
                events.append((event, element))
            case AccountEvent():
                unpacked.account.setdefault((element.provider, read.id), read)
                stray(read.id, "account_event", read.payload, element)
            case BadEvent():
                stray(read.id, read.reason, read.payload, element)
    verdicts = await _place(tx, [event for event, _ in events])
    seen: set[tuple[UUID, Key]] = set()  # an id is a tenant's own: in one body as in two
    for (event, element), verdict in zip(events, verdicts, strict=True):
        if not isinstance(verdict, Owner):
            stray(event.id, verdict, event.payload, element)
            continue
        owned = OwnedEvent(element.provider, event, verdict.message_id, verdict.enrollment_id)
        if (verdict.tenant_id, owned.key) not in seen:
            seen.add((verdict.tenant_id, owned.key))
            unpacked.by_tenant[verdict.tenant_id].append(owned)
    return unpacked


async def _place(tx: Tx, events: Sequence[ProviderEvent]) -> list[Owner | str]:
    """For each event the message that it is about, or why there is none."""
    if not events:
        return []
    references = [ref for place, event in enumerate(events) for ref in _references(place, event)]
    found: dict[int, set[Owner]] = defaultdict(set)
    for owner in await store.resolve_messages(tx, references):
        found[owner.ref].add(owner)
    strangers = [
        event.message_id
        for place, event in enumerate(events)
        if event.message_id is not None and place not in found
    ]
    known = await store.tenants_of_messages(tx, strangers[:STRANGERS_MAX]) if strangers else {}
    return [_verdict(event, found.get(place, set()), known) for place, event in enumerate(events)]


def _references(place: int, event: ProviderEvent) -> list[Reference]:
    if event.message_id is not None and event.tenant_id is not None:
        return [Reference(place, event.tenant_id, event.message_id, None)]
    return [Reference(place, None, None, provider_id) for provider_id in event.provider_ids]


def _verdict(event: ProviderEvent, owners: set[Owner], known: dict[UUID, UUID]) -> Owner | str:
    if len(owners) > 1:
        return AMBIGUOUS_MESSAGE
    if owners:
        (owner,) = owners
        is_theirs = event.tenant_id in (None, owner.tenant_id)
        is_it = event.message_id in (None, owner.message_id)
        return owner if is_theirs and is_it else TENANT_MISMATCH
    if event.message_id is not None and event.message_id in known:
        return TENANT_MISMATCH
    return UNKNOWN_MESSAGE
