"""`outreach suppressions`: who must not be written to."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TextIO

import typer

from outreach.cli.files import reading, writing
from outreach.cli.shell import JsonFlag, Table, TenantOption, actor, emit, note, run, tenant_id_of
from outreach.core.address import normalize_suppression
from outreach.core.errors import Invalid
from outreach.core.states import SuppressionReason
from outreach.db import Database
from outreach.services import suppress, suppression_files
from outreach.services.suppress import SuppressionEntry
from outreach.services.suppression_files import ListReport
from outreach.store.suppressions import Suppression

app = typer.Typer(no_args_is_help=True, help="Suppressions: add, remove, list, import, export.")

ValueOption = Annotated[str, typer.Option("--value", help="An address, or @example.com.")]


@app.command("add")
def add_command(
    tenant: TenantOption,
    value: ValueOption,
    reason: Annotated[SuppressionReason, typer.Option("--reason", help="Why.")],
    note: Annotated[str | None, typer.Option("--note", help="More, for people.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Suppress an address or a whole domain, from now on; again, changes nothing."""

    async def work(db: Database) -> int:
        entry = SuppressionEntry(value, reason, source="cli", note=note, by=actor())
        return await suppress.add(db, await tenant_id_of(db, tenant), [entry], actor=actor())

    added = run(work)
    normal = normalize_suppression(value)
    data = {"channel": "email", "value": normal, "reason": reason, "added": bool(added)}
    emit(as_json, data, f"{normal} is suppressed{'' if added else ' already'}: {reason.value}.")


@app.command("remove")
def remove_command(
    tenant: TenantOption,
    value: ValueOption,
    reason: Annotated[
        SuppressionReason | None, typer.Option("--reason", help="Only this one; else all.")
    ] = None,
    why: Annotated[str | None, typer.Option("--why", help="Why it is lifted.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Lift what is in force for a value; the record of it stays."""

    async def work(db: Database) -> list[str]:
        tenant_id = await tenant_id_of(db, tenant)
        return await suppress.lift(db, tenant_id, value, reason=reason, actor=actor(), why=why)

    lifted = run(work)
    normal = normalize_suppression(value)
    emit(as_json, {"value": normal, "lifted": lifted}, f"{normal}: lifted {', '.join(lifted)}.")


@app.command("list")
def list_command(
    tenant: TenantOption,
    value: Annotated[str | None, typer.Option("--value", help="Only of this one.")] = None,
    lifted: Annotated[bool, typer.Option("--lifted", help="Lifted ones too.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most.")] = 200,
    as_json: JsonFlag = False,
) -> None:
    """List by value; `export` has them all."""

    async def work(db: Database) -> list[Suppression]:
        tenant_id = await tenant_id_of(db, tenant)
        return await suppress.list_all(
            db, tenant_id, value=value, with_lifted=lifted, rows_max=limit
        )

    found = run(work)
    rows = [(s.value, s.reason, s.source, s.created_at, s.lifted_at, s.note) for s in found]
    table = Table(("value", "reason", "source", "since", "lifted", "note"), rows)
    emit(as_json, {"data": found}, table)


@app.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(metavar="FILE|-", help="CSV, or a value a line.")],
    tenant: TenantOption,
    reason: Annotated[
        SuppressionReason, typer.Option("--reason", help="Of rows that name none.")
    ] = SuppressionReason.MANUAL,
    errors: Annotated[
        Path | None, typer.Option("--errors", help="A CSV file for the rows that are rejected.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Suppress every value of a file; bad rows are rejected and the others go on."""

    async def work(db: Database) -> ListReport:
        tenant_id = await tenant_id_of(db, tenant)
        with ExitStack() as files:
            source = files.enter_context(reading(file))
            rejected: TextIO | None = None
            if errors is not None:
                rejected = files.enter_context(writing(errors, besides=file))
            return await suppression_files.import_list(
                db, tenant_id, source, reason=reason, errors=rejected, actor=actor()
            )

    report = run(work)
    emit(as_json, asdict(report), Table(list(asdict(report)), [list(asdict(report).values())]))
    if report.rejected and errors is None:
        note(f"{report.rejected} rows were rejected; --errors FILE tells which, and why.")


@app.command("export")
def export_command(
    tenant: TenantOption,
    file: Annotated[Path, typer.Argument(metavar="FILE|-", help="Where to; else the output.")] = (
        Path("-")
    ),
    as_json: JsonFlag = False,
) -> None:
    """Write all that is in force as CSV, in a form that `import` reads."""

    async def work(db: Database) -> int:
        if as_json and str(file) == "-":
            raise Invalid.at("FILE", "is needed with --json, which has the output for itself.")
        tenant_id = await tenant_id_of(db, tenant)
        with writing(file) as target:
            return await suppression_files.export_list(db, tenant_id, target)

    count = run(work)
    if as_json:
        emit(True, {"rows": count}, "")
    else:
        note(f"{count} suppressions.")
