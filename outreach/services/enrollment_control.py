"""Pause, resume and stop: a person's act on one contact's enrollments.

Each takes effect at its commit: it updates the enrollment's own row, which a claim shares and a
step locks. A paused enrollment sends nothing and its timers wait; events still move it. What comes
due in a pause leaves the timetable as claims and timers meet it, and a resume puts it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from outreach.core.address import address_key, normalize_address
from outreach.core.errors import Conflict, NotFound
from outreach.core.states import EnrollmentState
from outreach.db import Database, Role, lock_tenant
from outreach.services import audit
from outreach.services.campaigns import get_campaign_id
from outreach.services.launch import wake_senders
from outreach.sql import Tx
from outreach.store import enrollment_control as store
from outreach.store.campaigns import stop_enrollments
from outreach.store.enrollment_control import ContactEnrollment
from outreach.store.enrollments import cancel_actions, complete_campaigns
from outreach.store.explain import find_contact_by_key
from outreach.store.pauses import release_enrollment_actions
from outreach.store.wakeups import wake

END_REASON = "stopped_by_person"
ACTIVE, PAUSED, STOPPED = EnrollmentState.ACTIVE, EnrollmentState.PAUSED, EnrollmentState.STOPPED
LIVE: Final = (EnrollmentState.DRAFT, ACTIVE, PAUSED)


async def pause(
    db: Database,
    tenant_id: UUID,
    email: str,
    *,
    campaign: str | None = None,
    reason: str,
    actor: str,
) -> list[ContactEnrollment]:
    """Send the contact nothing more, in that campaign or in any, until resumed; what is paused now.

    Paused ones keep the first pause's reason. Raises Invalid without a reason, Conflict where none
    is active or paused, NotFound.
    """
    audit.require_reason(reason)
    async with db.transaction(Role.APP, tenant_id) as tx:
        found = await _lock(tx, tenant_id, email, campaign)
        active = _in_state(found, ACTIVE)
        paused = [*_in_state(found, PAUSED), *active]
        if not paused:
            raise _conflict(email, found, expected=ACTIVE)
        if active:
            ids = [one.id for one in active]
            await store.pause_enrollments(tx, tenant_id, ids, actor=actor, reason=reason)
            await _record(tx, tenant_id, "enrollment_paused", email, active, actor, reason)
        return _as(PAUSED, paused)


async def resume(
    db: Database,
    tenant_id: UUID,
    email: str,
    *,
    campaign: str | None = None,
    actor: str,
    reason: str | None = None,
) -> list[ContactEnrollment]:
    """Let the contact's paused enrollments go on, and what they held is due again; what is active.

    Raises Conflict where none is paused or active, NotFound. Under the tenant's lock no claim can
    take an action out between the release and the commit.
    """
    async with db.transaction(Role.APP, tenant_id) as tx:
        await lock_tenant(tx, tenant_id)
        found = await _lock(tx, tenant_id, email, campaign)
        paused = _in_state(found, PAUSED)
        active = [*_in_state(found, ACTIVE), *paused]
        if not active:
            raise _conflict(email, found, expected=PAUSED)
        if paused:
            ids = [one.id for one in paused]
            await store.resume_enrollments(tx, tenant_id, ids)
            await release_enrollment_actions(tx, tenant_id, ids)
            await _record(tx, tenant_id, "enrollment_resumed", email, paused, actor, reason)
            await wake_senders(tx, tenant_id)
            await wake(tx, "fire_timers", tenant_id=tenant_id)
        return _as(ACTIVE, active)


async def stop(
    db: Database,
    tenant_id: UUID,
    email: str,
    *,
    campaign: str | None = None,
    reason: str,
    actor: str,
) -> list[ContactEnrollment]:
    """End the contact's live enrollments for good (`stopped_by_person`); what is stopped now.

    A mail that is with the provider at this moment may still arrive. Raises Invalid without a
    reason, Conflict where none is live or stopped, NotFound. As the worker, which alone may change
    the ledger.
    """
    audit.require_reason(reason)
    async with db.transaction(Role.WORKER, tenant_id) as tx:
        found = await _lock(tx, tenant_id, email, campaign)
        live = _in_state(found, *LIVE)
        stopped = [*_in_state(found, STOPPED), *live]
        if not stopped:
            raise _conflict(email, found, expected=ACTIVE)
        if live:
            ids = [one.id for one in live]
            await cancel_actions(tx, tenant_id, ids)
            await stop_enrollments(
                tx, tenant_id, ids, end_reason=END_REASON, actor=actor, note=reason
            )
            await complete_campaigns(tx, tenant_id, {one.campaign_id for one in live})
            await _record(tx, tenant_id, "enrollment_stopped", email, live, actor, reason)
        return _as(STOPPED, stopped)


async def _lock(
    tx: Tx, tenant_id: UUID, email: str, campaign: str | None
) -> list[ContactEnrollment]:
    """The contact's enrollments, locked; at least one."""
    address = normalize_address(email)
    contact = None
    if address is not None:
        contact = await find_contact_by_key(tx, tenant_id, address_key(address))
    if contact is None:
        raise NotFound("contact", email)
    campaign_id = None if campaign is None else await get_campaign_id(tx, tenant_id, campaign)
    found = await store.lock_contact_enrollments(tx, tenant_id, contact.id, campaign_id=campaign_id)
    if not found:
        raise NotFound("enrollment of", email)
    return found


def _in_state(
    found: Sequence[ContactEnrollment], *states: EnrollmentState
) -> list[ContactEnrollment]:
    return [one for one in found if one.state in states]


def _as(state: EnrollmentState, found: Sequence[ContactEnrollment]) -> list[ContactEnrollment]:
    return [replace(one, state=state.value) for one in found]


def _conflict(
    email: str, found: Sequence[ContactEnrollment], *, expected: EnrollmentState
) -> Conflict:
    return Conflict("enrollment of", email, expected=expected, actual=found[-1].state)


async def _record(
    tx: Tx,
    tenant_id: UUID,
    act: str,
    email: str,
    changed: Sequence[ContactEnrollment],
    actor: str,
    reason: str | None,
) -> None:
    await audit.record(
        tx,
        tenant_id,
        actor=actor,
        act=act,
        subject=email,
        reason=reason,
        campaigns=[one.campaign for one in changed],
        enrollment_ids=[str(one.id) for one in changed],
    )
