"""`outreach limits`: how fast mail may go, and how much of that is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from outreach.cli.shell import JsonFlag, Table, TenantOption, actor, emit, run, tenant_id_of
from outreach.core.errors import Invalid
from outreach.core.limits import DAY, HOUR, MINUTE, Override, Scope
from outreach.core.states import Reputation
from outreach.db import Database
from outreach.services import limits, pools, reputation, unset_limits
from outreach.services.limits import Usage
from outreach.store.limits import LimitRow

app = typer.Typer(no_args_is_help=True, help="Limits: show what is used, set what is allowed.")

SenderOption = Annotated[str, typer.Option("--sender", help="One sender's address.")]

WINDOWS = {0: "moment", MINUTE: "minute", HOUR: "hour", DAY: "day"}


@app.command("show")
def show_command(tenant: TenantOption, as_json: JsonFlag = False) -> None:
    """Show every window that counts for a tenant's mail."""

    async def work(db: Database) -> list[Usage]:
        return await limits.show(db, await tenant_id_of(db, tenant))

    usages = run(work)
    rows = [
        (
            u.scope.value,
            u.key,
            WINDOWS[u.window_seconds],
            _cap(u.limit),
            u.used,
            u.frees_at,
            _why(u),
        )
        for u in usages
    ]
    table = Table(("scope", "key", "a", "limit", "used", "frees", "because of"), rows)
    emit(as_json, {"data": usages}, table)


