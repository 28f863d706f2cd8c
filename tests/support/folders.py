"""A folder in which commands run that start the embedded server, and what still runs there."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE_SECONDS = 60.0


@contextmanager
def open_folder() -> Iterator[Path]:
    """New, gone afterwards, and open to the account that runs PostgreSQL for root."""
    folder = Path(tempfile.mkdtemp(prefix="outreach-test-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def family(folder: Path) -> list[int]:
    """Processes, whoever's child, that still work in this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
                place = (entry / "cwd").readlink()
            except OSError:
                continue
            if place.is_relative_to(folder) or str(folder) in words:
                found.append(int(entry.name))
    return found


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
