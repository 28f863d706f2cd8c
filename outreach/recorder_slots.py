"""What a recorder's file looks like: a header, then slots of one size, one for each attempt.

A slot is a stage, one byte, and what it vouches for: which attempt it is, when it was armed, and
what the provider answered. The stage is written last and read first; whatever else a slot holds
counts only as far as its stage goes, so a process may be killed between any two bytes.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from outreach.core.outcome import Accepted, NotSent, Outcome, Rejected, Unknown, classify

SLOTS_MAX = 4096  # more than the eight tasks of a worker have under way in batches of a hundred
SLOT_BYTES = 256
FILE_BYTES = (SLOTS_MAX + 1) * SLOT_BYTES  # the header has the first slot's place

# Stages, the first byte of a slot.
FREE, ARMED, LEAVING, ANSWERED = 0, 1, 2, 3

_MAGIC = b"outreach recorder 1\n"
_HEADER = struct.Struct(f"<{len(_MAGIC)}s16sQI")  # boot, inode, slots
_ATTEMPT = struct.Struct("<16s16sqH")  # tenant, message, armed at, number
_ANSWER = struct.Struct("<qqHB")  # answered at, to come back at, status, bytes of text
_ATTEMPT_AT = 1
_ANSWER_AT = _ATTEMPT_AT + _ATTEMPT.size
_TEXT_AT = _ANSWER_AT + _ANSWER.size
_TEXT_BYTES_MAX = SLOT_BYTES - _TEXT_AT
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Key = tuple[UUID, int]
"""A message and the number of its attempt."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one attempt; no outcome: it may have left, and nobody answered."""

    tenant_id: UUID
    message_id: UUID
    attempt: int
    armed_at: datetime
    outcome: Outcome | None
    answered_at: datetime | None = None

    @property
    def key(self) -> Key:
        """What names it among the attempts of one process."""
        return self.message_id, self.attempt


def empty_file(boot: bytes, inode: int) -> bytes:
    """The bytes of a file whose slots are all free.

    Its inode is part of it: a copy tells of a moment that has passed, and nobody holds its lock.
    """
    return _header(boot, inode).ljust(FILE_BYTES, b"\0")


def _header(boot: bytes, inode: int) -> bytes:
    return _HEADER.pack(_MAGIC, boot, inode, SLOTS_MAX).ljust(SLOT_BYTES, b"\0")


def write_attempt(
    memory: mmap.mmap, offset: int, tenant_id: UUID, armed_at: int, attempt: Key
) -> None:
    """Fill a free slot; `armed_at` in microseconds (`microseconds`)."""
    message_id, number = attempt
    _ATTEMPT.pack_into(
        memory, offset + _ATTEMPT_AT, tenant_id.bytes, message_id.bytes, armed_at, number
    )
    memory[offset] = ARMED


def write_outcome(memory: mmap.mmap, offset: int, outcome: Outcome) -> None:
    """Note what is certain; after an answer that says nothing the attempt stays in doubt."""
    match outcome:
        case Accepted(provider_message_id, status):
            text = (provider_message_id or "").encode()
            # Half an id would be another's: then an event brings it.
            text = text if len(text) <= _TEXT_BYTES_MAX else b""
            _write_answer(memory, offset, status or 202, text, 0)
        case Rejected(_, status, detail, retry_at):
            text = detail.encode()[:_TEXT_BYTES_MAX]
            come_back_at = 0 if retry_at is None else microseconds(retry_at)
            _write_answer(memory, offset, status, text, come_back_at)
        case NotSent():
            memory[offset] = ARMED
        case Unknown():
            pass


def _write_answer(
    memory: mmap.mmap, offset: int, status: int, text: bytes, come_back_at: int
) -> None:
    start = offset + _TEXT_AT
    memory[start : start + len(text)] = text
    now = time.time_ns() // 1000
    _ANSWER.pack_into(memory, offset + _ANSWER_AT, now, come_back_at, status, len(text))
    memory[offset] = ANSWERED


def read_file(file: int, boot: bytes) -> list[Entry] | None:
    """What the slots say; None for a file of another boot, a copy, or no recorder's at all."""
    data = os.pread(file, FILE_BYTES + 1, 0)
    header = _header(boot, os.fstat(file).st_ino)
    if len(data) != FILE_BYTES or not data.startswith(header):
        return None
    starts = range(SLOT_BYTES, FILE_BYTES, SLOT_BYTES)
    found = (read_slot(data[start : start + SLOT_BYTES]) for start in starts if data[start])
    return [entry for entry in found if entry is not None]


def read_slot(slot: bytes) -> Entry | None:
    """What a slot says; None when it is free or says nothing that can be read."""
    stage = slot[0]
    if stage not in (ARMED, LEAVING, ANSWERED):
        return None
    tenant, message, at, attempt = _ATTEMPT.unpack_from(slot, _ATTEMPT_AT)
    outcome: Outcome | None = NotSent("its worker ended first") if stage == ARMED else None
    answered_at = None
    try:
        if stage == ANSWERED:
            outcome, answered_at = _read_answer(slot)
        armed_at = _moment(at)
    except OverflowError:
        return None
    return Entry(UUID(bytes=tenant), UUID(bytes=message), attempt, armed_at, outcome, answered_at)


def _read_answer(slot: bytes) -> tuple[Outcome, datetime]:
    at, retry_at, status, length = _ANSWER.unpack_from(slot, _ANSWER_AT)
    text = slot[_TEXT_AT : _TEXT_AT + length].decode("utf-8", "ignore")
    come_back_at = _moment(retry_at) if retry_at else None
    detail = "" if status == 202 else text
    return classify(status, text or None, detail, retry_at=come_back_at), _moment(at)


def microseconds(at: datetime) -> int:
    """Since 1970, exactly: the database's moments have no finer parts."""
    return (at - _EPOCH) // _MICROSECOND


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
