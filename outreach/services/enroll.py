"""Enrolling: contacts come into a campaign, each once, and in one campaign at a time.

An audience is worked off in pages, each its own transaction under the tenant's lock (so that two
enrolls cannot put one contact into two campaigns) and the campaign's row lock (so that a launch is
before or after the page). A page is short, so that sending goes on in between. A crash leaves the
pages that were committed; enrolling the same audience again does the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import assert_never
from uuid import UUID

from outreach.core.address import address_key, normalize_address
from outreach.core.audience import Condition
from outreach.core.errors import Conflict
from outreach.core.states import CampaignState
from outreach.db import Database, Role, lock_tenant
from outreach.services import audit
from outreach.services.campaigns import get_campaign_id
from outreach.services.launch import activate, complete_if_ended, lock_campaign, wake_senders
from outreach.sql import Tx
from outreach.store import campaigns, sweep
from outreach.store import enroll as store

PAGE_ROWS = 2_000
ENROLLED = "enrolled"

_BEFORE_ALL = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Matching:
    """Every contact for whom all conditions hold; without conditions, every contact."""

    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Addresses:
    """The contacts with these addresses, one a line; blank lines are nothing."""

    lines: Iterable[str]


Audience = Matching | Addresses


@dataclass(frozen=True, slots=True)
class Enrolled:
    """How many came in, and why the others did not."""

    enrolled: int
    skipped: dict[str, int]


async def enroll(
    db: Database, tenant_id: UUID, campaign: str, audience: Audience, *, actor: str
) -> Enrolled:
    """Enroll an audience; into a launched campaign they start at once.

    Raises NotFound, and Conflict for a campaign that is stopped.
    """
    async with db.transaction(Role.APP, tenant_id) as tx:
        campaign_id = await get_campaign_id(tx, tenant_id, campaign)
    counts: Counter[str] = Counter()
    match audience:
        case Matching(conditions):
            pages = _matching_pages(db, tenant_id, conditions)
        case Addresses(lines):
            pages = _address_pages(db, tenant_id, lines, counts)
        case _:
            assert_never(audience)
    is_empty = True
    async for page in pages:
        is_empty = False
        counts.update(await _enroll_page(db, tenant_id, campaign_id, page, actor=actor))
        async with db.transaction(Role.APP, tenant_id) as tx:
            await sweep.learn_statistics(tx)
    if is_empty:
        await _enroll_page(db, tenant_id, campaign_id, [], actor=actor)
    enrolled = counts.pop(ENROLLED, 0)
    return Enrolled(enrolled, {reason: n for reason, n in sorted(counts.items()) if n})


async def _matching_pages(
    db: Database, tenant_id: UUID, conditions: tuple[Condition, ...]
) -> AsyncIterator[list[UUID]]:
    after = _BEFORE_ALL
    while True:
        async with db.transaction(Role.APP, tenant_id) as tx:
            page = await store.match_contacts(
                tx, tenant_id, conditions, after=after, rows_max=PAGE_ROWS
            )
        if page:
            yield page
        if len(page) < PAGE_ROWS:
            return
        after = page[-1]


async def _address_pages(
    db: Database, tenant_id: UUID, lines: Iterable[str], counts: Counter[str]
) -> AsyncIterator[list[UUID]]:
    """Pages of contacts; lines that name none are counted here."""
    wanted = (line.strip() for line in lines)
    source = (line for line in wanted if line)
    while chunk := list(islice(source, PAGE_ROWS)):
        keys = set(_keys(chunk))
        counts["address_invalid"] += (invalid := sum(normalize_address(a) is None for a in chunk))
        counts["duplicate"] += len(chunk) - invalid - len(keys)
        async with db.transaction(Role.APP, tenant_id) as tx:
            page = await store.find_contacts_by_key(tx, tenant_id, sorted(keys))
        counts["unknown_contact"] += len(keys) - len(page)
        if page:
            yield page


def _keys(chunk: list[str]) -> Iterator[str]:
    for text in chunk:
        address = normalize_address(text)
        if address is not None:
            yield address_key(address)


async def _enroll_page(
    db: Database, tenant_id: UUID, campaign_id: UUID, page: list[UUID], *, actor: str
) -> dict[str, int]:
    async with db.transaction(Role.APP, tenant_id) as tx:
        await lock_tenant(tx, tenant_id)
        locked = await lock_campaign(tx, tenant_id, str(campaign_id))
        state = CampaignState(locked.state)
        if state is CampaignState.STOPPED:
            raise Conflict("campaign", locked.name, expected="not stopped", actual=state)
        await store.forget_plans(tx)
        verdicts = await store.enroll_contacts(tx, tenant_id, campaign_id, page) if page else []
        counts = {row.verdict: row.count for row in verdicts}
        if counts.get(ENROLLED):
            await _start_enrolled(tx, tenant_id, campaign_id, state)
            await audit.record(
                tx,
                tenant_id,
                actor=actor,
                act="contacts_enrolled",
                subject=locked.name,
                campaign_id=str(campaign_id),
                counts=counts,
            )
            if state in (CampaignState.ACTIVE, CampaignState.COMPLETED):
                await wake_senders(tx, tenant_id)
    return counts


async def _start_enrolled(tx: Tx, tenant_id: UUID, campaign_id: UUID, state: CampaignState) -> None:
    """Whoever comes into a launched campaign starts at once, into a paused one held."""
    match state:
        case CampaignState.DRAFT:
            return
        case CampaignState.PAUSED:
            await activate(tx, tenant_id, campaign_id, held_by="campaign")
            return
        case CampaignState.COMPLETED:
            await campaigns.set_campaign_launched(tx, tenant_id, campaign_id)
        case CampaignState.ACTIVE:
            pass
        case CampaignState.STOPPED:
            raise AssertionError("nobody comes into a stopped campaign")
        case _:
            assert_never(state)
    await activate(tx, tenant_id, campaign_id)
    await complete_if_ended(tx, tenant_id, campaign_id)
