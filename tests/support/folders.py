"""A folder in which commands run that start the embedded server."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def open_folder() -> Iterator[Path]:
    """New, gone afterwards, and open to the account that runs PostgreSQL for root."""
    folder = Path(tempfile.mkdtemp(prefix="outreach-test-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
