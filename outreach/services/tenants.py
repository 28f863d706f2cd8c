"""Tenants: who shares the installation, each by its slug."""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID
from zoneinfo import available_timezones

from outreach.core.errors import Invalid, NotFound, Problem
from outreach.db import Database, Role, set_actor
from outreach.services import audit
from outreach.services.control import hold_if_installation_paused
from outreach.sql import Tx
from outreach.store import tenants as store
from outreach.store import wakeups
from outreach.store.tenants import Tenant

SLUG = re.compile(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?")
NAME_LENGTH_MAX = 200
ADDRESS_LENGTH_MAX = 500
WEIGHT_MAX = 100


@dataclass(frozen=True, slots=True)
class NewTenant:
    """What a tenant is made of; the postal address stands in the footer of every mail."""

    slug: str
    name: str
    timezone: str = "UTC"
    postal_address: str | None = None
    weight: int = 1
    has_own_queue: bool = False

    def problems(self) -> list[Problem]:
        """Everything that is wrong with it."""
        found = []
        if not SLUG.fullmatch(self.slug):
            rule = "1 to 30 lower-case letters, digits and inner hyphens"
            found.append(Problem("$.slug", f"{self.slug!r} is not {rule}."))
        if not _is_line(self.name, NAME_LENGTH_MAX):
            found.append(Problem("$.name", f"must be 1 to {NAME_LENGTH_MAX} characters."))
        if self.timezone not in available_timezones():
            found.append(Problem("$.timezone", f"{self.timezone!r} is no IANA time zone."))
        address = self.postal_address
        if address is not None and not _is_text(address, ADDRESS_LENGTH_MAX):
            rule = f"must be 1 to {ADDRESS_LENGTH_MAX} characters"
            found.append(Problem("$.postal_address", f"{rule}, without control characters."))
        found.extend(_weight_problems(self.weight))
        return found


async def find_tenant_id(db: Database, slug: str) -> UUID | None:
    """The id of the tenant with this slug."""
    async with db.transaction(Role.APP) as tx:
        return await store.find_tenant_id(tx, slug)


async def create(db: Database, new: NewTenant, *, actor: str) -> Tenant:
    """The tenant of this slug, made now if there was none.

    One that exists is left as it is, but gets the postal address that it lacks.
    """
    if problems := new.problems():
        raise Invalid(problems)
    async with db.transaction(Role.OPERATOR) as tx:
        tenant_id = await store.insert_tenant(
            tx,
            slug=new.slug,
            name=new.name.strip(),
            timezone=new.timezone,
            postal_address=new.postal_address,
            weight=new.weight,
            has_own_queue=new.has_own_queue,
        )
        if tenant_id is not None:
            await audit.record(tx, tenant_id, actor=actor, act="tenant_created", subject=new.slug)
            await set_actor(tx, Role.APP, tenant_id)
            await hold_if_installation_paused(tx, tenant_id)
            await set_actor(tx, Role.OPERATOR)
        elif new.postal_address is not None:
            await _fill_in_address(tx, new.slug, new.postal_address, actor=actor)
        tenant = await store.find_tenant(tx, new.slug)
        assert tenant is not None, "it was there or was made"
        return tenant


async def share(
    db: Database,
    slug: str,
    *,
    actor: str,
    weight: int | None = None,
    has_own_queue: bool | None = None,
) -> Tenant:
    """How a tenant shares the workers, from its next turn on; None leaves a value as it is.

    A wake-up that waits moves to the queue that is its tenant's now.
    """
    if weight is not None and (problems := _weight_problems(weight)):
        raise Invalid(problems)
    async with db.transaction(Role.OPERATOR) as tx:
        tenant = await store.find_tenant(tx, slug)
        if tenant is None:
            raise NotFound("tenant", slug)
        if await store.set_tenant_share(tx, tenant.id, weight=weight, has_own_queue=has_own_queue):
            await audit.record(
                tx,
                tenant.id,
                actor=actor,
                act="tenant_share_set",
                subject=slug,
                weight=weight,
                has_own_queue=has_own_queue,
            )
            tenant = await store.find_tenant(tx, slug)
            assert tenant is not None, "it was there in this transaction"
            await set_actor(tx, Role.WORKER)
            await wakeups.move_waiting_sends(tx)
        return tenant


async def _fill_in_address(tx: Tx, slug: str, address: str, *, actor: str) -> None:
    filled = await store.set_postal_address_if_missing(tx, slug, address)
    if filled is not None:
        await audit.record(tx, filled, actor=actor, act="postal_address_set", subject=slug)


async def list_page(db: Database, *, after: str = "", rows_max: int = 200) -> list[Tenant]:
    """The tenants after a slug, by slug."""
    async with db.transaction(Role.OPERATOR) as tx:
        return await store.list_tenants(tx, after=after, rows_max=rows_max)


def _weight_problems(weight: int) -> list[Problem]:
    if 1 <= weight <= WEIGHT_MAX:
        return []
    return [Problem("$.weight", f"must be a whole number from 1 to {WEIGHT_MAX}.")]


def _is_line(text: str, length_max: int) -> bool:
    return bool(text.strip()) and len(text) <= length_max and text.isprintable()


def _is_text(text: str, length_max: int) -> bool:
    """Printable, and line breaks are allowed."""
    return bool(text.strip()) and len(text) <= length_max and text.replace("\n", "").isprintable()
