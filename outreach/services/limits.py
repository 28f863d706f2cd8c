"""Limits as people set and see them; what they mean is `core.limits`.

After a change everything that limits had put off is looked at again: holds end, promised moments
are recalled, the sweep is told. The claim then decides anew, so nothing goes out over a limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from outreach.clock import transaction_now
from outreach.core.address import normalize_address, normalize_domain
from outreach.core.errors import Invalid, NotFound, Problem
from outreach.core.limits import (
    DAY,
    DEFAULTS,
    Counter,
    Override,
    Scope,
    dies_at,
    effective,
    in_force,
    is_warming,
)
from outreach.core.states import Reputation
from outreach.core.warmup import Warmth, day_number
from outreach.db import Database, Role, lock_tenant, set_actor
from outreach.services import audit
from outreach.services.control import every_tenant
from outreach.sql import Tx
from outreach.store import counters as counter_store
from outreach.store import limits as store
from outreach.store import pools as pool_store
from outreach.store import senders as sender_store
from outreach.store.limits import Brake, LimitRow
from outreach.store.pools import PoolStart
from outreach.store.wakeups import wake

ROWS_MAX = 10_000
VALUE_MAX = 2_147_483_647
EVERY = ""  # the key of every sender, or every domain


@dataclass(frozen=True, slots=True)
class Usage:
    """How full one window of one key is; no limit: it was lifted. A window of 0 is one moment."""

    scope: Scope
    key: str  # a sender's address, a pool, a domain, or nothing
    window_seconds: int
    limit: int | None  # as it is in force now: within a warm-up, halved by a reputation
    used: int
    resets_at: datetime | None  # when the last of the tokens used stops counting
    frees_at: datetime | None = None  # of one that is full: when the next mail may leave
    warm_up_day: int | None = None  # where a warm-up sets the limit
    reputation: Reputation | None = None  # of a sender


def check(given: Override, scope: Scope) -> None:
    """Raise Invalid with every value that cannot be a limit of the scope, or when none is given."""
    values = {
        "$.per_minute": given.per_minute,
        "$.per_hour": given.per_hour,
        "$.per_day": given.per_day,
        "$.max_concurrent": given.concurrent,
        "$.warm_up": given.warm_up,
    }
    problems = [
        Problem(path, f"{value} is not from {least} to {VALUE_MAX}.")
        for path, value in values.items()
        for least in [1 if path == "$.max_concurrent" else 0]
        if value is not None and not least <= value <= VALUE_MAX
    ]
    percents = {
        "$.bounce_percent": given.bounce_percent,
        "$.complaint_percent": given.complaint_percent,
    }
    problems += [
        Problem(path, f"{percent} is not from 0 to 100.")
        for path, percent in percents.items()
        if percent is not None and not 0 <= percent <= 100
    ]
    problems += _misplaced(given, scope)
    every = [*values.values(), *percents.values()]
    if not given.is_off and all(value is None for value in every):
        problems.append(Problem("$", "Give at least one limit, or off."))
    if problems:
        raise Invalid(problems)


def _misplaced(given: Override, scope: Scope) -> list[Problem]:
    """What was given for a scope that has no such thing."""
    problems = []
    if given.warm_up is not None and scope not in (Scope.SENDER, Scope.POOL):
        problems.append(Problem("$.warm_up", "Senders and pools warm up, and nothing else."))
    if given.concurrent is not None and scope in (Scope.DOMAIN, Scope.POOL):
        problems.append(Problem("$.max_concurrent", f"is not kept for a {scope.value}."))
    for path, percent in (
        ("$.bounce_percent", given.bounce_percent),
        ("$.complaint_percent", given.complaint_percent),
    ):
        if percent is not None and scope is not Scope.SENDER:
            problems.append(Problem(path, "Senders have a reputation, and nothing else."))
    return problems


async def set_for_tenant(
    db: Database, tenant_id: UUID, scope: Scope, given: Override, *, name: str = "", actor: str
) -> LimitRow:
    """Set limits of one scope; `name` is a sender's address, a pool or a domain; without it all.

    Values not given stay. Raises Invalid, NotFound for an unknown sender or pool.
    """
    assert scope is not Scope.INSTALLATION, "that one belongs to no tenant"
    check(given, scope)
    async with db.transaction(Role.APP, tenant_id) as tx:
        key, shown = await find_key(tx, tenant_id, scope, name)
        await lock_tenant(tx, tenant_id)
        row = await store.set_limit(tx, tenant_id, scope.value, key, given)
        return await note_change(tx, tenant_id, "limits_set", replace(row, key=shown), actor=actor)


async def note_change(tx: Tx, tenant_id: UUID, act: str, row: LimitRow, *, actor: str) -> LimitRow:
    """Audit a rule that was changed, by its key as people know it, and have all looked at again."""
    subject = f"{row.scope} {row.key}".strip()
    await audit.record(tx, tenant_id, actor=actor, act=act, subject=subject, limits=as_audited(row))
    await look_again(tx, tenant_id)
    return row


async def set_for_installation(db: Database, given: Override, *, actor: str) -> LimitRow:
    """Set what all tenants share, and have every tenant looked at again."""
    check(given, Scope.INSTALLATION)
    async with db.transaction(Role.OPERATOR) as tx:
        row = await store.set_installation_limit(tx, given)
        await audit.record(
            tx, None, actor=actor, act="limits_set", subject="installation", limits=as_audited(row)
        )
    await look_again_everywhere(db)
    return row


async def show(db: Database, tenant_id: UUID) -> list[Usage]:
    """Each window that counts for the tenant's mail: its senders, itself, domains in use, all."""
    async with db.transaction(Role.APP, tenant_id) as tx:
        now = await transaction_now(tx)
        rows = await store.list_limits(tx, tenant_id, rows_max=ROWS_MAX)
        senders = await store.list_brakes(tx, tenant_id, rows_max=ROWS_MAX)
        pools = await pool_store.list_pools(tx, tenant_id, rows_max=ROWS_MAX)
        counters = await store.list_counters_in_use(tx, tenant_id, rows_max=ROWS_MAX)
        shared = await store.get_installation_limit(tx)
        shared_counters = await counter_store.list_installation_counters(tx)
        await set_actor(tx, Role.WORKER, tenant_id)
        running = await store.list_running(tx, tenant_id)
    taken = {
        (c.scope, c.key, c.window_seconds): Counter.of(c.bucket_at, c.bucket_used) for c in counters
    } | {
        (Scope.INSTALLATION.value, "", c.window_seconds): Counter.of(c.bucket_at, c.bucket_used)
        for c in shared_counters
    }
    given = {(row.scope, row.key): row.override() for row in [*rows, shared]}
    requests = {row.sender_id: row.requests for row in running}
    return [
        usage
        for key in _keys(senders, pools, taken, given, requests)
        for usage in _usages(key, given, taken, now)
    ]


