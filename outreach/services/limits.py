"""Limits as people set and see them; what they mean is `core.limits`.

After a change everything that limits had put off is looked at again: holds end, promised moments
are recalled, the sweep is told. The claim then decides anew, so nothing goes out over a limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from outreach.core.address import normalize_address, normalize_domain
from outreach.core.errors import Invalid, NotFound, Problem
from outreach.core.limits import (
    DEFAULTS,
    Counter,
    Override,
    Scope,
    dies_at,
    effective,
)
from outreach.db import Database, Role, lock_tenant, set_actor
from outreach.services import audit
from outreach.services.control import every_tenant
from outreach.sql import Tx
from outreach.store import counters as counter_store
from outreach.store import limits as store
from outreach.store import senders as sender_store
from outreach.store.limits import LimitRow
from outreach.store.senders import Sender
from outreach.store.wakeups import wake

ROWS_MAX = 10_000
VALUE_MAX = 2_147_483_647
EVERY = ""  # the key of every sender, or every domain


@dataclass(frozen=True, slots=True)
class Usage:
    """How full one window of one key is; no limit: it was lifted."""

    scope: Scope
    key: str  # a sender's address, a domain, or nothing
    window_seconds: int
    limit: int | None
    used: int
    resets_at: datetime | None  # when the last of the tokens used stops counting


def check(given: Override) -> None:
    """Raise Invalid with every value that cannot be a limit, or when none is given."""
    values = {
        "$.per_minute": given.per_minute,
        "$.per_hour": given.per_hour,
        "$.per_day": given.per_day,
        "$.max_concurrent": given.concurrent,
    }
    problems = [
        Problem(path, f"{value} is not from {least} to {VALUE_MAX}.")
        for path, value in values.items()
        for least in [1 if path == "$.max_concurrent" else 0]
        if value is not None and not least <= value <= VALUE_MAX
    ]
    if not given.is_off and all(value is None for value in values.values()):
        problems.append(Problem("$", "Give at least one limit, or off."))
    if problems:
        raise Invalid(problems)


async def set_for_tenant(
    db: Database, tenant_id: UUID, scope: Scope, given: Override, *, name: str = "", actor: str
) -> LimitRow:
    """Set limits of one scope; `name` is a sender's address or a domain, without it all of them.

    Values not given stay. Raises Invalid, NotFound for an unknown sender.
    """
    assert scope is not Scope.INSTALLATION, "that one belongs to no tenant"
    check(given)
    async with db.transaction(Role.APP, tenant_id) as tx:
        key, shown = await _key(tx, tenant_id, scope, name)
        await lock_tenant(tx, tenant_id)
        row = await store.set_limit(tx, tenant_id, scope.value, key, given)
        await audit.record(
            tx,
            tenant_id,
            actor=actor,
            act="limits_set",
            subject=f"{scope.value} {shown}".strip(),
            limits=_values(row),
        )
        await _look_again(tx, tenant_id)
        return LimitRow(row.scope, shown, *_numbers(row))


async def set_for_installation(db: Database, given: Override, *, actor: str) -> LimitRow:
    """Set what all tenants share, and have every tenant looked at again."""
    check(given)
    async with db.transaction(Role.OPERATOR) as tx:
        row = await store.set_installation_limit(tx, given)
        await audit.record(
            tx, None, actor=actor, act="limits_set", subject="installation", limits=_values(row)
        )
    async for tenant in every_tenant(db):
        async with db.transaction(Role.APP, tenant.id) as tx:
            await lock_tenant(tx, tenant.id)
            await _look_again(tx, tenant.id)
    return row


async def show(db: Database, tenant_id: UUID) -> list[Usage]:
    """Each window that counts for the tenant's mail: its senders, itself, domains in use, all."""
    async with db.transaction(Role.APP, tenant_id) as tx:
        now = await store.get_now(tx)
        rows = await store.list_limits(tx, tenant_id, rows_max=ROWS_MAX)
        senders = await sender_store.list_senders(tx, tenant_id, rows_max=ROWS_MAX)
        counters = await store.list_counters_in_use(tx, tenant_id, rows_max=ROWS_MAX)
        shared = await store.get_installation_limit(tx)
        shared_counters = await counter_store.list_installation_counters(tx)
    taken = {
        (c.scope, c.key, c.window_seconds): Counter.of(c.bucket_at, c.bucket_used) for c in counters
    } | {
        (Scope.INSTALLATION.value, "", c.window_seconds): Counter.of(c.bucket_at, c.bucket_used)
        for c in shared_counters
    }
    given = {(row.scope, row.key): row.override() for row in [*rows, shared]}
    return [
        usage
        for scope, key, shown in _keys(senders, taken, given)
        for usage in _usages(scope, key, shown, given, taken, now)
    ]


