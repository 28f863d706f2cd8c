"""`outreach senders`: who mail comes from."""

from __future__ import annotations

from typing import Annotated

import typer

from outreach import config
from outreach.cli.shell import (
    FAILED,
    JsonFlag,
    Table,
    TenantOption,
    actor,
    emit,
    fail,
    run,
    tenant_id_of,
)
from outreach.core.errors import Invalid
from outreach.core.states import SenderState
from outreach.db import Database
from outreach.services import senders
from outreach.services.senders import NewSender
from outreach.store.senders import Sender

app = typer.Typer(no_args_is_help=True, help="Sender identities: add, verify, pause.")

EmailOption = Annotated[str, typer.Option("--email", help="The address that mail comes from.")]


@app.command("add")
def add_command(
    tenant: TenantOption,
    email: EmailOption,
    name: Annotated[str, typer.Option("--name", help="The name that readers see.")],
    reply_to: Annotated[
        str | None, typer.Option("--reply-to", help="Where replies go; else to itself.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Add an identity; nothing is sent from it before it is verified."""

    async def work(db: Database) -> Sender:
        tenant_id = await tenant_id_of(db, tenant)
        return await senders.add(db, tenant_id, NewSender(email, name, reply_to), actor=actor())

    sender = run(work)
    emit(as_json, _data(sender), f"{sender.from_email} is {sender.state}.")


@app.command("verify")
def verify_command(
    tenant: TenantOption,
    email: EmailOption,
    force: Annotated[
        bool, typer.Option("--force", help="Vouch for it yourself; goes on record.")
    ] = False,
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for the record.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Ask the provider whether it sends from this address; 1 when it does not."""

    async def work(db: Database) -> Sender:
        tenant_id = await tenant_id_of(db, tenant)
        if force:
            return await senders.force_verified(db, tenant_id, email, actor=actor(), reason=reason)
        settings = config.load()
        if settings.sendgrid_api_key is None:
            raise Invalid.at("SENDGRID_API_KEY", "is not set, so the provider cannot be asked.")
        # Imported here: the package takes a while, and only this command asks.
        from outreach.providers.sendgrid_management import SendGridManagement

        key = settings.sendgrid_api_key.get_secret_value()
        async with SendGridManagement(key, settings.sendgrid_base_url) as provider:
            return await senders.verify(db, tenant_id, email, provider, actor=actor())

    sender = run(work)
    emit(as_json, _data(sender), f"{sender.from_email} is {sender.state}.")
    if sender.state != SenderState.VERIFIED:
        fail("The provider does not send from this address yet.", FAILED)


@app.command("pause")
def pause_command(
    tenant: TenantOption,
    email: EmailOption,
    reason: Annotated[str, typer.Option("--reason", help="Why; everybody sees it.")],
    as_json: JsonFlag = False,
) -> None:
    """Send nothing more from this address, in any campaign, until it is resumed."""

    async def work(db: Database) -> Sender:
        tenant_id = await tenant_id_of(db, tenant)
        return await senders.pause(db, tenant_id, email, reason=reason, actor=actor())

    sender = run(work)
    emit(as_json, _data(sender), f"{sender.from_email} is paused: {sender.pause_reason}")


@app.command("resume")
def resume_command(
    tenant: TenantOption,
    email: EmailOption,
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for the record.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Let a paused address send again, also after the provider refused it."""

    async def work(db: Database) -> Sender:
        tenant_id = await tenant_id_of(db, tenant)
        return await senders.resume(db, tenant_id, email, reason=reason, actor=actor())

    sender = run(work)
    emit(as_json, _data(sender), f"{sender.from_email} may send again.")


@app.command("list")
def list_command(tenant: TenantOption, as_json: JsonFlag = False) -> None:
    """List a tenant's identities by address."""

    async def work(db: Database) -> list[Sender]:
        return await senders.list_all(db, await tenant_id_of(db, tenant))

    found = run(work)
    rows = [
        (
            s.from_email,
            s.from_name,
            s.state,
            s.verified_by,
            s.reply_to,
            s.ip_pool,
            s.paused_by,
            s.pause_reason,
        )
        for s in found
    ]
    columns = ("address", "name", "state", "by", "reply to", "pool", "paused by", "why")
    table = Table(columns, rows)
    emit(as_json, {"data": [_data(sender) for sender in found]}, table)


def _data(sender: Sender) -> dict[str, object]:
    return {
        "id": sender.id,
        "from_email": sender.from_email,
        "state": sender.state,
        "from_name": sender.from_name,
        "reply_to": sender.reply_to,
        "ip_pool": sender.ip_pool,
        "verified_at": sender.verified_at,
        "verified_by": sender.verified_by,
        "paused_at": sender.paused_at,
        "paused_by": sender.paused_by,
        "pause_reason": sender.pause_reason,
    }
