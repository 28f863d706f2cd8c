"""Files that commands read and write: a path, or `-` for standard input and output."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from outreach.core.errors import Invalid


@contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes; raises Invalid where it cannot be opened."""
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise Invalid.at(str(path), f"cannot be read: {error.strerror}.") from None
    with file:
        yield file


@contextmanager
def writing(path: Path, *, besides: Path | None = None) -> Iterator[TextIO]:
    """A text file, UTF-8 and with the line ends that are written; never the one `besides` it."""
    if str(path) == "-":
        sys.stdout.flush()
        yield sys.stdout
        return
    if besides is not None and path.exists() and besides.exists() and path.samefile(besides):
        raise Invalid.at(str(path), "is the file that is read.")
    try:
        file = path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise Invalid.at(str(path), f"cannot be written: {error.strerror}.") from None
    with file:
        yield file
