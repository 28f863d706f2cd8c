"""`outreach enrollments`: one contact's way through campaigns, held or ended by a person."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import typer

from outreach.cli.shell import JsonFlag, Table, TenantOption, actor, emit, run, tenant_id_of
from outreach.db import Database
from outreach.services import enrollment_control
from outreach.store.enrollment_control import ContactEnrollment

app = typer.Typer(no_args_is_help=True, help="One contact's campaigns: pause, resume, stop.")

ContactOption = Annotated[str, typer.Option("--contact", help="The contact's address.")]
CampaignOption = Annotated[
    str | None, typer.Option("--campaign", help="In this campaign only: its name or id.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; everybody sees it.")]

Act = Callable[..., Coroutine[Any, Any, list[ContactEnrollment]]]


@app.command("pause")
def pause_command(
    tenant: TenantOption,
    contact: ContactOption,
    reason: ReasonOption,
    campaign: CampaignOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Send the contact nothing more until resumed; what it does meanwhile still counts."""
    _act(enrollment_control.pause, tenant, contact, campaign, reason, as_json=as_json)


@app.command("resume")
def resume_command(
    tenant: TenantOption,
    contact: ContactOption,
    campaign: CampaignOption = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for the record.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Let a paused contact go on; what waited is due at once."""
    _act(enrollment_control.resume, tenant, contact, campaign, reason, as_json=as_json)


@app.command("stop")
def stop_command(
    tenant: TenantOption,
    contact: ContactOption,
    reason: ReasonOption,
    campaign: CampaignOption = None,
    as_json: JsonFlag = False,
) -> None:
    """End the contact's campaigns for good; the address may still be enrolled in others."""
    _act(enrollment_control.stop, tenant, contact, campaign, reason, as_json=as_json)


def _act(
    act: Act, tenant: str, contact: str, campaign: str | None, reason: str | None, *, as_json: bool
) -> None:
    async def work(db: Database) -> list[ContactEnrollment]:
        tenant_id = await tenant_id_of(db, tenant)
        return await act(db, tenant_id, contact, campaign=campaign, reason=reason, actor=actor())

    found = run(work)
    data = [{"id": one.id, "campaign": one.campaign, "state": one.state} for one in found]
    table = Table(("campaign", "state"), [(one.campaign, one.state) for one in found])
    emit(as_json, {"data": data}, table)
