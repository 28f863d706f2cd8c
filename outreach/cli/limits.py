"""`outreach limits`: how fast mail may go, and how much of that is used."""

from __future__ import annotations

from typing import Annotated

import typer

from outreach.cli.shell import JsonFlag, Table, TenantOption, actor, emit, run, tenant_id_of
from outreach.core.errors import Invalid
from outreach.core.limits import DAY, HOUR, MINUTE, Override, Scope
from outreach.db import Database
from outreach.services import limits
from outreach.services.limits import Usage
from outreach.store.limits import LimitRow

app = typer.Typer(no_args_is_help=True, help="Limits: show what is used, set what is allowed.")

WINDOWS = {MINUTE: "minute", HOUR: "hour", DAY: "day"}


@app.command("show")
def show_command(tenant: TenantOption, as_json: JsonFlag = False) -> None:
    """Show every window that counts for a tenant's mail."""

    async def work(db: Database) -> list[Usage]:
        return await limits.show(db, await tenant_id_of(db, tenant))

    usages = run(work)
    rows = [
        (u.scope.value, u.key, WINDOWS[u.window_seconds], _cap(u.limit), u.used, u.resets_at)
        for u in usages
    ]
    table = Table(("scope", "key", "a", "limit", "used", "resets"), rows)
    emit(as_json, {"data": usages}, table)


@app.command("set")
def set_command(
    tenant: Annotated[str | None, typer.Option("--tenant", help="The tenant's slug.")] = None,
    scope: Annotated[Scope | None, typer.Option("--scope", help="What the limit is for.")] = None,
    sender: Annotated[str | None, typer.Option("--sender", help="One sender's address.")] = None,
    domain: Annotated[str | None, typer.Option("--domain", help="One recipient domain.")] = None,
    per_minute: Annotated[int | None, typer.Option("--per-minute")] = None,
    per_hour: Annotated[int | None, typer.Option("--per-hour")] = None,
    per_day: Annotated[int | None, typer.Option("--per-day")] = None,
    max_concurrent: Annotated[
        int | None, typer.Option("--max-concurrent", help="Requests in flight at once.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Lift every window of the scope.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Set limits; those not given stay. Without a sender or domain, for all of the scope."""
    given = Override(per_minute, per_hour, per_day, max_concurrent, off)

    async def work(db: Database) -> LimitRow:
        wanted, name = _target(scope, sender, domain, has_tenant=tenant is not None)
        if tenant is None:
            return await limits.set_for_installation(db, given, actor=actor())
        tenant_id = await tenant_id_of(db, tenant)
        return await limits.set_for_tenant(db, tenant_id, wanted, given, name=name, actor=actor())

    row = run(work)
    columns = ("scope", "key", "a minute", "an hour", "a day", "at once", "off")
    values = (row.per_minute_max, row.per_hour_max, row.per_day_max, row.concurrent_max)
    table = Table(columns, [(row.scope, row.key, *values, row.is_off)])
    emit(as_json, {"data": [_data(row)]}, table)


def _target(
    scope: Scope | None, sender: str | None, domain: str | None, *, has_tenant: bool
) -> tuple[Scope, str]:
    """The scope that the options mean, and the name in it; raises Invalid when they disagree."""
    if sender is not None and domain is not None:
        raise Invalid.at("--domain", "Give --sender or --domain, not both.")
    meant = Scope.SENDER if sender is not None else Scope.DOMAIN if domain is not None else None
    wanted = scope or meant or Scope.TENANT
    if meant is not None and wanted is not meant:
        raise Invalid.at("--scope", f"is {wanted.value}, but a {meant.value} is named.")
    if (wanted is Scope.INSTALLATION) is has_tenant:
        sentence = "is for every scope but installation, which belongs to no tenant."
        raise Invalid.at("--tenant", sentence)
    return wanted, sender or domain or ""


def _cap(limit: int | None) -> object:
    return "off" if limit is None else limit


def _data(row: LimitRow) -> dict[str, object]:
    return {
        "scope": row.scope,
        "key": row.key,
        "per_minute": row.per_minute_max,
        "per_hour": row.per_hour_max,
        "per_day": row.per_day_max,
        "max_concurrent": row.concurrent_max,
        "off": row.is_off,
    }
