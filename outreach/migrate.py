"""Schema migrations: yoyo's files and tables, inside guards that survive a kill at any moment.

What yoyo leaves open, and what closes it:

- its lock is a row that a killed process leaves behind: the lock is an advisory lock of a session,
  and whoever holds that clears the row, and ends the statements that the dead one left running;
- its mark is committed after the migration: ours (`schema_marks`) is part of the migration's own
  transaction, and the next run puts yoyo's right by it;
- it keeps no checksum: ours holds the file's SHA-256, and an edited file is refused.

Rollbacks likewise. A file that is `transactional: false` has no transaction to carry the mark; it
must be written so that running it again does no harm.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlencode

import psycopg
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from yoyo import get_backend, read_migrations
from yoyo.migrations import MigrationStep

from outreach.core.errors import Conflict, NotFound, Refused, Unavailable
from outreach.sql import load

SQL = load(__file__)

LOCK_KEY = 0x6F75_7472_6561_6368  # "outreach"
LOCK_POLL_SECONDS = 0.1
LOCK_SECONDS_MAX = 600.0
# A migration that waits for a busy table makes everybody queue behind it; it gives up instead.
LOCK_TIMEOUT = "10s"
APPLICATION = "outreach-migrate"

MARKS = """
create table if not exists schema_marks (
  id text primary key,
  sha256 bytea not null check (length(sha256) = 32),
  applied_at timestamptz not null,
  rolled_back_at timestamptz
)
"""
# Whether the schema is current is asked by every process, and is no secret.
MARKS_READERS = "grant select on schema_marks to public"


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """What of the files the database has."""

    applied: tuple[str, ...]
    head: str | None  # the newest file
    pending: tuple[str, ...]
    edited: tuple[str, ...]  # applied, and the file is another one now

    @property
    def is_current(self) -> bool:
        """Whether this code finds all it needs; the database may be ahead of it."""
        return not self.pending and not self.edited

    @property
    def problem(self) -> str:
        """A sentence on why it is not current, and what helps."""
        if self.edited:
            return (
                f"The database was migrated from other files than these: {', '.join(self.edited)}"
                " differ. Run the version of Outreach that migrated it."
            )
        return (
            f"The database's schema is behind: it lacks {', '.join(self.pending)}."
            " Run `outreach migrate`."
        )


@dataclass(frozen=True, slots=True)
class _Marks:
    """What both records say before anything is put right."""

    ours: Mapping[str, bytes]  # applied, by our record
    yoyo: frozenset[str]
    rolled_back: frozenset[str]
    by_hand: frozenset[str]  # rolled back with yoyo's own command

    @property
    def applied(self) -> frozenset[str]:
        """The truth: our record, and what only yoyo's own command has done."""
        return frozenset(self.ours) - self.by_hand | (self.yoyo - self.rolled_back)


def migrations_folder() -> Path:
    """Where the files are: inside the installed package, or beside it in a checkout."""
    packed = Path(__file__).with_name("_migrations")
    return packed if packed.is_dir() else Path(__file__).parents[1] / "migrations"


def migrate(conninfo: str, *, to: str | None = None, folder: Path | None = None) -> list[str]:
    """Apply what is missing, up to and including `to`; the ids applied, oldest first.

    Several at once are safe: one works, the others wait and find it done. Raises Conflict when an
    applied file was edited, Unavailable when the server or a table's lock does not come in time.
    """
    files = _read(folder)
    last = _index_of(files, to) if to is not None else len(files) - 1
    with _session(conninfo) as session, _yoyo_lock(session, conninfo) as backend:
        marks = _reconcile(session, backend, files)
        missing = [m for m in files[: last + 1] if m.id not in marks.applied]
        for migration in missing:
            session.execute("select 1")  # lost with the lock: then somebody else may be at work
            backend.apply_one(_marking(migration))
    return [str(migration.id) for migration in missing]


