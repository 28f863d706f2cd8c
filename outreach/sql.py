"""Named SQL from `.sql` files, and typed rows out of it.

A file holds statements under `-- name: verb_noun` with a line or two of prose. They are source
code: loaded once at import, never assembled. `load(__file__)` of a module `contacts.py` reads the
`contacts.sql` beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString, TypeVar

from psycopg import AsyncConnection

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Tx = AsyncConnection[tuple[Any, ...]]
"""A connection inside a transaction. Whoever receives one neither commits nor rolls back."""

Row = TypeVar("Row", bound="DataclassInstance")

_NAME = re.compile(r"^-- name: ([a-z0-9_]+)\s*$", re.MULTILINE)


def parse(text: str) -> dict[str, LiteralString]:
    """The statements of one file by name, without their prose."""
    parts = _NAME.split(text)
    statements: dict[str, LiteralString] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        assert name not in statements, f"two statements are called {name}"
        lines = [line for line in body.strip().splitlines() if not line.startswith("--")]
        statements[name] = "\n".join(lines).strip().rstrip(";")
    return statements


def load(module_file: str, *, stem: str | None = None) -> Mapping[str, LiteralString]:
    """The statements of the `.sql` twin of a module."""
    path = Path(module_file)
    return parse(path.with_name(f"{stem or path.stem}.sql").read_text("utf-8"))


def _rows_of(row: type[Row]) -> Any:
    """A row factory that fills `row` by position: a third of the time that keywords take.

    The columns may come in any order; one that the class does not know, or lacks, is an error.
    """
    names = [field.name for field in fields(row)]

    def factory(cursor: Any) -> Any:
        columns = [column.name for column in cursor.description or ()]
        if columns == names:
            return lambda values: row(*values)
        assert sorted(columns) == sorted(names), f"{row.__name__} is not made of {columns}"
        places = [columns.index(name) for name in names]
        return lambda values: row(*[values[place] for place in places])

    return factory


async def execute(tx: Tx, query: LiteralString, **params: object) -> int:
    """Run it; the number of rows it touched."""
    return (await tx.execute(query, params)).rowcount


async def execute_planned(tx: Tx, query: LiteralString, **params: object) -> int:
    """Run it with a plan made for these parameters and today's tables; the rows it touched."""
    return (await tx.execute(query, params, prepare=False)).rowcount


async def fetch_all(tx: Tx, query: LiteralString, row: type[Row], **params: object) -> list[Row]:
    """All rows as `row`s; for results whose size the query bounds."""
    async with tx.cursor(row_factory=_rows_of(row)) as cursor:
        await cursor.execute(query, params)
        return await cursor.fetchall()


async def fetch_planned(
    tx: Tx, query: LiteralString, row: type[Row], **params: object
) -> list[Row]:
    """All rows as `row`s, with a plan made for these parameters and today's tables.

    For what takes a batch of ids; costs a millisecond of planning for the whole batch.
    """
    async with tx.cursor(row_factory=_rows_of(row)) as cursor:
        await cursor.execute(query, params, prepare=False)
        return await cursor.fetchall()


async def find(tx: Tx, query: LiteralString, row: type[Row], **params: object) -> Row | None:
    """The one row, or None."""
    rows = await fetch_all(tx, query, row, **params)
    assert len(rows) <= 1, "a query for one row found more"
    return rows[0] if rows else None


async def value(tx: Tx, query: LiteralString, **params: object) -> Any:
    """The first column of the first row, or None."""
    row = await (await tx.execute(query, params)).fetchone()
    return None if row is None else row[0]
