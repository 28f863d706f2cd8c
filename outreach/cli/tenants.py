"""`outreach tenants`: who shares the installation."""

from __future__ import annotations

from typing import Annotated

import typer

from outreach.cli.shell import JsonFlag, Table, actor, emit, run
from outreach.services import control, tenants
from outreach.services.tenants import NewTenant
from outreach.store.tenants import Tenant

app = typer.Typer(no_args_is_help=True, help="Tenants: create, update, list, pause, resume.")

WeightOption = Annotated[
    int | None,
    typer.Option("--weight", help="Its share of workers beside the others', 1 to 100."),
]
OwnQueueOption = Annotated[
    bool | None,
    typer.Option(
        "--own-queue/--no-own-queue",
        help="Its sends wait for workers of its own: outreach worker --queues sends.SLUG",
    ),
]
SlugArgument = Annotated[str, typer.Argument(metavar="SLUG", help="The tenant's short name.")]


@app.command("create")
def create_command(
    slug: Annotated[str, typer.Option("--slug", help="Short name: a-z, 0-9, inner hyphens.")],
    name: Annotated[str, typer.Option("--name", help="What people call it.")],
    timezone: Annotated[str, typer.Option("--timezone", help="An IANA zone.")] = "UTC",
    postal_address: Annotated[
        str | None,
        typer.Option("--postal-address", help="In the footer of every mail; a launch needs it."),
    ] = None,
    weight: WeightOption = None,
    own_queue: OwnQueueOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a tenant, or fill in its postal address.

    One that has the slug already is left as it is, but gets the postal address that it lacks.
    """
    share = 1 if weight is None else weight
    new = NewTenant(slug, name, timezone, postal_address, share, bool(own_queue))
    tenant = run(lambda db: tenants.create(db, new, actor=actor()))
    emit(as_json, _data(tenant), f"{tenant.slug} is {tenant.state}: {tenant.id}")


@app.command("update")
def update_command(
    slug: SlugArgument,
    weight: WeightOption = None,
    own_queue: OwnQueueOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Set how a tenant shares the workers: its weight, and whether it has a queue of its own."""
    tenant = run(
        lambda db: tenants.share(db, slug, actor=actor(), weight=weight, has_own_queue=own_queue)
    )
    queue = f"sends.{slug}" if tenant.has_own_queue else "sends"
    emit(as_json, _data(tenant), f"{tenant.slug}: weight {tenant.weight}, queue {queue}")


@app.command("list")
def list_command(
    after: Annotated[str, typer.Option("--after", help="Begin after this slug.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most.")] = 1_000,
    as_json: JsonFlag = False,
) -> None:
    """List tenants by slug."""
    found = run(lambda db: tenants.list_page(db, after=after, rows_max=limit))
    rows = [(t.slug, t.name, t.state, t.timezone, t.pause_reason) for t in found]
    table = Table(("slug", "name", "state", "timezone", "why"), rows)
    emit(as_json, {"data": [_data(tenant) for tenant in found]}, table)


@app.command("pause")
def pause_command(
    slug: SlugArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; everybody sees it.")],
    as_json: JsonFlag = False,
) -> None:
    """Stop a tenant's sending; when it returns, nothing more of it goes out."""
    tenant = run(lambda db: control.pause_tenant(db, slug, reason=reason, actor=actor()))
    emit(as_json, _data(tenant), f"{tenant.slug} is {tenant.state}: {tenant.pause_reason}")


@app.command("resume")
def resume_command(
    slug: SlugArgument,
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for the record.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """End a tenant's pause; what waited goes out as its limits allow."""
    tenant = run(lambda db: control.resume_tenant(db, slug, reason=reason, actor=actor()))
    emit(as_json, _data(tenant), f"{tenant.slug} is {tenant.state}.")


def _data(tenant: Tenant) -> dict[str, object]:
    return {
        "id": tenant.id,
        "slug": tenant.slug,
        "state": tenant.state,
        "name": tenant.name,
        "timezone": tenant.timezone,
        "postal_address": tenant.postal_address,
        "pause_reason": tenant.pause_reason,
        "weight": tenant.weight,
        "has_own_queue": tenant.has_own_queue,
    }
