"""A crash recorder: how far each request of this process has come, kept where kill -9 cannot reach.

A worker that is killed between arming an attempt and recording its outcome leaves the database with
no word of it, so the attempt has to count as perhaps accepted. But most such attempts had not left,
or had been answered. So the process notes each step in a memory-mapped file: what is written there
is the kernel's at once, and outlives the process. Whoever finds the file later reads how far each
request had come; only those truly on the wire stay in doubt.

Who may read: the file is locked (`flock`) for as long as its process lives, stopped or not, and a
lock that is free means that nothing of that process can still be sent. A file of another boot is
not read, since a machine that lost power may have lost pages of it; another machine's is one of
another boot. Nor is a copy. What a slot says holds for the attempt that was armed at exactly that
moment: the same number may have been given again after a rollback.

Source: /proc/sys/kernel/random/boot_id in proc(5); flock(2); mmap(2), MAP_SHARED.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID, uuid4

from psycopg.conninfo import conninfo_to_dict

from outreach import log
from outreach.core.outcome import Outcome
from outreach.recorder_slots import (
    FREE,
    LEAVING,
    SLOT_BYTES,
    SLOTS_MAX,
    Entry,
    Key,
    empty_file,
    microseconds,
    read_file,
    read_slot,
    write_attempt,
    write_outcome,
)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
SUFFIX = ".recorder"
DRAFT_SUFFIX = ".draft"  # not locked yet: nobody may take it for a dead process's
ASIDE_SUFFIX = ".unreadable"
DRAFT_SECONDS_MAX = 60.0

# The parts of an address that say which database it is, and nothing of who asks.
_PLACE = ("service", "host", "hostaddr", "port", "dbname")

_log = log.get("recorder")


class Slot:
    """The place of one attempt; this one keeps nothing."""

    __slots__ = ()

    def leaving(self) -> None:
        """Call just before the request may become whole at the provider.

        Raises ValueError when the recorder is closed: then others may take the attempt for one
        that never left, and it must not leave.
        """

    def answered(self, outcome: Outcome) -> None:
        """Call as soon as the outcome is known."""


class Recorder:
    """Keeps nothing and finds nothing: all goes on without, and a crash leaves more doubt."""

    def arm(self, tenant_id: UUID, armed_at: datetime, attempts: Iterable[Key]) -> None:
        """Give each attempt a slot; call it before the transaction that arms them commits."""

    def slot(self, message_id: UUID, attempt: int) -> Slot:
        """The slot of an attempt; one that keeps nothing when it has none."""
        return NO_SLOT

    def release(self, attempts: Iterable[Key]) -> None:
        """Free the slots of attempts whose outcomes are committed."""

    def lapse(self, attempts: Iterable[Key]) -> None:
        """Nobody here will send these any more, nor record them; `lapsed` says what is known."""

    def lapsed(self) -> list[Entry]:
        """What is known of the attempts that were let lapse."""
        return []

    def graves(self) -> Iterator[Grave]:
        """The files of dead processes, each held for as long as the loop is at it."""
        return iter(())

    def close(self) -> None:
        """End it; what is not released stays for the next process to find."""


NO_SLOT = Slot()
NO_RECORDER = Recorder()


class FileSlot(Slot):
    """The place of one attempt in the file."""

    __slots__ = ("_memory", "offset")

    def __init__(self, memory: mmap.mmap, offset: int) -> None:
        self._memory = memory
        self.offset = offset

    def leaving(self) -> None:
        """From here on a crash leaves the attempt unknown."""
        self._memory[self.offset] = LEAVING

    def answered(self, outcome: Outcome) -> None:
        """Note what is certain."""
        if not self._memory.closed:
            write_outcome(self._memory, self.offset, outcome)


class FileRecorder(Recorder):
    """The recorder of this process, in a file of its own; the same object all its life."""

    def __init__(self, folder: Path, conninfo: str) -> None:
        """Make the file; raises OSError when that cannot be, as on a full disk."""
        self._folder = folder
        self._database = _digest(conninfo)
        self._boot = _boot_id()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path, self._file = _make(folder, self._database, self._boot)
        self._memory = mmap.mmap(self._file, 0)
        self._free = list(range(SLOTS_MAX * SLOT_BYTES, 0, -SLOT_BYTES))
        self._slots: dict[Key, FileSlot] = {}
        self._lapsed: set[Key] = set()
        self._was_full = False

    def arm(self, tenant_id: UUID, armed_at: datetime, attempts: Iterable[Key]) -> None:
        """Give each attempt a slot; without one when all are taken."""
        at = microseconds(armed_at)
        for key in attempts:
            if key in self._slots:
                self.release((key,))  # of a claim that came to nothing
            if not self._free:
                self._tell_full()
                return
            offset = self._free.pop()
            write_attempt(self._memory, offset, tenant_id, at, key)
            self._slots[key] = FileSlot(self._memory, offset)

    def slot(self, message_id: UUID, attempt: int) -> Slot:
        """The slot of an attempt; one that keeps nothing when it has none."""
        return self._slots.get((message_id, attempt), NO_SLOT)

    def release(self, attempts: Iterable[Key]) -> None:
        """Free slots; attempts that have none are passed over."""
        for key in attempts:
            slot = self._slots.pop(key, None)
            if slot is not None and not self._memory.closed:
                self._memory[slot.offset] = FREE
                self._free.append(slot.offset)
        if self._lapsed:
            self._lapsed.intersection_update(self._slots)

    def lapse(self, attempts: Iterable[Key]) -> None:
        """Their slots stay as they are until `release`."""
        self._lapsed.update(key for key in attempts if key in self._slots)

    def lapsed(self) -> list[Entry]:
        """What is known of the attempts that were let lapse."""
        offsets = [self._slots[key].offset for key in self._lapsed]
        slots = [self._memory[offset : offset + SLOT_BYTES] for offset in sorted(offsets)]
        return [entry for slot in slots if (entry := read_slot(slot)) is not None]

    def graves(self) -> Iterator[Grave]:
        """The files of dead processes of this boot that worked on the same database.

        What can be of no use is cleared away: files of another boot, and what is no recorder.
        """
        _clear_drafts(self._folder, self._database)
        for path in sorted(self._folder.glob(f"{self._database}-*{SUFFIX}")):
            file = lock_dead(path)
            if file is None:
                continue
            with Grave(path, file, []) as grave:
                entries = read_file(file, self._boot)
                if entries is None:
                    _log.info("recorder_cleared", file=path.name)
                    grave.bury()
                    continue
                grave.entries = entries
                yield grave

    def close(self) -> None:
        """Remove the file unless something in it is still to be read; nothing may leave after."""
        if self._memory.closed:
            return
        if not self._slots:
            with suppress(FileNotFoundError):
                self.path.unlink()
        self._memory.close()
        os.close(self._file)

    def _tell_full(self) -> None:
        if not self._was_full:
            _log.warning("recorder_full", slots=SLOTS_MAX)
        self._was_full = True


@dataclass(slots=True)
class Grave:
    """What a dead process left, locked against other readers."""

    path: Path
    file: int
    entries: list[Entry]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self.file)

    def bury(self) -> None:
        """All of it is settled: remove the file."""
        with suppress(FileNotFoundError):
            self.path.unlink()

    def set_aside(self) -> None:
        """It cannot be settled: keep the file for people, and read it no more."""
        with suppress(FileNotFoundError):
            self.path.rename(self.path.with_suffix(ASIDE_SUFFIX))


@contextmanager
def open_recorder(state_dir: str, conninfo: str) -> Iterator[Recorder]:
    """The recorder of this process; where none can be made, work goes on without."""
    recorder = NO_RECORDER
    try:
        recorder = FileRecorder(Path(state_dir) / "recorder", conninfo)
    except OSError as error:
        _log.warning("recorder_off", error=str(error))
    try:
        yield recorder
    finally:
        recorder.close()


def _digest(conninfo: str) -> str:
    """Names the database in file names, so that workers of another one leave them alone."""
    found = conninfo_to_dict(conninfo)
    place = "\n".join(str(found.get(part) or "") for part in _PLACE)
    return hashlib.sha256(place.encode()).hexdigest()[:16]


def _boot_id() -> bytes:
    """This boot of this machine; raises OSError where the system has no name for it."""
    return UUID(BOOT_ID.read_text().strip()).bytes


def _make(folder: Path, database: str, boot: bytes) -> tuple[Path, int]:
    """A file of empty slots, locked before anybody can find it; its space is taken up at once."""
    name = f"{database}-{os.getpid()}-{uuid4().hex[:8]}"
    draft, path = folder / f"{name}{DRAFT_SUFFIX}", folder / f"{name}{SUFFIX}"
    file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Zeros are written, since a hole would be filled on first use, and then a full disk is
        # no error but the signal that ends the process.
        left = memoryview(empty_file(boot, os.fstat(file).st_ino))
        while left:
            left = left[os.write(file, left) :]
        draft.rename(path)
    except OSError:
        os.close(file)
        draft.unlink(missing_ok=True)
        raise
    return path, file


def lock_dead(path: Path) -> int | None:
    """The file, open and locked, if its process is dead and no other reader has it."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file).st_ino == path.stat().st_ino:  # else a reader removed it meanwhile
            return file
    except OSError:
        pass
    os.close(file)
    return None


def _clear_drafts(folder: Path, database: str) -> None:
    """Files whose maker died while making them."""
    for path in folder.glob(f"{database}-*{DRAFT_SUFFIX}"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > DRAFT_SECONDS_MAX:
                path.unlink()
