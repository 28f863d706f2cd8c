"""`outreach campaigns update|export|versions`: the plan of a campaign that may be running."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from outreach.cli.campaigns import CampaignArgument, app
from outreach.cli.files import writing
from outreach.cli.shell import (
    JsonFlag,
    Table,
    TenantOption,
    emit,
    failures_as_exits,
    run,
    tenant_id_of,
)
from outreach.db import Database
from outreach.services import plan_versions
from outreach.store.plan_versions import Version


@app.command("versions")
def versions_command(
    campaign: CampaignArgument, tenant: TenantOption, as_json: JsonFlag = False
) -> None:
    """List the versions of the campaign's plan, newest first, and how many run each."""

    async def work(db: Database) -> list[Version]:
        return await plan_versions.versions(db, await tenant_id_of(db, tenant), campaign)

    found = run(work)
    data = [
        {
            "version": one.version,
            "is_current": one.is_current,
            "hash": one.hash,
            "generated_by": one.generated_by,
            "notes": one.notes,
            "created_at": one.created_at,
            "enrollments": one.total,
            "live": one.live,
        }
        for one in found
    ]
    columns = ("version", "current", "live", "enrollments", "created", "notes", "hash")
    rows = [
        (v.version, v.is_current, v.live, v.total, v.created_at, v.notes, v.hash[:12])
        for v in found
    ]
    emit(as_json, {"data": data}, Table(columns, rows))


@app.command("export")
def export_command(
    campaign: CampaignArgument,
    tenant: TenantOption,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="Which; the current one by default.")
    ] = None,
    to: Annotated[Path, typer.Option("--to", help="The file; - is standard output.")] = Path("-"),
    as_json: JsonFlag = False,
) -> None:
    """Write a version of the plan as JSON, from which the same plan can be made again."""

    async def work(db: Database) -> str:
        tenant_id = await tenant_id_of(db, tenant)
        return await plan_versions.export(db, tenant_id, campaign, version)

    text = run(work)
    if as_json:
        text = json.dumps(json.loads(text), ensure_ascii=False)
    with failures_as_exits(), writing(to) as file:
        print(text, file=file)
