"""Crash recorders, the end of their processes, and what the next process finds."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

from outreach.core.outcome import Outcome
from outreach.recorder import FileRecorder
from outreach.recorder_slots import Entry, Key

CONNINFO = "host=db.example port=5432 dbname=outreach user=a password=b"
TENANT = uuid4()
ARMED_AT = datetime(2026, 3, 4, 5, 6, 7, 123457, tzinfo=UTC)


def key(attempt: int = 1) -> Key:
    return uuid4(), attempt


def read(folder: Path, conninfo: str = CONNINFO) -> list[Entry]:
    """What a process that begins now finds there; it leaves the files as they are."""
    reader = FileRecorder(folder, conninfo)
    found = [entry for grave in reader.graves() for entry in grave.entries]
    reader.close()
    return found


def dead(recorder: FileRecorder) -> Path:
    """Close the file as the end of its process would."""
    recorder.close()
    return recorder.path


def outcomes(folder: Path) -> dict[UUID, Outcome | None]:
    return {entry.message_id: entry.outcome for entry in read(folder)}