Taken = Mapping[tuple[str, str, int], Counter]
Given = Mapping[tuple[str, str], Override]


def _keys(
    senders: Sequence[Sender], taken: Taken, given: Given
) -> Iterator[tuple[Scope, str, str]]:
    """Every key that exists: its scope, as it is stored, as it is shown."""
    for sender in senders:
        yield Scope.SENDER, str(sender.id), sender.from_email
    yield Scope.TENANT, "", ""
    used = {key for scope, key, _ in taken if scope == Scope.DOMAIN}
    named = {key for scope, key in given if scope == Scope.DOMAIN and key != EVERY}
    for domain in sorted(used | named):
        yield Scope.DOMAIN, domain, domain
    yield Scope.INSTALLATION, "", ""


def _usages(
    scope: Scope, key: str, shown: str, given: Given, taken: Taken, now: datetime
) -> Iterator[Usage]:
    """The windows of one key that are capped, and those of the default that were lifted."""
    limits = effective(scope, given.get((scope.value, key)), given.get((scope.value, EVERY)))
    caps: dict[int, int | None] = {window: None for window, _ in DEFAULTS[scope].windows()}
    caps |= dict(limits.windows())
    for window, cap in sorted(caps.items()):
        counter = taken.get((scope.value, key, window), Counter())
        used = counter.live(now, window)
        resets_at = dies_at(counter.bucket_at[-1], window) if used else None
        yield Usage(scope, shown, window, cap, used, resets_at)


async def _key(tx: Tx, tenant_id: UUID, scope: Scope, name: str) -> tuple[str, str]:
    """The stored key and the shown one."""
    if not name or scope is Scope.TENANT:
        return EVERY, ""
    if scope is Scope.DOMAIN:
        domain = normalize_domain(name.removeprefix("@"))
        if domain is None:
            raise Invalid.at("$.domain", f"{name!r} is not a domain.")
        return domain, domain
    sender = await sender_store.find_sender(tx, tenant_id, normalize_address(name) or name)
    if sender is None:
        raise NotFound("sender", name)
    return str(sender.id), sender.from_email


async def _look_again(tx: Tx, tenant_id: UUID) -> None:
    """Undo what the limits of before had decided. The tenant's lock is held."""
    await store.recall_promised_actions(tx, tenant_id)
    await store.end_limit_holds_of_tenant(tx, tenant_id)
    await store.unpark_tenant(tx, tenant_id)
    await set_actor(tx, Role.WORKER, tenant_id)  # people do not write counters
    await store.forget_promises(tx, tenant_id)
    await set_actor(tx, Role.APP, tenant_id)
    await wake(tx, "send_due", tenant_id=tenant_id)


def _numbers(row: LimitRow) -> tuple[int | None, int | None, int | None, int | None, bool]:
    return (
        row.per_minute_max,
        row.per_hour_max,
        row.per_day_max,
        row.concurrent_max,
        row.is_off,
    )


def _values(row: LimitRow) -> dict[str, object]:
    names = ("per_minute", "per_hour", "per_day", "max_concurrent", "off")
    return dict(zip(names, _numbers(row), strict=True))
