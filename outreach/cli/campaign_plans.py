"""`outreach campaigns update|export|versions`: the plan of a campaign that may be running."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from outreach.cli.campaigns import CampaignArgument, ReasonOption, app, read_plan
from outreach.cli.files import writing
from outreach.cli.shell import (
    JsonFlag,
    Table,
    TenantOption,
    actor,
    emit,
    failures_as_exits,
    printable,
    run,
    tenant_id_of,
)
from outreach.core.errors import Invalid
from outreach.core.plan_diff import Difference
from outreach.core.plan_mapping import NodeCount
from outreach.db import Database
from outreach.services import plan_versions
from outreach.services.plan_update import Updated, update
from outreach.services.plan_versions import Preview
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


@app.command("update")
def update_command(
    campaign: CampaignArgument,
    tenant: TenantOption,
    plan: Annotated[Path, typer.Option("--plan", help="The new plan, a JSON file; - is stdin.")],
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="OLD=NEW", help="Where those of a vanished node go on."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")
    ] = False,
    if_version: Annotated[
        int | None, typer.Option("--if-version", help="Only while this version runs.")
    ] = None,
    reason: ReasonOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Let a campaign that may be running, and everybody in it, go on by a new plan."""

    async def work(db: Database) -> Preview | Updated:
        tenant_id = await tenant_id_of(db, tenant)
        new, mapping = read_plan(plan), read_mapping(maps or [])
        if dry_run:
            return await plan_versions.preview(
                db, tenant_id, campaign, plan=new, mapping=mapping, if_version=if_version
            )
        return await update(
            db,
            tenant_id,
            campaign,
            plan=new,
            mapping=mapping,
            if_version=if_version,
            actor=actor(),
            reason=reason,
        )

    match run(work):
        case Preview() as found:
            emit(as_json, preview_data(found), "\n".join(preview_lines(found)))
        case Updated() as done:
            emit(as_json, updated_data(done), "\n".join(updated_lines(campaign, done)))


def read_mapping(maps: list[str]) -> dict[str, str]:
    """`old=new` words as a mapping; Invalid for what is none, or says two things of one node."""
    mapping: dict[str, str] = {}
    for word in maps:
        old, sign, new = word.partition("=")
        if not (old and sign and new):
            raise Invalid.at("--map", f"{word!r} is not OLD=NEW, the ids of two nodes.")
        if mapping.setdefault(old, new) != new:
            raise Invalid.at("--map", f"{old} cannot go to both {mapping[old]} and {new}.")
    return mapping


def preview_data(found: Preview) -> dict[str, Any]:
    """A preview as JSON."""
    return {
        "from_version": found.version,
        "plan": [_difference(one) for one in found.diff.plan],
        "nodes": [
            {
                "node_id": node.node_id,
                "kind": node.kind,
                "differences": [_difference(one) for one in node.differences],
            }
            for node in found.diff.nodes
        ],
        "touched": [_count(one) for one in found.touched],
        "untouched": found.untouched,
        "drafts": found.drafts,
        "vanished": list(found.vanished),
        "unmapped": [_count(one) for one in found.unmapped],
        "busy": [_count(one) for one in found.busy],
    }


def preview_lines(found: Preview) -> Iterator[str]:
    """A preview in words, a line each."""
    if found.diff.is_empty:
        yield "Nothing changes."
        return
    for sentence in found.diff.sentences():
        yield printable(sentence)
    for one in found.touched:
        yield (
            f"{one.node_id}: {one.enrollments} stand here, with {one.sends} pending sends,"
            f" {one.on_the_way} mails on the way and {one.timers} timers."
        )
    yield f"{found.untouched} stand on nodes that stay as they are; {found.drafts} have not begun."
    for one in found.unmapped:
        yield f"{one.node_id} needs a mapping: {one.enrollments} stand here."
    for one in found.busy:
        yield f"{one.node_id} has {one.on_the_way} mails on the way, which must end before."


def _difference(one: Difference) -> dict[str, str]:
    return {"part": one.part, "sentence": one.sentence}


def _count(one: NodeCount) -> dict[str, object]:
    return {
        "node_id": one.node_id,
        "enrollments": one.enrollments,
        "sends": one.sends,
        "on_the_way": one.on_the_way,
        "timers": one.timers,
    }


def updated_data(done: Updated) -> dict[str, Any]:
    """What an update did, as JSON: what a preview says, and the figures."""
    return {
        "version": done.version,
        "carried": done.carried,
        "mapped": done.mapped,
        "stopped": done.stopped,
        "retimed": done.retimed,
        **preview_data(done.preview),
    }


def updated_lines(campaign: str, done: Updated) -> Iterator[str]:
    """What an update did, in words."""
    yield from preview_lines(done.preview)
    yield (
        f"{campaign} runs version {done.version} of its plan; {done.carried} go on by it,"
        f" {done.mapped} of them on another node; {done.stopped} were stopped;"
        f" the timers of {done.retimed} were set anew."
    )
