"""`outreach incidents`: alarms, and who has seen to them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from outreach.cli.shell import JsonFlag, Table, actor, emit, run
from outreach.core.errors import NotFound
from outreach.core.reasons import sentence
from outreach.db import Database
from outreach.services import incidents
from outreach.services.campaigns import as_uuid
from outreach.store.incidents import IncidentRow

app = typer.Typer(no_args_is_help=True, help="Alarms: what must not happen and did.")


@app.command("list")
def list_command(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this tenant's.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Those that were closed, too.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most.")] = 1_000,
    as_json: JsonFlag = False,
) -> None:
    """List alarms, newest first."""

    async def work(db: Database) -> list[IncidentRow]:
        return await incidents.list_incidents(db, tenant, with_closed=every, rows_max=limit)

    found = run(work)
    columns = ("id", "tenant", "since", "closed", "about", "what")
    rows = [
        (
            one.id,
            one.tenant,
            one.raised_at,
            one.closed_at,
            one.subject,
            sentence(one.code, one.detail),
        )
        for one in found
    ]
    emit(as_json, {"data": [asdict(one) for one in found]}, Table(columns, rows))


@app.command("close")
def close_command(
    incident: Annotated[str, typer.Argument(metavar="ID", help="The alarm.")],
    reason: Annotated[str, typer.Option("--reason", help="What was found; everybody sees it.")],
    as_json: JsonFlag = False,
) -> None:
    """Close an alarm that has been seen to; if it happens again, it is open again."""

    async def work(db: Database) -> bool:
        id_ = as_uuid(incident)
        if id_ is None:
            raise NotFound("incident", incident)
        return await incidents.close_incident(db, id_, reason=reason, actor=actor())

    was_open = run(work)
    said = f"{incident} is closed." if was_open else f"{incident} was closed already."
    emit(as_json, {"id": incident, "was_open": was_open}, said)
