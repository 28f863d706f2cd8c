"""`outreach keys`: keys of the HTTP API."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from outreach.cli.shell import JsonFlag, Table, actor, emit, failures_as_exits, run, tenant_id_of
from outreach.core.errors import Invalid
from outreach.db import Database
from outreach.services import keys
from outreach.services.keys import NewKey
from outreach.store.keys import Key

app = typer.Typer(no_args_is_help=True, help="Keys of the HTTP API: create, list, revoke.")

TenantChoice = Annotated[str | None, typer.Option("--tenant", help="The tenant's slug.")]
OperatorFlag = Annotated[bool, typer.Option("--operator", help="For every tenant.")]


@app.command("create")
def create_command(
    tenant: TenantChoice = None,
    operator: OperatorFlag = False,
    scopes: Annotated[str, typer.Option("--scopes", help="Of read, write, admin.")] = "read",
    as_json: JsonFlag = False,
) -> None:
    """Make a key and show it, this once."""
    _one_of(tenant, operator)

    async def work(db: Database) -> NewKey:
        if tenant is None:
            return await keys.create_for_operator(db, actor=actor())
        wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
        tenant_id = await tenant_id_of(db, tenant)
        return await keys.create_for_tenant(db, tenant_id, wanted, actor=actor())

    new = run(work)
    data = {"id": new.id, "key": new.key, "scopes": new.scopes}
    emit(as_json, data, f"{new.key}\nKeep it now: it is not stored and not shown again.")


@app.command("list")
def list_command(
    tenant: TenantChoice = None, operator: OperatorFlag = False, as_json: JsonFlag = False
) -> None:
    """List keys, newest first, without their secrets."""
    _one_of(tenant, operator)

    async def work(db: Database) -> list[Key]:
        tenant_id = None if tenant is None else await tenant_id_of(db, tenant)
        return await keys.list_page(db, tenant_id)

    found = run(work)
    rows = [(k.id, ",".join(k.scopes), k.created_at, k.expires_at, k.revoked_at) for k in found]
    table = Table(("id", "scopes", "created", "expires", "revoked"), rows)
    emit(as_json, {"data": found}, table)


@app.command("revoke")
def revoke_command(
    key_id: Annotated[UUID, typer.Argument(metavar="ID", help="The key's id.")],
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for the record.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a key open nothing any more."""
    key = run(lambda db: keys.revoke(db, key_id, actor=actor(), reason=reason))
    emit(as_json, key, f"{key.id} is revoked.")


def _one_of(tenant: str | None, operator: bool) -> None:
    if (tenant is None) is not operator:
        with failures_as_exits():
            raise Invalid.at("--tenant", "Give either --tenant or --operator.")
