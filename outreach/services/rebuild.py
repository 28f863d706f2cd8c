"""Whether what is stored is what its records come to: all of a tenant, read and never written.

Each page is one moment of the database, so that work going on meanwhile makes no difference. It
acts as people do, under row level security, for one tenant at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

from outreach.core import rebuilt
from outreach.core.rebuilt import Difference, MessageRecord, Moves
from outreach.db import Database, Role
from outreach.sql import Tx
from outreach.store import rebuild as store

PAGE_ROWS = 1_000
_FIRST = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Place:
    """How far a comparison has come: first the enrollments, then the contacts, by id."""

    after: UUID = _FIRST
    is_of_contacts: bool = False


START = Place()


@dataclass(frozen=True, slots=True)
class Page:
    """How many things were compared, where they differ, and where to go on."""

    compared: int
    differences: list[Difference]
    next: Place | None  # None: that was all


async def check(db: Database, tenant_id: UUID, *, rows_max: int = PAGE_ROWS) -> AsyncIterator[Page]:
    """Compare every enrollment with its messages, then every contact of a tenant."""
    place: Place | None = START
    while place is not None:
        async with db.snapshot(Role.APP, tenant_id) as tx:
            page = await compare_page(tx, tenant_id, place, rows_max=rows_max)
        yield page
        place = page.next


async def compare_page(tx: Tx, tenant_id: UUID, place: Place, *, rows_max: int) -> Page:
    """One page, of so many enrollments or contacts, in a transaction that sees one moment."""
    if place.is_of_contacts:
        return await _contacts(tx, tenant_id, place.after, rows_max)
    return await _enrollments(tx, tenant_id, place.after, rows_max)


async def _enrollments(tx: Tx, tenant_id: UUID, after: UUID, rows_max: int) -> Page:
    rows = await store.list_enrollments(tx, tenant_id, after=after, rows_max=rows_max)
    ids = [row.id for row in rows]
    moves: dict[UUID, list[Moves]] = defaultdict(list)
    for move in await store.list_moves(tx, tenant_id, ids):
        moves[move.enrollment_id].append(move)
    messages: dict[UUID, list[MessageRecord]] = defaultdict(list)
    ledger = await store.list_messages(tx, tenant_id, ids)
    for message in ledger:
        messages[message.enrollment_id].append(message)
    unmet = await store.list_unmet(tx, tenant_id, ids, rebuilt.demands())
    found = [one for message in ledger for one in rebuilt.message_differences(message)]
    for row in rows:
        found += rebuilt.enrollment_differences(row, moves[row.id], messages[row.id])
    found += [one for event in unmet for one in rebuilt.event_differences(event)]
    is_last = len(rows) < rows_max
    place = Place(is_of_contacts=True) if is_last else Place(ids[-1])
    return Page(len(rows) + len(ledger), found, place)


async def _contacts(tx: Tx, tenant_id: UUID, after: UUID, rows_max: int) -> Page:
    rows = await store.list_contacts(tx, tenant_id, after=after, rows_max=rows_max)
    found = [one for row in rows for one in rebuilt.contact_differences(row)]
    is_last = len(rows) < rows_max
    return Page(len(rows), found, None if is_last else Place(rows[-1].id, is_of_contacts=True))