@app.command("set")
def set_command(
    tenant: Annotated[str | None, typer.Option("--tenant", help="The tenant's slug.")] = None,
    scope: Annotated[Scope | None, typer.Option("--scope", help="What the limit is for.")] = None,
    sender: Annotated[str | None, typer.Option("--sender", help="One sender's address.")] = None,
    pool: Annotated[str | None, typer.Option("--pool", help="One IP pool.")] = None,
    domain: Annotated[str | None, typer.Option("--domain", help="One recipient domain.")] = None,
    per_minute: Annotated[int | None, typer.Option("--per-minute")] = None,
    per_hour: Annotated[int | None, typer.Option("--per-hour")] = None,
    per_day: Annotated[int | None, typer.Option("--per-day")] = None,
    max_concurrent: Annotated[
        int | None, typer.Option("--max-concurrent", help="Requests in flight at once.")
    ] = None,
    warm_up: Annotated[
        int | None, typer.Option("--warm-up", help="A day of the first three; then doubling.")
    ] = None,
    bounce_percent: Annotated[
        float | None, typer.Option("--bounce-percent", help="Of bounces, that slows a sender.")
    ] = None,
    complaint_percent: Annotated[
        float | None, typer.Option("--complaint-percent", help="Of complaints, that slows one.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Lift every window of the scope.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Set limits; those not given stay. Without a sender or domain, for all of the scope."""
    given = Override(
        per_minute,
        per_hour,
        per_day,
        max_concurrent,
        off,
        warm_up,
        bounce_percent,
        complaint_percent,
    )

    async def work(db: Database) -> LimitRow:
        names = {Scope.SENDER: sender, Scope.POOL: pool, Scope.DOMAIN: domain}
        wanted, name = _target(scope, names, has_tenant=tenant is not None)
        if tenant is None:
            return await limits.set_for_installation(db, given, actor=actor())
        tenant_id = await tenant_id_of(db, tenant)
        return await limits.set_for_tenant(db, tenant_id, wanted, given, name=name, actor=actor())

    row = run(work)
    windows = ("a minute", "an hour", "a day", "at once", "off", "warm-up")
    columns = ("scope", "key", *windows, "bounces %", "complaints %")
    values = (row.per_minute_max, row.per_hour_max, row.per_day_max, row.concurrent_max)
    percents = (row.bounce_percent_max, row.complaint_percent_max)
    table = Table(columns, [(row.scope, row.key, *values, row.is_off, row.warmup_max, *percents)])
    emit(as_json, {"data": [_data(row)]}, table)


@app.command("unset")
def unset_command(
    tenant: Annotated[str | None, typer.Option("--tenant", help="The tenant's slug.")] = None,
    scope: Annotated[Scope | None, typer.Option("--scope", help="What the limit is for.")] = None,
    sender: Annotated[str | None, typer.Option("--sender", help="One sender's address.")] = None,
    pool: Annotated[str | None, typer.Option("--pool", help="One IP pool.")] = None,
    domain: Annotated[str | None, typer.Option("--domain", help="One recipient domain.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Take back what `set` has set: the wider rule, or the default, holds again."""

    async def work(db: Database) -> LimitRow | None:
        names = {Scope.SENDER: sender, Scope.POOL: pool, Scope.DOMAIN: domain}
        wanted, name = _target(scope, names, has_tenant=tenant is not None)
        if tenant is None:
            return await unset_limits.unset_for_installation(db, actor=actor())
        tenant_id = await tenant_id_of(db, tenant)
        return await unset_limits.unset_for_tenant(db, tenant_id, wanted, name=name, actor=actor())

    row = run(work)
    sentence = "Nothing was set, and nothing changed."
    if row is not None:
        sentence = f"What was set for {row.scope} {row.key}".rstrip() + " is taken back."
    emit(as_json, {"was": None if row is None else _data(row)}, sentence)


@app.command("pool")
def pool_command(
    tenant: TenantOption,
    sender: SenderOption,
    pool: Annotated[str | None, typer.Option("--pool", help="The provider's name of it.")] = None,
    none: Annotated[bool, typer.Option("--none", help="By no pool.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Have a sender send by an IP pool, which warms up and is limited as one."""

    async def work(db: Database) -> str | None:
        if none is (pool is not None):
            raise Invalid.at("--pool", "Give --pool or --none, and not both.")
        tenant_id = await tenant_id_of(db, tenant)
        return await pools.assign(db, tenant_id, sender, pool, actor=actor())

    found = run(work)
    emit(as_json, {"sender": sender, "pool": found}, Table(("sender", "pool"), [(sender, found)]))


@app.command("forgive")
def forgive_command(
    tenant: TenantOption,
    sender: SenderOption,
    reason: Annotated[str | None, typer.Option("--reason", help="For the record.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Count a sender's bounces and complaints from now on; it sends at full speed again."""

    async def work(db: Database) -> Reputation:
        tenant_id = await tenant_id_of(db, tenant)
        return await reputation.forgive(db, tenant_id, sender, actor=actor(), reason=reason)

    found = run(work)
    data = {"sender": sender, "reputation": found}
    emit(as_json, data, Table(("sender", "reputation"), [(sender, found)]))


def _target(
    scope: Scope | None, names: Mapping[Scope, str | None], *, has_tenant: bool
) -> tuple[Scope, str]:
    """The scope that the options mean, and the name in it; raises Invalid when they disagree."""
    named = {one: name for one, name in names.items() if name is not None}
    if len(named) > 1:
        first, second = (one.value for one in list(named)[:2])
        raise Invalid.at(f"--{second}", f"Give --{first} or --{second}, not both.")
    meant, name = next(iter(named.items()), (None, ""))
    wanted = scope or meant or Scope.TENANT
    if meant is not None and wanted is not meant:
        raise Invalid.at("--scope", f"is {wanted.value}, but a {meant.value} is named.")
    if (wanted is Scope.INSTALLATION) is has_tenant:
        sentence = "is for every scope but installation, which belongs to no tenant."
        raise Invalid.at("--tenant", sentence)
    return wanted, name


def _cap(limit: int | None) -> object:
    return "off" if limit is None else limit


def _why(usage: Usage) -> str:
    """What makes a limit smaller than it was set."""
    reasons = []
    if usage.warm_up_day is not None:
        reasons.append(f"day {usage.warm_up_day} of its warm-up")
    if usage.reputation not in (None, Reputation.GOOD):
        reasons.append(f"{usage.reputation} by bounces or complaints")
    return ", ".join(reasons)


def _data(row: LimitRow) -> dict[str, object]:
    return {
        "scope": row.scope,
        "key": row.key,
        "per_minute": row.per_minute_max,
        "per_hour": row.per_hour_max,
        "per_day": row.per_day_max,
        "max_concurrent": row.concurrent_max,
        "off": row.is_off,
        "warm_up": row.warmup_max,
        "bounce_percent": row.bounce_percent_max,
        "complaint_percent": row.complaint_percent_max,
    }
