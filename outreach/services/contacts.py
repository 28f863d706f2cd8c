"""Contacts in and out: files of any size, in bounded memory.

An import reads the whole file first, rejecting bad rows and keeping the good ones (`Spool`), so
that of two rows for an address only the last is ever written, and every count is exact. Then it
writes batches, each its own transaction: one that was killed is simply run again.
"""

from __future__ import annotations

import asyncio
import csv
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, TextIO
from uuid import UUID

from outreach.core.contact_rows import FIELDS, SEPARATOR, guard
from outreach.db import Database, Role
from outreach.ids import new_id
from outreach.services import audit
from outreach.services.contact_files import Format, Parsed, read_rows
from outreach.services.contact_spool import Spool
from outreach.sql import Tx
from outreach.store import contacts as store
from outreach.store.contacts import ContactRow, Stored
from outreach.store.suppressions import lock_suppressions

BATCH_ROWS = 20_000
SLICE_ROWS = 10_000
PAGE_ROWS = 2_000
ATTRIBUTES_MAX = 500
COLUMNS = (*FIELDS, "attributes")
ERROR_COLUMNS = ("row", "column", "reason", "value")

Progress = Callable[[str, int], None]
"""Told the phase, `read` or `write`, and how many rows are through."""


@dataclass(slots=True)
class ImportReport:
    """What became of the rows: rows = created + updated + unchanged + duplicates + rejected."""

    rows: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    duplicates: int = 0
    rejected: int = 0
    seconds: float = 0.0


def quiet(_phase: str, _rows: int) -> None:
    """No progress is shown."""


async def import_contacts(
    db: Database,
    tenant_id: UUID,
    source: BinaryIO,
    *,
    format: Format = "csv",
    mapping: Mapping[str, str] | None = None,
    dry_run: bool = False,
    errors: TextIO | None = None,
    actor: str,
    progress: Progress = quiet,
) -> ImportReport:
    """Make and update contacts from a file; bad rows are rejected and the others go on.

    `mapping` names the field of a column. `errors` gets a line for each fault of each rejected row.
    A dry run counts the same and leaves nothing. Raises Invalid when nothing can be read.
    """
    started = time.monotonic()
    report = ImportReport()
    with Spool() as spool:
        rows = read_rows(source, format, mapping or {})
        writer = None if errors is None else _error_writer(errors)
        while await asyncio.to_thread(_read_slice, rows, spool, report, writer):
            progress("read", report.rows)
        batches = spool.batches(BATCH_ROWS)
        batch = await asyncio.to_thread(_next_columns, batches)
        while batch is not None:
            # The next one is made ready while the database works on this one.
            stored, batch = await asyncio.gather(
                _write(db, tenant_id, batch, dry_run=dry_run),
                asyncio.to_thread(_next_columns, batches),
            )
            report.created += stored.created
            report.updated += stored.updated
            report.unchanged += stored.distinct_rows - stored.created - stored.updated
            progress("write", report.created + report.updated + report.unchanged)
    written = report.created + report.updated + report.unchanged
    report.duplicates = report.rows - report.rejected - written
    report.seconds = round(time.monotonic() - started, 3)
    if not dry_run:
        async with db.transaction(Role.APP, tenant_id) as tx:
            await _record(tx, tenant_id, report, actor=actor)
    return report


async def pages(db: Database, tenant_id: UUID) -> AsyncIterator[list[ContactRow]]:
    """All contacts by address, a page at a time, each in its own transaction."""
    after = ""
    while True:
        async with db.transaction(Role.APP, tenant_id) as tx:
            page = await store.list_contacts(tx, tenant_id, after=after, rows_max=PAGE_ROWS)
        if page:
            yield page
        if len(page) < PAGE_ROWS:
            return
        after = page[-1].email_key


async def export_csv(db: Database, tenant_id: UUID, target: TextIO) -> int:
    """Write all contacts as an import would read them; how many. Cells cannot act as formulas."""
    async with db.transaction(Role.APP, tenant_id) as tx:
        names = await store.list_attribute_names(tx, tenant_id, rows_max=ATTRIBUTES_MAX)
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow([*FIELDS, *(f"attributes.{name}" for name in names)])
    count = 0
    async for page in pages(db, tenant_id):
        writer.writerows(_cells(contact, names) for contact in page)
        count += len(page)
    return count


def _read_slice(
    rows: Iterator[Parsed],
    spool: Spool,
    report: ImportReport,
    writer: Callable[[Sequence[object]], object] | None,
) -> bool:
    """Read some rows; whether there may be more."""
    read = 0
    for parsed in islice(rows, SLICE_ROWS):
        read += 1
        if isinstance(parsed, str):
            spool.add(parsed)
            continue
        report.rejected += 1
        if writer is not None:
            for problem in parsed:
                number = report.rows + read
                writer((number, guard(problem.column), problem.reason, guard(problem.value)))
    report.rows += read
    return read == SLICE_ROWS


def _next_columns(batches: Iterator[list[str]]) -> dict[str, str] | None:
    """The next batch by columns, with an id for each row, or None after the last."""
    batch = next(batches, None)
    if batch is None:
        return None
    values = zip(*(line.split(SEPARATOR) for line in batch), strict=True)
    columns = {name: SEPARATOR.join(column) for name, column in zip(COLUMNS, values, strict=True)}
    return {**columns, "id": SEPARATOR.join(str(new_id()) for _ in batch)}


async def _write(
    db: Database, tenant_id: UUID, columns: Mapping[str, str], *, dry_run: bool
) -> Stored:
    async with db.transaction(Role.APP, tenant_id) as tx:
        async with tx.transaction(force_rollback=dry_run):
            await store.insert_leads(tx, tenant_id, columns)
            await lock_suppressions(tx, tenant_id)
            return await store.upsert_contacts(tx, tenant_id, columns)


async def _record(tx: Tx, tenant_id: UUID, report: ImportReport, *, actor: str) -> None:
    await audit.record(
        tx,
        tenant_id,
        actor=actor,
        act="contacts_imported",
        subject=f"{report.rows} rows",
        created=report.created,
        updated=report.updated,
        rejected=report.rejected,
    )


def _error_writer(errors: TextIO) -> Callable[[Sequence[object]], object]:
    writer = csv.writer(errors, lineterminator="\n")
    writer.writerow(ERROR_COLUMNS)
    return writer.writerow


def _cells(contact: ContactRow, names: Sequence[str]) -> list[str]:
    fields = (getattr(contact, field) for field in FIELDS)
    attributes = (contact.attributes.get(name) for name in names)
    return [guard("" if value is None else str(value)) for value in (*fields, *attributes)]
