"""`outreach contacts`: people in from a file, and out into one."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TextIO

import typer

from outreach.cli.files import reading, writing
from outreach.cli.shell import JsonFlag, Table, TenantOption, actor, emit, note, run, tenant_id_of
from outreach.core.errors import Invalid
from outreach.db import Database
from outreach.services.contacts import (
    ImportReport,
    Progress,
    export_csv,
    import_contacts,
    quiet,
)

app = typer.Typer(no_args_is_help=True, help="Contacts: import from a file, export to one.")


class FileFormat(StrEnum):
    """What a contacts file can be."""

    CSV = "csv"
    NDJSON = "ndjson"


@app.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(metavar="FILE|-", help="A CSV or NDJSON file, UTF-8.")],
    tenant: TenantOption,
    format: Annotated[
        FileFormat | None, typer.Option("--format", help="Else told by the file's name.")
    ] = None,
    map: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="COLUMN=FIELD", help="A column that is called otherwise."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count the same, change nothing.")
    ] = False,
    errors: Annotated[
        Path | None, typer.Option("--errors", help="A CSV file for the rows that are rejected.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make and update contacts; bad rows are rejected and the others go on.

    An empty cell leaves what is stored. Columns that are no field become attributes.
    """

    async def work(db: Database) -> ImportReport:
        mapping = _mapping(map or [])
        tenant_id = await tenant_id_of(db, tenant)
        with ExitStack() as files:
            source = files.enter_context(reading(file))
            rejected: TextIO | None = None
            if errors is not None:
                rejected = files.enter_context(writing(errors, besides=file))
            return await import_contacts(
                db,
                tenant_id,
                source,
                format="ndjson" if _format(file, format) is FileFormat.NDJSON else "csv",
                mapping=mapping,
                dry_run=dry_run,
                errors=rejected,
                actor=actor(),
                progress=files.enter_context(_progress()),
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
    """Write all contacts as CSV, by address, in a form that `import` reads."""

    async def work(db: Database) -> int:
        if as_json and str(file) == "-":
            raise Invalid.at("FILE", "is needed with --json, which has the output for itself.")
        tenant_id = await tenant_id_of(db, tenant)
        with writing(file) as target:
            return await export_csv(db, tenant_id, target)

    count = run(work)
    if as_json:
        emit(True, {"rows": count}, "")
    else:
        note(f"{count} contacts.")


def _format(file: Path, given: FileFormat | None) -> FileFormat:
    if given is not None:
        return given
    return FileFormat.NDJSON if file.suffix in (".ndjson", ".jsonl") else FileFormat.CSV


def _mapping(pairs: Sequence[str]) -> dict[str, str]:
    """Columns and their fields; raises Invalid for what is no pair, or a column given twice."""
    mapping: dict[str, str] = {}
    for pair in pairs:
        column, equals, field = pair.rpartition("=")
        if not equals or not column.strip() or not field.strip():
            raise Invalid.at("--map", f"{pair!r} is not COLUMN=FIELD.")
        if column.strip() in mapping:
            raise Invalid.at("--map", f"The column {column.strip()!r} is given twice.")
        mapping[column.strip()] = field.strip()
    return mapping


@contextmanager
def _progress() -> Iterator[Progress]:
    """A line on a terminal that counts the rows; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield quiet
        return

    def show(phase: str, rows: int) -> None:
        print(f"\r\x1b[2K{phase} {rows:,} rows", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
