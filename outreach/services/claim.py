"""One claim: decide about due sends and arm those that may go, in one transaction.

Under the tenant's lock: what bounds the batch, the senders that have something due, as many of
their oldest actions as there are tokens for, core's judgement of each, the domains' tokens, and
one statement that writes ledger, attempts and actions. The installation's counter comes last and
conditionally; when another tenant took its tokens meanwhile, everything is rolled back and tried
with what is left. After the commit the provider may be called, and not before.

Work does not depend on how much else is waiting: at most `size_max` actions are read, and what a
full domain refuses is promised a later moment, each row its own, and not read again before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from uuid import UUID

from outreach.core.gates import Allow, Busy, DueSend, Hold, Refuse, Stale, judge
from outreach.core.limits import START_SECONDS_MAX, Scope, bucket_of
from outreach.core.mail import Mail
from outreach.core.plan import Plan
from outreach.core.render import MissingValue, RenderProblem
from outreach.core.schedule import zone_for
from outreach.core.states import EnrollmentState, Verdict
from outreach.db import Database, replicated_transaction
from outreach.recorder import NO_RECORDER, Recorder
from outreach.services import sender_limits, tokens
from outreach.services.claim_bounds import hold_senders, is_barred, room_of_all
from outreach.services.compose import Composed, Terms, compose
from outreach.services.outcomes import ArmedStep
from outreach.services.plans import load_plans
from outreach.services.sender_limits import Pools
from outreach.sql import Tx
from outreach.store import counters, dispatch, holds
from outreach.store.dispatch import Budget, DomainTokens, Lane
from outreach.store.holds import No, Postponement

# A value that is missing may have been filled in.
VALUE_LOOK_SECONDS = 3600.0
# A body is applied within a tenth of a second. One that has waited for longer, as after a time
# without a worker, may hold an unsubscribe, which our 2xx has promised to honour: sending waits.
UNHEARD_SECONDS_MAX = 0.5
# What the rescuer waits beyond the request's own deadline before it calls an attempt unknown.
DEADLINE_SLACK_SECONDS = 3.0
TRIES_MAX = 3


@dataclass(frozen=True, slots=True)
class Claim:
    """What came of it: mails that are armed, and actions that will never go."""

    mails: list[Mail] = field(default_factory=list)
    steps: list[ArmedStep] = field(default_factory=list)  # of each mail
    refused: list[tuple[DueSend, Refuse]] = field(default_factory=list)
    start_by: float = 0.0  # of time.monotonic(): what has not begun by then is not sent
    seen: int = 0  # actions read; 0: there is nothing to do now
    is_probe: bool = False  # one mail that shows whether the provider, told to wait, answers again
    armed_at: datetime | None = None
    newcomers: Mapping[UUID, UUID] = field(default_factory=dict)  # mails whose sender is new
    intended: list[DueSend] = field(default_factory=list)  # the ledger has their message already
    weight: int = 1  # of the tenant beside others
    is_held_up: bool = False  # something is due, and somebody holds what it depends on

    @property
    def attempts(self) -> list[tuple[UUID, int]]:
        """What was armed, as the recorder knows it."""
        return [(mail.message_id, mail.attempt) for mail in self.mails]


class _InstallationFull(Exception):
    """Another tenant took the installation's tokens between our look and our grant."""


@dataclass(slots=True)
class _Batch:
    """Decisions on their way to being written."""

    granted: list[Composed] = field(default_factory=list)
    refused: list[tuple[DueSend, Refuse]] = field(default_factory=list)
    noes: list[No] = field(default_factory=list)
    postponed: list[Postponement] = field(default_factory=list)
    canceled: list[UUID] = field(default_factory=list)
    intended: list[DueSend] = field(default_factory=list)  # the ledger has their message already
    crowded: list[DueSend] = field(default_factory=list)  # their domain has no token left
    domains: dict[str, DomainTokens] = field(default_factory=dict)
    pools: Pools = field(default_factory=dict)


async def claim_batch(
    db: Database,
    tenant_id: UUID,
    *,
    size_max: int,
    terms: Terms,
    deadline_seconds: float,
    recorder: Recorder = NO_RECORDER,
) -> Claim:
    """Arm up to `size_max` due sends of a tenant; everything or, on a crash, nothing."""
    for _ in range(TRIES_MAX):
        claim = Claim()
        try:
            async with db.connection() as connection, replicated_transaction(connection):
                claim = await _claim(connection, tenant_id, size_max, terms, deadline_seconds)
                if claim.armed_at is not None:
                    recorder.arm(tenant_id, claim.armed_at, claim.attempts)
            return claim
        except _InstallationFull:
            continue
        except BaseException:  # committed or not, nobody sends these
            recorder.lapse(claim.attempts)
            raise
    return Claim(seen=0)


