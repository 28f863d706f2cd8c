"""The rows of one import until they are written: of two for an address only the last is left.

Few rows stay in memory. Many are spread over files by a hash of the address, so that all rows for
one address are in one file, and each file fits into memory whatever the size of the whole.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self
from zlib import crc32

from outreach.core.address import address_key
from outreach.core.contact_rows import SEPARATOR

PARTS = 512
ROWS_IN_MEMORY_MAX = 50_000


class Spool:
    """Takes lines (`core.contact_rows`) in the order of the file; gives batches back."""

    def __init__(self) -> None:
        self.duplicates = 0  # rows that a later one took the place of; known as batches are read
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._rows: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, line: str) -> None:
        """Keep a row."""
        self._rows.append(line)
        if len(self._rows) >= ROWS_IN_MEMORY_MAX:
            self._spread()

    def batches(self, rows_max: int) -> Iterator[list[str]]:
        """All rows, one for each address, at most `rows_max` at a time."""
        waiting: list[str] = []
        for part in self._parts():
            last = {_key(line): line for line in part}
            self.duplicates += len(part) - len(last)
            waiting += last.values()
            while len(waiting) >= rows_max:
                yield waiting[:rows_max]
                del waiting[:rows_max]
        if waiting:
            yield waiting

    def _parts(self) -> Iterator[list[str]]:
        if self._folder is None:
            yield self._rows
            return
        self._spread()
        for path in sorted(Path(self._folder.name).iterdir()):
            yield path.read_bytes().decode().split("\n")[:-1]
            path.unlink()

    def _spread(self) -> None:
        """Append what is in memory to the files of its addresses."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="outreach-import-")
        parts: list[list[str]] = [[] for _ in range(PARTS)]
        for line in self._rows:
            parts[crc32(_key(line).encode()) % PARTS].append(line)
        self._rows = []
        folder = Path(self._folder.name)
        for number, lines in enumerate(parts):
            if lines:
                with (folder / f"{number:03}").open("a", encoding="utf-8", newline="\n") as file:
                    file.write("\n".join(lines) + "\n")


def _key(line: str) -> str:
    return address_key(line[: line.index(SEPARATOR)])