def rollback(conninfo: str, *, to: str | None = None, folder: Path | None = None) -> list[str]:
    """Take back, newest first, all that came after `to` (everything by default); the ids.

    Raises Conflict when the database has a migration that this code has no file for.
    """
    files = _read(folder)
    first = _index_of(files, to) + 1 if to is not None else 0
    with _session(conninfo) as session, _yoyo_lock(session, conninfo) as backend:
        marks = _reconcile(session, backend, files)
        if unknown := sorted(marks.applied - {m.id for m in files}):
            raise Conflict(
                "migration", unknown[-1], expected="known to this code", actual="of a newer one"
            )
        present = [m for m in reversed(files[first:]) if m.id in marks.applied]
        for migration in present:
            session.execute("select 1")
            backend.rollback_one(_marking(migration))
    return [str(migration.id) for migration in present]


def status(conninfo: str, *, folder: Path | None = None) -> SchemaStatus:
    """Compare files and database; changes nothing, and needs no rights but to read."""
    files = _read(folder)
    with _connection(conninfo) as session:
        marks = _read_marks(session)
    return SchemaStatus(
        applied=tuple(sorted(marks.applied)),
        head=files[-1].id if files else None,
        pending=tuple(m.id for m in files if m.id not in marks.applied),
        edited=_edited(files, marks),
    )


def known_migrations(folder: Path | None = None) -> dict[str, bytes]:
    """The files' ids, oldest first, and checksums."""
    return {str(m.id): _checksum(m) for m in _read(folder)}


def _read(folder: Path | None) -> list[Any]:
    """yoyo's migrations in their order, not parsed yet: every command asks for the status."""
    found = read_migrations(escape(str(folder or migrations_folder())))
    return sorted(found, key=lambda m: m.id)


def _index_of(files: Sequence[Any], name: str) -> int:
    """Where a migration stands, by its id or its number."""
    for index, migration in enumerate(files):
        if name in (migration.id, migration.id.partition(".")[0]):
            return index
    raise NotFound("migration", name)


def _checksum(migration: Any) -> bytes:
    """Over the file, and over those in the folder that is named as it is."""
    path = Path(migration.path)
    folder = path.with_name(migration.id.partition(".")[2])
    found = hashlib.sha256(path.read_bytes())
    for extra in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if extra.is_file() and extra.suffix != ".pyc":
            found.update(extra.read_bytes())
    return found.digest()


def _edited(files: Sequence[Any], marks: _Marks) -> tuple[str, ...]:
    return tuple(m.id for m in files if m.id in marks.ours and marks.ours[m.id] != _checksum(m))


def _marking(migration: Any) -> Any:
    """The migration with our mark as its last step, and as the last of its rollback."""
    migration.load()
    key = {"id": migration.id}

    def mark(connection: Connection[Any]) -> None:
        at = {"at": datetime.now(UTC), "sha256": _checksum(migration)}
        connection.execute(SQL["mark_applied"], key | at)

    def unmark(connection: Connection[Any]) -> None:
        connection.execute(SQL["mark_rolled_back"], key | {"at": datetime.now(UTC)})

    steps = migration.steps
    migration.steps = [MigrationStep(-1, None, unmark), *steps, MigrationStep(-2, mark, None)]
    return migration


def _read_marks(session: Connection[Any]) -> _Marks:
    has_ours, has_yoyo, has_log = _row(session, SQL["find_tables"])
    ours = session.execute(SQL["list_marks"]).fetchall() if has_ours else []
    by_hand = _column(session, SQL["list_rolled_back_by_hand"]) if has_ours and has_log else []
    yoyo = frozenset(_column(session, SQL["list_yoyo_marks"]) if has_yoyo else ())
    return _Marks(
        ours={id: bytes(digest) for id, digest, gone_at in ours if gone_at is None},
        yoyo=yoyo,
        rolled_back=frozenset(id for id, _, gone_at in ours if gone_at is not None),
        by_hand=frozenset(by_hand) - yoyo,
    )


