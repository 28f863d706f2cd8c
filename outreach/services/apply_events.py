"""Webhook bodies become events, and everything that follows from them, or nothing does.

One transaction takes some bodies, applies what they say for each tenant in turn, and closes them: a
crash anywhere loses nothing and repeats nothing. Tenants, and whatever is locked for each, are
taken in the order of their ids, so appliers beside each other may wait, but never in a ring.

A body whose data the database refuses is set aside alone, so that it does not block the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from uuid import UUID

import psycopg

from outreach.clock import transaction_now
from outreach.core.provider_events import ACCOUNT_FORBIDDEN, AccountEvent
from outreach.core.states import DeliveryState
from outreach.core.transitions import Advance
from outreach.core.webhook_body import BadBody, read_body, storable
from outreach.db import Database, Role, set_actor
from outreach.services.fold_events import fold_events
from outreach.services.standing import wake_due
from outreach.services.unpack import Element, Key, Stray, Unpacked, unpack
from outreach.sql import Tx
from outreach.store import deliveries as delivery_store
from outreach.store import events as store
from outreach.store.deliveries import Closing, Delivery
from outreach.store.events import OpenUnmatched, Unmatched
from outreach.store.incidents import Incident, raise_account_incident
from outreach.store.ledger import pause_provider

BYTES_MAX = 2 * 1024 * 1024  # a batch in memory is some ten times that
STRAYS_CHUNK = 5_000
ADOPTED_MAX = 500


async def apply_events(db: Database, *, deliveries_max: int = 10) -> int:
    """Apply the oldest bodies; how many were closed, 0 when none is left (or free).

    Events kept earlier whose message was unknown then are looked at again on the way.
    """
    try:
        return await _apply(db, deliveries_max)
    except (psycopg.DataError, psycopg.IntegrityError):
        return await _apply_oldest_alone(db)


async def adopt_events(db: Database) -> int:
    """Apply kept events whose message has become known; how many that were."""
    async with db.transaction(Role.WORKER) as tx:
        opened = await store.claim_unmatched(tx, rows_max=ADOPTED_MAX)
        return await _apply_in(tx, opened, []) if opened else 0


async def apply_deliveries(tx: Tx, deliveries: Sequence[Delivery]) -> None:
    """Apply these bodies, which the transaction holds or replays, and close each."""
    await _apply_in(tx, [], deliveries)


async def _apply(db: Database, deliveries_max: int) -> int:
    async with db.transaction(Role.WORKER) as tx:
        opened = await store.claim_unmatched(tx, rows_max=ADOPTED_MAX)
        deliveries = await delivery_store.claim_deliveries(
            tx, rows_max=deliveries_max, bytes_max=BYTES_MAX
        )
        if opened or deliveries:
            await _apply_in(tx, opened, deliveries)
        return len(deliveries)


async def _apply_oldest_alone(db: Database) -> int:
    """The oldest body by itself; set aside where the database refuses what it says."""
    async with db.transaction(Role.WORKER) as tx:
        deliveries = await delivery_store.claim_deliveries(tx, rows_max=1, bytes_max=BYTES_MAX)
        try:
            async with tx.transaction():
                await apply_deliveries(tx, deliveries)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            problem = f"The database refuses it: {error.diag.message_primary}."
            closings = [
                Closing(delivery.id, DeliveryState.QUARANTINED, problem, None)
                for delivery in deliveries
            ]
            await delivery_store.close_deliveries(tx, closings)
        return len(deliveries)


async def _apply_in(tx: Tx, opened: Sequence[OpenUnmatched], deliveries: Sequence[Delivery]) -> int:
    """Apply kept events and bodies, and close both; how many kept events found their message."""
    elements = [
        Element(row.provider, row.payload, row.delivery_id, row.received_at, row.provider_event_id)
        for row in opened
    ]
    closings: list[Closing] = []
    for delivery in deliveries:
        try:
            body = read_body(delivery.payload)
        except BadBody as problem:
            closing = Closing(delivery.id, DeliveryState.QUARANTINED, str(problem), None)
        else:
            closing = Closing(delivery.id, DeliveryState.APPLIED, None, len(body))
            elements += [
                Element(delivery.provider, value, delivery.id, delivery.received_at)
                for value in body
            ]
        closings.append(closing)
    unpacked = await unpack(tx, elements)
    news = await _keep_strays(tx, unpacked)
    await _fold(tx, unpacked, news)
    if closings:
        await delivery_store.close_deliveries(tx, closings)
    adopted = {
        row.id: (row.provider, row.provider_event_id) not in unpacked.strays for row in opened
    }
    if adopted:
        await store.close_unmatched(tx, adopted)
    return sum(adopted.values())


async def _fold(tx: Tx, unpacked: Unpacked, news: Mapping[Key, AccountEvent]) -> None:
    """Tenant by tenant, then what all share: the account's row, and the wake-ups as locks too."""
    now = await transaction_now(tx)
    moved: dict[UUID, list[Advance]] = {}
    for tenant_id, owned in sorted(unpacked.by_tenant.items()):
        await set_actor(tx, Role.WORKER, tenant_id)
        moved[tenant_id] = await fold_events(tx, tenant_id, owned, now)
    await set_actor(tx, Role.WORKER)
    for (provider, event_id), event in sorted(news.items()):
        if event.forbids_sending:
            await pause_provider(tx, event.change)
            detail = {"change": event.change, "event_id": event_id}
            await raise_account_incident(tx, Incident(ACCOUNT_FORBIDDEN, provider, detail))
    for tenant_id, advances in moved.items():
        await wake_due(tx, tenant_id, advances, now)


async def _keep_strays(tx: Tx, unpacked: Unpacked) -> dict[Key, AccountEvent]:
    """Keep what belongs to nobody; what of it is news about the account, each once for ever."""
    strays = list(unpacked.strays.values())
    kept: set[Key] = set()
    for start in range(0, len(strays), STRAYS_CHUNK):
        chunk = [_unmatched(stray) for stray in strays[start : start + STRAYS_CHUNK]]
        kept |= await store.insert_unmatched(tx, chunk)
    return {key: event for key, event in unpacked.account.items() if key in kept}


def _unmatched(stray: Stray) -> Unmatched:
    payload = json.dumps(storable(stray.payload))
    return Unmatched(stray.provider, stray.id, stray.reason, payload, stray.delivery_id)
