"""`outreach messages`: mails of which nobody knows whether they left, and a word on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import typer

from outreach.cli.shell import JsonFlag, Table, TenantOption, actor, cell, emit, run, tenant_id_of
from outreach.core.errors import Invalid, NotFound
from outreach.core.states import MessageState
from outreach.db import Database
from outreach.services import messages
from outreach.services.campaigns import as_uuid
from outreach.services.messages import Message, Word
from outreach.store.messages import UnsettledRow

app = typer.Typer(no_args_is_help=True, help="Mails of which nobody knows whether they left.")

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The message.")]


class Unsettled(StrEnum):
    """States in which an attempt has no known outcome."""

    UNKNOWN = "unknown"
    ABANDONED = "abandoned"


@app.command("list")
def list_command(
    tenant: TenantOption,
    state: Annotated[
        Unsettled, typer.Option("--state", help="Still looked into, or given up.")
    ] = Unsettled.UNKNOWN,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most.")] = 1_000,
    as_json: JsonFlag = False,
) -> None:
    """List mails of which nobody knows whether they left, oldest first."""

    async def work(db: Database) -> list[UnsettledRow]:
        tenant_id = await tenant_id_of(db, tenant)
        return await messages.list_unsettled(db, tenant_id, MessageState(state), rows_max=limit)

    found = run(work)
    columns = ("id", "to", "campaign", "step", "try", "since", "next look")
    rows = [
        (m.id, m.to_address, m.campaign, m.node_id, m.attempt, m.armed_at, m.look_at) for m in found
    ]
    emit(as_json, {"data": [asdict(message) for message in found]}, Table(columns, rows))


@app.command("show")
def show_command(message: IdArgument, tenant: TenantOption, as_json: JsonFlag = False) -> None:
    """Show all that is known of a mail: its tries, what anybody said of them, and alarms."""

    async def work(db: Database) -> Message:
        return await messages.show(db, await tenant_id_of(db, tenant), message_id(message))

    found = run(work)
    head = asdict(found.row)
    for inner in ("action_id", "unknown_attempt", "unknown_armed_at", "now"):
        del head[inner]
    data = {
        **head,
        "attempts": [asdict(one) for one in found.attempts],
        "evidence": [asdict(one) for one in found.evidence],
        "incidents": [asdict(one) for one in found.incidents],
    }
    emit(as_json, data, lambda: "\n".join(told(found)))


@app.command("settle")
def settle_command(
    message: IdArgument,
    tenant: TenantOption,
    reason: Annotated[str, typer.Option("--reason", help="Why; everybody sees it.")],
    sent: Annotated[bool, typer.Option("--sent", help="It was sent.")] = False,
    not_sent: Annotated[bool, typer.Option("--not-sent", help="It was not sent.")] = False,
    resend: Annotated[bool, typer.Option("--resend", help="… and is sent now.")] = False,
    abandon: Annotated[bool, typer.Option("--abandon", help="Nobody will know.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Say what became of a mail of which nobody knows; proof that comes later still counts."""

    async def work(db: Database) -> MessageState:
        said = word(sent=sent, not_sent=not_sent, resend=resend, abandon=abandon)
        tenant_id = await tenant_id_of(db, tenant)
        id_ = message_id(message)
        return await messages.settle(db, tenant_id, id_, said, reason=reason, actor=actor())

    state = run(work)
    emit(as_json, {"id": message, "state": state}, f"{message} is {state}.")


def word(*, sent: bool, not_sent: bool, resend: bool, abandon: bool) -> Word:
    """What the options say; Invalid unless they say one thing."""
    if [sent, not_sent, abandon].count(True) != 1:
        raise Invalid.at("word", "Give one of --sent, --not-sent and --abandon.")
    if resend and not not_sent:
        raise Invalid.at("--resend", "Only what was not sent is sent again: --not-sent --resend.")
    if sent:
        return Word.SENT
    if abandon:
        return Word.ABANDONED
    return Word.RESEND if resend else Word.NOT_SENT


def message_id(text: str) -> UUID:
    """The id that is spelled; what is no id names no message."""
    found = as_uuid(text)
    if found is None:
        raise NotFound("message", text)
    return found


def told(found: Message) -> Iterator[str]:
    """The message as people read it."""
    row = found.row
    yield cell(f"{row.id} to {row.to_address}: {row.state}")
    yield cell(f"  “{row.subject}”, step {row.node_id} of {row.campaign}")
    if row.look_at is not None:
        yield f"  looked at again {cell(row.look_at)}, policy {row.policy}"
    for one in found.attempts:
        by = "" if one.settled_by is None else f" by {one.settled_by}"
        why = "" if one.detail is None else f": {one.detail}"
        yield cell(f"  try {one.attempt}, {cell(one.armed_at)}: {one.outcome}{by}{why}")
    for said in found.evidence:
        times = "" if said.times == 1 else f" ({said.times} times)"
        name = said.detail.get("who", said.source)
        yield cell(f"  {cell(said.at)}  {name} of try {said.attempt}: {said.says}{times}")
    for alarm in found.incidents:
        yield cell(f"  {cell(alarm.at)}  ALARM {alarm.code} ({alarm.subject})")