def _reconcile(session: Connection[Any], backend: Any, files: Sequence[Any]) -> _Marks:
    """Make both records say the truth again after a kill between them; raises Conflict on edits."""
    marks = _read_marks(session)
    if edited := _edited(files, marks):
        raise Conflict(
            "migration", edited[0], expected="as it was applied", actual="edited since then"
        )
    by_id = {m.id: m for m in files}
    applied = marks.applied
    backend.mark_migrations(_known(by_id, applied - marks.yoyo))
    backend.unmark_migrations(_known(by_id, marks.yoyo - applied))
    now = datetime.now(UTC)
    for migration in _known(by_id, applied - set(marks.ours)):
        seen = {"id": migration.id, "sha256": _checksum(migration), "at": now}
        session.execute(SQL["mark_applied"], seen)
    for gone in marks.by_hand:
        session.execute(SQL["mark_rolled_back"], {"id": gone, "at": now})
    return marks


def _known(by_id: Mapping[str, Any], ids: Collection[str]) -> list[Any]:
    return [by_id[id] for id in sorted(ids) if id in by_id]


@contextlib.contextmanager
def _session(conninfo: str) -> Iterator[Connection[Any]]:
    """A connection that holds the migration lock, with nothing of a dead migrator left running."""
    deadline = time.monotonic() + LOCK_SECONDS_MAX
    with _connection(conninfo) as session:
        while not _row(session, SQL["try_lock"], key=LOCK_KEY)[0]:
            _wait_until(deadline, "Another migration is running on this database.")
        while session.execute(SQL["end_orphans"], {"application": APPLICATION}).fetchall():
            _wait_until(deadline, "A migration that was killed does not end.")
        session.execute(MARKS)
        session.execute(MARKS_READERS)
        yield session


def _wait_until(deadline: float, what: str) -> None:
    if time.monotonic() > deadline:
        raise Unavailable(what, 60.0)
    time.sleep(LOCK_POLL_SECONDS)


@contextlib.contextmanager
def _connection(conninfo: str) -> Iterator[Connection[Any]]:
    """A connection of ours; what the server refuses in it comes out as one of our errors."""
    name = f"{APPLICATION}-lock"
    target = make_conninfo(conninfo, application_name=name, connect_timeout=10)
    try:
        with contextlib.closing(psycopg.connect(target, autocommit=True)) as session:
            yield session
    except psycopg.errors.LockNotAvailable as error:
        raise Unavailable(
            f"A migration waited {LOCK_TIMEOUT} for a busy table and was taken back whole.", 30.0
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        reason = error.diag.message_primary
        raise Refused(
            "migration_rights",
            f"The role of DATABASE_DIRECT_URL must own the database and may need to create roles:"
            f" {reason}.",
        ) from error
    except psycopg.OperationalError as error:
        raise Unavailable(f"The database does not answer: {str(error).strip()}", 5.0) from error


@contextlib.contextmanager
def _yoyo_lock(session: Connection[Any], conninfo: str) -> Iterator[Any]:
    """yoyo at work, under its own lock too, for those who use its command beside ours."""
    assert not session.closed, "yoyo's lock is broken only under ours"
    with get_backend(_yoyo_url(conninfo)) as backend:
        backend.get_log_data = _log_data
        backend.break_lock()
        # yoyo prints what a statement returns, which would end up in our JSON.
        with backend.lock(timeout=5), contextlib.redirect_stdout(io.StringIO()):
            yield backend


def _yoyo_url(conninfo: str) -> str:
    """The same target in yoyo's words: everything in the query, since it decodes only that."""
    given = conninfo_to_dict(conninfo)
    options = f"{given.get('options', '')} -c lock_timeout={LOCK_TIMEOUT}".strip()
    given |= {"options": options, "application_name": APPLICATION, "connect_timeout": 10}
    return f"postgresql+psycopg:///?{urlencode(given)}"


def _log_data(migration: Any = None, operation: str = "apply") -> dict[str, object]:
    """yoyo's log row without user and host: it looks up both, which a container may not have."""
    return {
        "id": str(uuid.uuid4()),
        "migration_id": migration and migration.id,
        "migration_hash": migration and migration.hash,
        "username": "outreach",
        "hostname": "",
        "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
        "operation": operation,
    }


def _row(session: Connection[Any], query: LiteralString, **params: object) -> Any:
    row = session.execute(query, params or None).fetchone()
    assert row is not None, "a query for one row found none"
    return row


def _column(session: Connection[Any], query: LiteralString) -> list[Any]:
    return [row[0] for row in session.execute(query).fetchall()]
