"""Files that commands read and write: a path, or `-` for standard input and output."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from outreach.core.errors import Invalid, Refused


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
        with output() as out:
            yield out
        return
    if besides is not None and path.exists() and besides.exists() and path.samefile(besides):
        raise Invalid.at(str(path), "is the file that is read.")
    try:
        file = path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise Invalid.at(str(path), f"cannot be written: {error.strerror}.") from None
    with _failing_as_refused(str(path)), file:
        yield file


@contextmanager
def output() -> Iterator[TextIO]:
    """Standard output, flushed at the end; raises Refused when it takes no more."""
    with _failing_as_refused("Standard output"):
        try:
            yield sys.stdout
            sys.stdout.flush()
        except OSError:
            # What it holds cannot go anywhere; the flush at exit must not complain again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise


@contextmanager
def _failing_as_refused(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.strerror is None:
            raise
        raise Refused("output_failed", f"{name} cannot be written: {error.strerror}.") from None