Taken = Mapping[tuple[str, str, int], Counter]
Given = Mapping[tuple[str, str], Override]


@dataclass(frozen=True, slots=True)
class _Key:
    """What has limits: as it is stored, as it is shown, and what else bounds it."""

    scope: Scope
    key: str
    shown: str
    warmth: Warmth = field(default_factory=lambda: Warmth(None))
    reputation: Reputation | None = None
    requests: int = 0  # on their way


def _keys(
    senders: Sequence[Brake],
    pools: Sequence[PoolStart],
    taken: Taken,
    given: Given,
    requests: Mapping[UUID | None, int],
) -> Iterator[_Key]:
    """Every key that exists."""
    for one in senders:
        regard, running = Reputation(one.reputation), requests.get(one.id, 0)
        yield _Key(Scope.SENDER, str(one.id), one.from_email, one.warmth(), regard, running)
    for pool in pools:
        yield _Key(Scope.POOL, pool.name, pool.name, Warmth(pool.first_sent_at))
    tenants = sum(count for sender_id, count in requests.items() if sender_id is not None)
    yield _Key(Scope.TENANT, "", "", requests=tenants)
    used = {key for scope, key, _ in taken if scope == Scope.DOMAIN}
    named = {key for scope, key in given if scope == Scope.DOMAIN and key != EVERY}
    for domain in sorted(used | named):
        yield _Key(Scope.DOMAIN, domain, domain)
    yield _Key(Scope.INSTALLATION, "", "", requests=requests.get(None, 0))


