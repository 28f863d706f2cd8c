"""`outreach enrollments`: one contact's way through campaigns, looked at, held or ended."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import typer

from outreach.cli.shell import (
    JsonFlag,
    Table,
    TenantOption,
    actor,
    cell,
    emit,
    printable,
    run,
    tenant_id_of,
)
from outreach.cli.webhooks import moment
from outreach.db import Database
from outreach.services import enrollment_control
from outreach.services.hindsight import View, view
from outreach.store.enrollment_control import ContactEnrollment

app = typer.Typer(no_args_is_help=True, help="One contact's campaigns: show, pause, resume, stop.")

ContactOption = Annotated[str, typer.Option("--contact", help="The contact's address.")]
CampaignOption = Annotated[
    str | None, typer.Option("--campaign", help="In this campaign only: its name or id.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; everybody sees it.")]

Act = Callable[..., Coroutine[Any, Any, list[ContactEnrollment]]]


@app.command("show")
def show_command(
    tenant: TenantOption,
    contact: ContactOption,
    campaign: CampaignOption = None,
    at: Annotated[
        str | None, typer.Option("--at", help="As it was then, e.g. 2026-03-01T00:00:00Z.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell where the contact stands, or stood at a moment, why, and what is to come."""

    async def work(db: Database) -> list[View]:
        then = None if at is None else moment(at, "--at")
        tenant_id = await tenant_id_of(db, tenant)
        return await view(db, tenant_id, contact, campaign=campaign, at=then)

    found = run(work)
    emit(as_json, {"data": [_data(one) for one in found]}, lambda: "\n\n".join(map(_told, found)))


def _data(one: View) -> dict[str, Any]:
    why = one.because
    because = why and {
        "at": why.at,
        "code": why.code,
        "summary": why.summary,
        "detail": why.detail,
        "event_id": one.event_id,
    }
    return {
        "id": one.id,
        "campaign": one.campaign,
        "at": one.at,
        "state": one.state,
        "node": one.node_id,
        "visit": one.visit,
        "end_reason": one.end_reason,
        "because": because,
        "held_by": one.held_by,
        "pending": [
            {
                "kind": action.kind,
                "node": action.node_id,
                "visit": action.visit,
                "trigger": action.trigger,
                "due_at": action.due_at,
            }
            for action in one.pending
        ],
        "mails": [
            {
                "message_id": mail.message_id,
                "node": mail.node_id,
                "visit": mail.visit,
                "attempt": mail.attempt,
                "outcome": mail.outcome,
                "delivery": mail.delivery,
            }
            for mail in one.mails
        ],
    }


def _told(one: View) -> str:
    where = "" if one.node_id is None else f" at {one.node_id}, visit {one.visit}"
    end = f" ({one.end_reason})" if one.end_reason else ""
    lines = [f"{one.campaign}, {cell(one.at)}: {one.state}{end}{where}"]
    if one.because is not None:
        lines.append(f"  {cell(one.because.at)}  {one.because.summary}")
    lines += [f"  held: {reason}" for reason in one.held_by]
    for action in one.pending:
        what = f"timer {action.trigger}" if action.trigger else "mail"
        lines.append(f"  to come {cell(action.due_at)}: {what} of {action.node_id}")
    lines += [
        f"  mail of {mail.node_id}: attempt {mail.attempt} {mail.outcome}, {mail.delivery}"
        for mail in one.mails
    ]
    return printable("\n".join(lines), keep="\n")


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
