"""What a worker remembers of the database, outside of it: how far it came, and what was armed last.

In memory, for as long as the worker lives, and in a file of `OUTREACH_STATE_DIR`, which the next
worker of this machine reads. A file is a line for each thing learned, and only whole lines count;
its process holds a lock on it, so one that can be locked is a dead worker's. Lines survive a kill
at once (they are in the kernel) and a power cut from the next pulse on, which syncs them.

An attempt need only be noted until a pulse has begun after it: what has the pulse has the attempt,
since recovery and replication keep a prefix of what was committed.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from outreach import log
from outreach.core.fence import Identity
from outreach.ids import new_id
from outreach.recorder import lock_dead

FILE_BYTES_MAX = 256 * 1024
# Older files say nothing: the database forgets pulses some days later (services/sweep).
DAYS_MAX = 30

Attempt = tuple[UUID, UUID, int]  # tenant, message, number

_log = log.get("fence")


@dataclass(slots=True)
class Mark:
    """One worker's memory."""

    worker_id: UUID
    sequence: int = 0
    epoch: int = 0
    at: float = 0.0  # of time.time()
    attempts: list[Attempt] = field(default_factory=list)  # armed since the last pulse began

    def line(self) -> bytes:
        """All of it, as a line of a file."""
        attempts = [[str(tenant), str(message), n] for tenant, message, n in self.attempts]
        known = {"sequence": self.sequence, "epoch": self.epoch, "at": self.at}
        return json.dumps({**known, "attempts": attempts}).encode() + b"\n"


class Marks:
    """Our own mark and, of other workers of this machine, their files; for one process."""

    def __init__(self, folder: Path | None) -> None:
        self.own = Mark(new_id())
        self._folder = folder
        self._file: int | None = None
        self._identity: Identity | None = None

    def note(self, tenant_id: UUID, message_id: UUID, attempt: int) -> None:
        """Remember one attempt of a batch whose claim has committed; before its request begins."""
        self.own.attempts.append((tenant_id, message_id, attempt))
        if self._file is not None:
            line = json.dumps({"attempt": [str(tenant_id), str(message_id), attempt]})
            self._write(line.encode() + b"\n")

    def pulsed(self, identity: Identity, sequence: int, epoch: int, covered: int) -> None:
        """A pulse has committed, which began when `covered` attempts were noted."""
        own = self.own
        own.sequence, own.epoch, own.at = sequence, epoch, time.time()
        del own.attempts[:covered]
        if self._folder is not None:
            self._keep(identity)

    def sync(self) -> None:
        """Have the disk keep what was written; slow, for a thread."""
        if self._file is not None:
            os.fsync(self._file)

    def others(self, identity: Identity) -> list[Mark]:
        """What the files of other workers say of this database, dead ones and living."""
        oldest = time.time() - DAYS_MAX * 86_400
        found = [_read(path) for path in self._paths(identity)]
        return [mark for mark in found if mark is not None and mark.at > oldest]

    def forget_dead(self, identity: Identity) -> None:
        """Remove the files of dead workers; our own mark says all that theirs did, and more.

        Of other databases only what is too old to say anything.
        """
        oldest = time.time() - DAYS_MAX * 86_400
        others = () if self._folder is None else self._folder.glob("mark-*.jsonl")
        old = (path for path in others if _changed_at(path) < oldest)
        for path in {*self._paths(identity), *old}:
            file = lock_dead(path)
            if file is not None:
                path.unlink(missing_ok=True)
                os.close(file)

    def close(self) -> None:
        """Let go of our file; it stays, for whoever comes next."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _paths(self, identity: Identity) -> Iterator[Path]:
        if self._folder is None or not self._folder.is_dir():
            return
        pattern = f"mark-{identity.system_identifier}-{identity.database}-*.jsonl"
        ours = f"-{self.own.worker_id}.jsonl"
        yield from (path for path in self._folder.glob(pattern) if not path.name.endswith(ours))

    def _keep(self, identity: Identity) -> None:
        """Add the mark to its file, in a new one where there is none yet or it is long."""
        of_which = (identity.system_identifier, identity.database)
        before = self._identity
        is_same = before is not None and of_which == (before.system_identifier, before.database)
        if self._file is None or not is_same or os.fstat(self._file).st_size > FILE_BYTES_MAX:
            self._begin(identity)
        else:
            self._write(self.own.line())

    def _begin(self, identity: Identity) -> None:
        """Write a new file and put it in place of the old one, locked from its first moment on."""
        assert self._folder is not None
        name = f"mark-{identity.system_identifier}-{identity.database}-{self.own.worker_id}"
        draft = self._folder / f"{name}.draft"
        file = -1
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX)
            os.write(file, self.own.line())
            draft.rename(self._folder / f"{name}.jsonl")
        except OSError as error:
            if file >= 0:
                os.close(file)
            self._give_up(error)
            return
        self.close()
        self._file, self._identity = file, identity

    def _write(self, line: bytes) -> None:
        assert self._file is not None
        try:
            os.write(self._file, line)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Go on with what memory keeps: better than not sending at all."""
        _log.warning("marks are kept in memory only", error=" ".join(str(error).split()))
        self.close()
        self._folder = None


def _read(path: Path) -> Mark | None:
    """The mark that a file holds, of its whole lines; None where it holds none."""
    try:
        worker_id = UUID(path.stem[-36:])
        lines = path.read_bytes().split(b"\n")[:-1]
    except (ValueError, OSError):
        return None
    mark = Mark(worker_id)
    for line in lines:
        try:
            _learn(mark, json.loads(line))
        except (ValueError, KeyError, TypeError):
            continue
    return mark if mark.sequence else None


def _learn(mark: Mark, said: dict[str, object]) -> None:
    match said:
        case {"attempt": [str(tenant), str(message), int(number)]}:
            mark.attempts.append((UUID(tenant), UUID(message), number))
        case {"sequence": int(sequence), "epoch": int(epoch), "attempts": list(attempts)}:
            noted = [(UUID(tenant), UUID(message), int(n)) for tenant, message, n in attempts]
            mark.attempts, mark.sequence, mark.epoch = noted, sequence, epoch
            mark.at = float(str(said["at"]))


def _changed_at(path: Path) -> float:
    """When the file was last written; one that is gone was never old."""
    try:
        return path.stat().st_mtime
    except OSError:
        return math.inf