def _usages(of: _Key, given: Given, taken: Taken, now: datetime) -> Iterator[Usage]:
    """The windows of one key that are capped, and those of the default that were lifted."""
    scope, seconds = of.scope, of.warmth.seconds(now)
    rule = effective(scope, given.get((scope.value, of.key)), given.get((scope.value, EVERY)))
    limits = in_force(rule, seconds, of.reputation or Reputation.GOOD)
    caps: dict[int, int | None] = {window: None for window, _ in DEFAULTS[scope].windows()}
    caps |= dict(limits.windows())
    for window, cap in sorted(caps.items()):
        counter = taken.get((scope.value, of.key, window), Counter())
        used = counter.live(now, window)
        is_full = cap is not None and used >= cap
        is_ramp = window == DAY and is_warming(rule, seconds)
        yield Usage(
            scope,
            of.shown,
            window,
            cap,
            used,
            dies_at(counter.bucket_at[-1], window) if used else None,
            counter.free_at(cap, now, window) if cap and is_full else None,
            day_number(seconds) if is_ramp else None,
            of.reputation,
        )
    if rule.concurrent is not None:
        yield Usage(
            scope, of.shown, 0, rule.concurrent, of.requests, None, reputation=of.reputation
        )


async def find_key(tx: Tx, tenant_id: UUID, scope: Scope, name: str) -> tuple[str, str]:
    """The stored key and the shown one; raises Invalid, NotFound."""
    if not name or scope is Scope.TENANT:
        return EVERY, ""
    if scope is Scope.DOMAIN:
        domain = normalize_domain(name.removeprefix("@"))
        if domain is None:
            raise Invalid.at("$.domain", f"{name!r} is not a domain.")
        return domain, domain
    if scope is Scope.POOL:
        if name not in {
            pool.name for pool in await pool_store.list_pools(tx, tenant_id, rows_max=ROWS_MAX)
        }:
            raise NotFound("pool", name)
        return name, name
    sender = await sender_store.find_sender(tx, tenant_id, normalize_address(name) or name)
    if sender is None:
        raise NotFound("sender", name)
    return str(sender.id), sender.from_email


async def look_again(tx: Tx, tenant_id: UUID) -> None:
    """Undo what the limits of before had decided. The tenant's lock is held."""
    await store.recall_promised_actions(tx, tenant_id)
    await store.end_limit_holds_of_tenant(tx, tenant_id)
    await store.unpark_tenant(tx, tenant_id)
    await set_actor(tx, Role.WORKER, tenant_id)  # people do not write counters
    await store.forget_promises(tx, tenant_id)
    await set_actor(tx, Role.APP, tenant_id)
    await wake(tx, "send_due", tenant_id=tenant_id)


async def look_again_everywhere(db: Database) -> None:
    """As look_again, for one tenant after the other."""
    async for tenant in every_tenant(db):
        async with db.transaction(Role.APP, tenant.id) as tx:
            await lock_tenant(tx, tenant.id)
            await look_again(tx, tenant.id)


def as_audited(row: LimitRow) -> dict[str, object]:
    values = {
        "per_minute": row.per_minute_max,
        "per_hour": row.per_hour_max,
        "per_day": row.per_day_max,
        "max_concurrent": row.concurrent_max,
        "off": row.is_off,
    }
    more = {
        "warm_up": row.warmup_max,
        "bounce_percent": row.bounce_percent_max,
        "complaint_percent": row.complaint_percent_max,
    }
    return values | {name: value for name, value in more.items() if value is not None}