async def _claim(
    tx: Tx, tenant_id: UUID, size_max: int, terms: Terms, deadline_seconds: float
) -> Claim:
    await dispatch.begin_claim(tx, tenant_id)
    start_by = monotonic() + START_SECONDS_MAX
    budget = await dispatch.read_budget(tx, tenant_id, unheard_seconds=UNHEARD_SECONDS_MAX)
    if budget is None or await is_barred(tx, tenant_id, budget):
        return Claim()
    is_probe = budget.provider_later_until is not None
    total = await room_of_all(tx, tenant_id, budget, 1 if is_probe else size_max)
    if total < 1:
        return Claim()
    lanes = await dispatch.list_lanes(tx, tenant_id)
    if any(lane.is_floor_low for lane in lanes):
        await dispatch.raise_floors(tx, tenant_id)
    pools = await sender_limits.read_pools(tx, tenant_id, lanes)
    lanes = sender_limits.within_pools(lanes, pools)
    ready = [lane for lane in lanes if lane.is_ready and tokens.room_of(lane) > 0]
    takes = sender_limits.share_pools(tokens.share(ready, total), lanes, pools)
    until = await hold_senders(tx, tenant_id, lanes, pools, budget.granted_at)
    if not takes:
        if until is not None:
            await holds.park_tenant(tx, tenant_id, until)
        return Claim()
    due = await dispatch.claim_sends(tx, tenant_id, takes)
    if not due:
        return Claim(is_held_up=True)
    batch = await _decide(tx, tenant_id, due, budget, terms)
    by_id = {lane.sender_id: lane for lane in lanes}
    batch.pools = pools
    await _grant(tx, tenant_id, batch, by_id, budget, deadline_seconds)
    new = sender_limits.newcomers([(c.mail, c.due) for c in batch.granted], by_id, pools)
    mails, steps = [c.mail for c in batch.granted], [_step(c) for c in batch.granted]
    return Claim(
        mails,
        steps,
        batch.refused,
        start_by,
        len(due),
        is_probe,
        budget.granted_at,
        new,
        intended=batch.intended,
        weight=budget.weight,
    )


def _step(composed: Composed) -> ArmedStep:
    due, plan = composed.due, composed.plan
    zone = zone_for(plan, due.timezone)
    return ArmedStep(due.enrollment_id, due.node_id, due.visit, due.plan_version, plan, zone)


async def _decide(
    tx: Tx, tenant_id: UUID, due: Sequence[DueSend], budget: Budget, terms: Terms
) -> _Batch:
    """Judge, compose, and keep to the domains' tokens, oldest first."""
    batch = _Batch()
    plans = await load_plans(tx, tenant_id, {(d.campaign_id, d.plan_version) for d in due})
    composed: list[Composed] = []
    for one in sorted(due, key=lambda d: (d.due_at, d.action_id)):
        plan = plans[one.campaign_id, one.plan_version]
        if _judge(batch, one, plan, budget):
            made = _compose(batch, one, plan, tenant_id, budget, terms)
            composed.extend([] if made is None else [made])
    domains = sorted({c.due.email_domain for c in composed})
    rows = await dispatch.list_domain_tokens(tx, tenant_id, domains) if domains else []
    batch.domains = {row.domain: row for row in rows}
    left = {row.domain: row.free for row in rows}
    for made in composed:
        if left[made.due.email_domain] > 0:
            left[made.due.email_domain] -= 1
            batch.granted.append(made)
        else:
            batch.crowded.append(made.due)
    await _promise(tx, tenant_id, batch, budget.granted_at)
    return batch


def _judge(batch: _Batch, due: DueSend, plan: Plan, budget: Budget) -> bool:
    """Whether nothing but values and tokens stands against it; else the no is in the batch."""
    zone = zone_for(plan, due.timezone)
    judgement = judge(
        due, plan, zone, budget.granted_at, allows_risky=budget.allows_risky_addresses
    )
    match judgement:
        case Allow():
            return True
        case Hold(reason, until, held_by):
            _hold(batch, due, reason, until, held_by=held_by)
        case Refuse():
            batch.refused.append((due, judgement))
        case Stale():
            batch.canceled.append(due.action_id)
        case Busy():
            pass
    return False


