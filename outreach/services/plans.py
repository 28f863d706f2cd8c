"""Plans by campaign and version, parsed once a process.

A stored version never changes, so a parsed one is kept without ever being checked again; the
least recently used go when there are too many.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from uuid import UUID

from outreach.core.errors import NotFound
from outreach.core.plan import Plan
from outreach.sql import Tx
from outreach.store import plans as store

PLANS_MAX = 512  # a plan of ordinary size holds some 20 KB when parsed

# The tenant is part of the key: a plan is never served to another tenant, whatever id it asks for.
_parsed: OrderedDict[tuple[UUID, UUID, int], Plan] = OrderedDict()


async def load_plan(tx: Tx, tenant_id: UUID, campaign_id: UUID, version: int) -> Plan:
    """The plan of that version; NotFound where there is none."""
    plans = await load_plans(tx, tenant_id, [(campaign_id, version)])
    try:
        return plans[campaign_id, version]
    except KeyError:
        raise NotFound("plan version", f"{campaign_id} {version}") from None


async def load_plans(
    tx: Tx, tenant_id: UUID, keys: Collection[tuple[UUID, int]]
) -> dict[tuple[UUID, int], Plan]:
    """The plans that exist among `keys`: at most one query, none for what is known already."""
    plans = {key: plan for key in set(keys) if (plan := _find(tenant_id, key)) is not None}
    missing = set(keys) - plans.keys()
    if missing:
        for row in await store.list_plans(tx, tenant_id, sorted(missing)):
            # Stored versions passed every rule when they came in, and keep running when a later
            # release adds one; only their form is read here.
            plan = Plan.model_validate(row.plan)
            plans[row.campaign_id, row.version] = plan
            _keep((tenant_id, row.campaign_id, row.version), plan)
    return plans


def forget_plan(tenant_id: UUID, campaign_id: UUID, version: int) -> None:
    """Read that version anew when it is next asked for: what made it may not have committed."""
    _parsed.pop((tenant_id, campaign_id, version), None)


def _find(tenant_id: UUID, key: tuple[UUID, int]) -> Plan | None:
    full = (tenant_id, *key)
    plan = _parsed.get(full)
    if plan is not None:
        _parsed.move_to_end(full)
    return plan


def _keep(key: tuple[UUID, UUID, int], plan: Plan) -> None:
    _parsed[key] = plan
    if len(_parsed) > PLANS_MAX:
        _parsed.popitem(last=False)
