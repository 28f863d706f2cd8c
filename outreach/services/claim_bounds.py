"""What bounds a whole claim, before one action is read, and the holds that say so.

A no that concerns everybody, or everybody of one sender, is stored once for the set; and the tenant
is parked until it can be over, so that nobody asks again and again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from outreach.core.limits import Limits, Scope
from outreach.core.states import PauseState
from outreach.services import sender_limits, tokens
from outreach.services.sender_limits import Pools
from outreach.sql import Tx
from outreach.store import holds
from outreach.store.dispatch import Budget, Lane
from outreach.store.holds import SetHold

# A pause may have ended without a word to us.
PAUSE_LOOK_SECONDS = 5.0
FENCE_LOOK_SECONDS = 1.0  # a restart is looked at within a second
DATA_LOSS_HOLD = "data_loss_hold"
PACED_LOOK_SECONDS = 0.2


async def is_barred(tx: Tx, tenant_id: UUID, budget: Budget) -> bool:
    """Whether a loss of data, a pause, the provider or unapplied webhooks stand before all.

    Parks the tenant.
    """
    if budget.is_fenced:
        await holds.open_holds(tx, tenant_id, [SetHold("installation", tenant_id, DATA_LOSS_HOLD)])
        look_at = budget.granted_at + timedelta(seconds=FENCE_LOOK_SECONDS)
        await holds.park_tenant(tx, tenant_id, look_at)
        return True
    later = budget.provider_later_until
    if later is not None and later > budget.granted_at:
        hold = SetHold("installation", tenant_id, "provider_later", later)
        await holds.open_holds(tx, tenant_id, [hold])
        await holds.park_tenant(tx, tenant_id, later)
        return True
    if budget.is_behind:
        look_at = budget.granted_at + timedelta(seconds=PACED_LOOK_SECONDS)
        await holds.park_tenant(tx, tenant_id, look_at)
        return True
    paused = PauseState.PAUSED in (budget.tenant_state, budget.installation_state)
    if paused or budget.provider_paused_at is not None:
        look_at = budget.granted_at + timedelta(seconds=PAUSE_LOOK_SECONDS)
        await holds.park_tenant(tx, tenant_id, look_at)
        return True
    return False


async def room_of_all(tx: Tx, tenant_id: UUID, budget: Budget, size_max: int) -> int:
    """How many may go at all: tokens and free places of tenant and installation."""
    at = budget.granted_at
    for scope, limits, live in (
        (Scope.TENANT, tokens.tenant_limits(budget), budget.tenant_live),
        (Scope.INSTALLATION, tokens.installation_limits(budget), budget.installation_live),
    ):
        free = tokens.free_of(limits, live)
        if free is not None and free < 1:
            bound = await _bound(tx, tenant_id, scope, limits, at)
            detail = bound.detail(scope, "")
            hold = SetHold(scope.value, tenant_id, bound.reason, bound.until, detail)
            await holds.open_holds(tx, tenant_id, [hold])
            await holds.park_tenant(tx, tenant_id, bound.until)
            return 0
        size_max = size_max if free is None else min(size_max, free)
    if budget.is_held_by_limit:
        ended = [("tenant", tenant_id), ("installation", tenant_id)]
        await holds.end_limit_holds(tx, tenant_id, ended)
    for maximum, armed in (
        (budget.tenant_concurrent, budget.tenant_armed),
        (budget.installation_concurrent, budget.installation_armed),
    ):
        size_max = size_max if maximum is None else min(size_max, maximum - armed)
    if size_max < 1:
        await holds.park_tenant(tx, tenant_id, at + timedelta(seconds=PACED_LOOK_SECONDS))
    return size_max


async def _bound(
    tx: Tx, tenant_id: UUID, scope: Scope, limits: Limits, at: datetime
) -> tokens.Bound:
    if scope is Scope.INSTALLATION:
        return await tokens.read_installation_bound(tx, limits, at)
    bounds, _ = await tokens.read_bounds(tx, tenant_id, scope, {"": list(limits.windows())}, at)
    return bounds[""]


async def hold_senders(
    tx: Tx, tenant_id: UUID, lanes: Sequence[Lane], pools: Pools, at: datetime
) -> datetime | None:
    """Say of each sender that cannot send now why, once; when the first of them can again.

    None: there is no sender with something due, or only a person's act can help.
    """
    stopped = [lane for lane in lanes if not lane.is_ready]
    spent = {lane.sender_id: lane for lane in lanes if lane.is_ready and lane.free < 1}
    found = sender_limits.stops(stopped)
    untils: list[datetime] = []
    if spent:
        full = await sender_limits.read_holds(tx, tenant_id, list(spent.values()), pools, at)
        found += full
        untils += [hold.until for hold in full if hold.until is not None]
    if found:
        await holds.open_holds(tx, tenant_id, found)
    granting = [
        ("sender", lane.sender_id)
        for lane in lanes
        if lane.is_held_by_limit and lane.sender_id not in spent
    ]
    if granting:
        await holds.end_limit_holds(tx, tenant_id, granting)
    if any(lane.free > 0 and lane.is_ready for lane in lanes):
        untils.append(at + timedelta(seconds=PACED_LOOK_SECONDS))  # waits for a free place only
    if stopped and not untils:
        return at + timedelta(seconds=PAUSE_LOOK_SECONDS)
    return min(untils, default=None)