def _hold(
    batch: _Batch,
    due: DueSend,
    reason: str,
    until: datetime | None,
    *,
    held_by: str | None = None,
    detail: Mapping[str, object] | None = None,
) -> None:
    if held_by is None:  # else the pause's own hold, stored once, says who and why
        batch.noes.append(
            No(due.enrollment_id, due.action_id, Verdict.HOLD, reason, until, detail or {})
        )
    batch.postponed.append(Postponement(due.action_id, until, held_by))


def _compose(
    batch: _Batch, due: DueSend, plan: Plan, tenant_id: UUID, budget: Budget, terms: Terms
) -> Composed | None:
    try:
        return compose(due, plan, tenant_id, budget, terms)
    except MissingValue as missing:
        until = budget.granted_at + timedelta(seconds=VALUE_LOOK_SECONDS)
        _hold(batch, due, "value_missing", until, detail={"field": missing.field})
    except RenderProblem:
        batch.refused.append((due, Refuse("template_failed", EnrollmentState.FAILED)))
    return None


async def _promise(tx: Tx, tenant_id: UUID, batch: _Batch, at: datetime) -> None:
    """Give each message of a full domain a moment of its own, behind those promised before."""
    if not batch.crowded:
        return
    full = sorted({due.email_domain for due in batch.crowded})
    wanted = {domain: batch.domains[domain].caps() for domain in full}
    bounds, promised = await tokens.read_bounds(tx, tenant_id, Scope.DOMAIN, wanted, at)
    reach: dict[tuple[str, str, int], datetime] = {}
    for due in batch.crowded:
        domain = due.email_domain
        bound = bounds[domain]
        key = (Scope.DOMAIN.value, domain, bound.window_seconds)
        last = reach.get(key) or promised.get((domain, bound.window_seconds))
        step = timedelta(seconds=bound.window_seconds / max(bound.cap, 1))
        until = bound.until if last is None else max(bound.until, last + step)
        reach[key] = until
        _hold(batch, due, bound.reason, until, detail=bound.detail(Scope.DOMAIN, domain))
    await counters.promise(tx, tenant_id, reach)


async def _grant(
    tx: Tx,
    tenant_id: UUID,
    batch: _Batch,
    lanes: Mapping[UUID, Lane],
    budget: Budget,
    deadline_seconds: float,
) -> None:
    """Write the batch: ledger and tokens, then the noes, the installation's tokens last."""
    at = budget.granted_at
    if batch.granted:
        seconds = START_SECONDS_MAX + deadline_seconds + DEADLINE_SLACK_SECONDS
        deadline_at = at + timedelta(seconds=seconds)
        grants = [c.grant for c in batch.granted]
        armed = await dispatch.arm_sends(
            tx, tenant_id, grants, granted_at=at, deadline_at=deadline_at
        )
        _leave_out_intended(batch, armed)
    if batch.noes:
        await holds.insert_refusals(tx, tenant_id, batch.noes)
    if batch.postponed:
        await holds.postpone_actions(tx, tenant_id, batch.postponed)
    if batch.canceled:
        await holds.cancel_actions(tx, tenant_id, batch.canceled)
    if batch.granted:
        await _take(tx, tenant_id, batch, lanes, budget)


def _leave_out_intended(batch: _Batch, armed: set[UUID]) -> None:
    """A message that was intended before is not made twice; its step is settled elsewhere."""
    for composed in [c for c in batch.granted if c.grant.message_id not in armed]:
        batch.granted.remove(composed)
        batch.intended.append(composed.due)


async def _take(
    tx: Tx, tenant_id: UUID, batch: _Batch, lanes: Mapping[UUID, Lane], budget: Budget
) -> None:
    """Tokens at every scope for what was armed, or the whole claim is undone."""
    at = budget.granted_at
    pairs = [(c.due.sender_id, c.due.email_domain) for c in batch.granted]
    taken = tokens.taken(pairs, lanes, batch.domains, tokens.tenant_limits(budget), at)
    taken += sender_limits.taken(pairs, lanes, batch.pools, at)
    if taken:
        await counters.take_tokens(tx, tenant_id, taken, at=at)
    caps = list(tokens.installation_limits(budget).windows())
    if caps:
        windows = [(window, bucket_of(at, window), cap) for window, cap in caps]
        got = await counters.take_installation(tx, len(pairs), windows, at=at)
        if len(got) < len(windows):
            raise _InstallationFull
    most = budget.installation_concurrent
    if most is not None and await sender_limits.count_everybodys(tx) > most:
        raise _InstallationFull  # another tenant's claim, which we did not see, came before
