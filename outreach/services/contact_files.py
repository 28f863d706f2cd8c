"""Reading a contacts file, however large, row by row.

Bytes that are not UTF-8 are carried through as surrogates, so that one bad row is a bad row and not
the end of the file. A line's length is bounded, so that memory is.
"""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import BinaryIO, Literal

import orjson

from outreach.core.contact_rows import (
    VALUE_SHOWN_MAX,
    Column,
    RowProblem,
    column_of,
    columns_of,
    delimiter_of,
    line_of_cells,
    line_of_object,
)
from outreach.core.errors import Invalid

Format = Literal["csv", "ndjson"]
Parsed = str | list[RowProblem]

LINE_LENGTH_MAX = 1_000_000
COLUMN_NAMES_KEPT_MAX = 1_000
# What a too long line becomes; no row can be this one, since its only cell is a control character.
_TOO_LONG = "\x00\n"
_TOO_LONG_PROBLEM = RowProblem("", f"is longer than {LINE_LENGTH_MAX} characters", "")


def read_rows(source: BinaryIO, format: Format, mapping: Mapping[str, str]) -> Iterator[Parsed]:
    """Each row of the file, in order: a line (`core.contact_rows`), or what is wrong with it.

    Raises Invalid when nothing of the file can be read.
    """
    with decoded(source) as text:
        match format:
            case "csv":
                yield from _read_csv(text, mapping)
            case "ndjson":
                yield from _read_ndjson(text, mapping)


@contextmanager
def decoded(source: BinaryIO) -> Iterator[io.TextIOWrapper]:
    """The text of UTF-8 bytes, others as surrogates; the source stays its owner's to close."""
    text = io.TextIOWrapper(source, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield text
    finally:
        if not source.closed:  # else whoever owns it was faster, and there is nothing to keep open
            text.detach()


def is_utf8(line: str) -> bool:
    """Whether a decoded line was UTF-8."""
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_csv(text: io.TextIOWrapper, mapping: Mapping[str, str]) -> Iterator[Parsed]:
    lines = lines_of(text)
    header = next((line for line in lines if line.strip()), None)
    if header is None:
        raise Invalid.at("$", "The file is empty.")
    if "\x00" in header or not is_utf8(header):
        raise Invalid.at("$.header", "The file is not UTF-8 text; save it as UTF-8.")
    delimiter = delimiter_of(header)
    try:
        names = next(csv.reader([header], delimiter=delimiter))
    except csv.Error as error:
        raise Invalid.at("$.header", f"The header cannot be read: {error}.") from None
    columns = columns_of(names, mapping)
    for cells in rows_of(lines, delimiter):
        if isinstance(cells, RowProblem):
            yield [cells]
        elif cells == ["\x00"]:
            yield [_TOO_LONG_PROBLEM]
        else:
            yield line_of_cells(columns, cells)


def rows_of(lines: Iterator[str], delimiter: str) -> Iterator[list[str] | RowProblem]:
    """The cells of each row. A quote that nothing closes costs its own line and no other."""
    source = _Lines(lines)
    rows = csv.reader(source, delimiter=delimiter)
    while True:
        source.taken.clear()
        try:
            cells = next(rows, None)
        except csv.Error as error:
            yield RowProblem("", f"cannot be read: {error}", "")
        else:
            if cells is None:
                return
            if not source.has_ended:
                if cells:
                    yield cells
                continue
            opening = source.taken[0].strip()[:VALUE_SHOWN_MAX]
            yield RowProblem("", "opens a quote that nothing closes", opening)
        source.give_back()
        rows = csv.reader(source, delimiter=delimiter)


class _Lines:
    """Lines that can be given again: all but the first of those that a row took."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.taken: list[str] = []
        self.has_ended = False  # in the middle of a row
        self._lines = lines
        self._again: deque[str] = deque()

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines, None)
        if line is None:
            self.has_ended = bool(self.taken)
            raise StopIteration
        self.taken.append(line)
        return line

    def give_back(self) -> None:
        """Let what followed the first line of the row be read once more."""
        self._again.extendleft(reversed(self.taken[1:]))
        self.has_ended = False


def _read_ndjson(text: io.TextIOWrapper, mapping: Mapping[str, str]) -> Iterator[Parsed]:
    column_by_name = _column_cache(mapping)
    rows = readable = 0
    for line in lines_of(text):
        if line.isspace():
            continue
        rows += 1
        parsed = _parse_object(line, column_by_name)
        if isinstance(parsed, RowProblem):
            yield [parsed]
        else:
            readable += 1
            yield line_of_object(column_by_name, parsed)
    if rows == 0:
        raise Invalid.at("$", "The file is empty.")
    if readable == 0:
        raise Invalid.at("$", "No line of the file is a JSON object.")


def _parse_object(
    line: str, column_by_name: Callable[[str], Column]
) -> dict[str, object] | RowProblem:
    if line == _TOO_LONG:
        return _TOO_LONG_PROBLEM
    if not is_utf8(line):
        return RowProblem("", "is not UTF-8 text", "")
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return RowProblem("", "is not JSON", line.strip()[:VALUE_SHOWN_MAX])
    if not isinstance(value, dict):
        return RowProblem("", "is not a JSON object", line.strip()[:VALUE_SHOWN_MAX])
    return value


def _column_cache(mapping: Mapping[str, str]) -> Callable[[str], Column]:
    @lru_cache(maxsize=COLUMN_NAMES_KEPT_MAX)
    def column(name: str) -> Column:
        return column_of(name, mapping)

    return column


def lines_of(text: io.TextIOWrapper) -> Iterator[str]:
    """The lines with their ends; one over the bound is read to its end and replaced."""
    readline = text.readline
    while line := readline(LINE_LENGTH_MAX):
        if len(line) < LINE_LENGTH_MAX or line.endswith("\n"):
            yield line
            continue
        while (rest := readline(LINE_LENGTH_MAX)) and not rest.endswith("\n"):
            pass
        yield _TOO_LONG
