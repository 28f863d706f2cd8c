"""Lists of suppressions in and out of files: CSV, or just one value a line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO, TextIO
from uuid import UUID

from outreach.core.address import normalize_suppression
from outreach.core.contact_rows import (
    RowProblem,
    delimiter_of,
    guard,
    unguard,
)
from outreach.core.errors import Invalid
from outreach.core.states import SuppressionReason
from outreach.db import Database, Role
from outreach.services import audit
from outreach.services.contact_files import decoded, is_utf8, lines_of, rows_of
from outreach.services.suppress import SuppressionEntry, pages_in_force, suppress

BATCH_ROWS = 5_000
VALUE_LENGTH_MAX = 500
COLUMNS = ("value", "reason", "source", "note", "created_at", "created_by")
VALUE_COLUMNS = ("value", "email", "address", "domain")


@dataclass(slots=True)
class ListReport:
    """What became of the rows of a list; those not added or rejected were in force already."""

    rows: int = 0
    added: int = 0
    rejected: int = 0


async def import_list(
    db: Database,
    tenant_id: UUID,
    source: BinaryIO,
    *,
    reason: SuppressionReason,
    errors: TextIO | None = None,
    actor: str,
) -> ListReport:
    """Suppress every value of a file, a batch a transaction; bad rows are rejected.

    A header with a column `value` (or `email`) makes it a CSV file, whose columns `reason` and
    `note` count too; else each line's first cell is a value. Raises Invalid for an empty file.
    """
    report = ListReport()
    writer = None if errors is None else csv.writer(errors, lineterminator="\n")
    if writer is not None:
        writer.writerow(("row", "column", "reason", "value"))
    batch: list[SuppressionEntry] = []
    for parsed in _entries(source, reason, actor):
        report.rows += 1
        if isinstance(parsed, SuppressionEntry):
            batch.append(parsed)
        else:
            report.rejected += 1
            if writer is not None:
                row = (report.rows, parsed.column, parsed.reason, guard(parsed.value))
                writer.writerow(row)
        if len(batch) >= BATCH_ROWS:
            report.added += await _add(db, tenant_id, batch)
            batch = []
    report.added += await _add(db, tenant_id, batch)
    if report.rows == 0:
        raise Invalid.at("$", "The file is empty.")
    async with db.transaction(Role.APP, tenant_id) as tx:
        await audit.record(
            tx,
            tenant_id,
            actor=actor,
            act="suppressions_imported",
            subject=f"{report.rows} rows",
            added=report.added,
            rejected=report.rejected,
        )
    return report


async def export_list(db: Database, tenant_id: UUID, target: TextIO) -> int:
    """Write all that is in force as CSV, in a form that an import reads; how many."""
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    async for page in pages_in_force(db, tenant_id):
        for row in page:
            cells = (row.value, row.reason, row.source, row.note or "")
            made = (row.created_at.isoformat(), row.created_by)
            writer.writerow([guard(cell) for cell in (*cells, *made)])
        count += len(page)
    return count


async def _add(db: Database, tenant_id: UUID, batch: Sequence[SuppressionEntry]) -> int:
    async with db.transaction(Role.APP, tenant_id) as tx:
        return await suppress(tx, tenant_id, batch)


def _entries(
    source: BinaryIO, reason: SuppressionReason, actor: str
) -> Iterator[SuppressionEntry | RowProblem]:
    with decoded(source) as text:
        lines = lines_of(text)
        first = next(lines, "")
        if "\x00" in first or not is_utf8(first):
            raise Invalid.at("$", "The file is not UTF-8 text; save it as UTF-8.")
        delimiter = delimiter_of(first)
        header = next(csv.reader([first], delimiter=delimiter), [])
        names = [name.strip().lower() for name in header]
        column = next((name for name in VALUE_COLUMNS if name in names), None)
        if column is None:
            names = [column := "value"]
            lines = chain([first], lines)
        for cells in rows_of(lines, delimiter):
            if isinstance(cells, RowProblem):
                yield cells
            else:
                yield _entry(dict(zip(names, cells, strict=False)), column, reason, actor)


def _entry(
    row: dict[str, str], column: str, reason: SuppressionReason, actor: str
) -> SuppressionEntry | RowProblem:
    value = unguard(row.get(column, "").strip())[:VALUE_LENGTH_MAX]
    said = row.get("reason", "").strip().lower()
    note = unguard(row.get("note", "").strip())[:VALUE_LENGTH_MAX]
    if said and said not in set(SuppressionReason):
        return RowProblem("reason", "is no reason for a suppression", said)
    if not note.isprintable():
        return RowProblem("note", "is not plain text", note)
    try:
        normal = normalize_suppression(value)
    except Invalid:
        return RowProblem(column, "is neither an address nor an @domain", value)
    why = SuppressionReason(said) if said else reason
    return SuppressionEntry(normal, why, source="import", note=note or None, by=actor)
