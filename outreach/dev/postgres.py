"""A real PostgreSQL server for `demo`, `dev` and the tests: no Docker, no system service.

A home folder has at most one server. The first `LocalPostgres` to start there starts it, those
that come later, in this process or another, share it, and it stops with the last of them, killed
ones included. A small process of its own sees to that: `dev.postgres_keeper`.

It listens on a unix socket in a private folder and on nothing else. Production never uses it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, TracebackType
from urllib.parse import quote

from outreach.core.errors import Unavailable
from outreach.dev.postgres_place import Place, make_place
from outreach.dev.postgres_programs import find_programs, programs_for, version_of

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        "cluster_name": "outreach",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "jit": "off",
        "max_connections": "200",
    }
)
# For tests: a crash of the machine may lose data, a crash of the server does not. That is why
# synchronous_commit stays on: off, it would lose commits to a kill, and without fsync gains little.
FAST_SETTINGS: Mapping[str, str] = MappingProxyType({"fsync": "off", "full_page_writes": "off"})
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})
KEEPER = Path(__file__).with_name("postgres_keeper.py")
# A restart retries for 60 s, and before it the previous server may need 30 s to stop.
ANSWER_SECONDS_MAX = 100.0
LOG_BYTES_MAX = 10_000_000


class LocalPostgres:
    """One user's hold on the server of a home folder; not for use by several threads at once.

    `settings` are the server's own names and values. They count for whoever starts the server; a
    later user takes it as it is.
    """

    def __init__(
        self,
        home: Path,
        *,
        programs: Path | None = None,
        settings: Mapping[str, str] = NO_SETTINGS,
    ) -> None:
        self._home = home
        self._programs = programs or find_programs()
        self._settings = {**SETTINGS, **settings}
        self._lease: socket.socket | None = None
        self._is_owner = False

    @cached_property
    def version(self) -> str:
        """The programs' version, for example 18.6."""
        return version_of(self._programs)

    @cached_property
    def place(self) -> Place:
        """Where the files are: below the home unless root's account cannot enter it."""
        return make_place(self._home)

    @property
    def is_owner(self) -> bool:
        """Whether this object started the server, rather than joined it."""
        return self._is_owner

    def start(self) -> LocalPostgres:
        """Return with the server up and accepting connections; again, changes nothing."""
        self.ensure_alive()
        return self

    def ensure_alive(self) -> None:
        """Return with the server up again, whatever was killed meanwhile: it, or its keeper."""
        try:
            self._check_major()
            if self._lease is None or self._ask(self._lease) != "ready":
                self._join()
        except OSError as error:
            self._release()
            raise Unavailable(f"The local PostgreSQL in {self._home}: {error}") from error

    def stop(self) -> None:
        """Give up our hold; if nobody else has one, return when the server has stopped."""
        if self._lease is None:
            return
        with self._lease as lease, contextlib.suppress(OSError):
            lease.shutdown(socket.SHUT_WR)
            while lease.recv(4096):
                pass
        self._lease = None
        self._is_owner = False

    def conninfo(self, database: str = "postgres", *, user: str = "postgres") -> str:
        """How psycopg connects to a database of this server, by default as its superuser."""
        host = quote(str(self.place.run))
        return f"postgresql://{quote(user)}@/{quote(database)}?host={host}"

    def __enter__(self) -> LocalPostgres:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _join(self) -> None:
        """Take a lease from the keeper, or from a new one where it is just leaving."""
        self._release()
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        while True:
            with self._start_lock():
                self._lease = self._shared() or self._own()
            answer = self._answer(self._lease)
            if answer == "ready":
                return
            self._release()
            if answer.startswith("error"):
                raise Unavailable(f"PostgreSQL did not start: {answer[6:]} (see {self.place.log})")
            if time.monotonic() > deadline:
                raise Unavailable(f"PostgreSQL's keeper does not stay up (see {self.place.log})")

    def _shared(self) -> socket.socket | None:
        lease = _unix_socket()
        try:
            lease.connect(str(self.place.keeper_socket))
        except (FileNotFoundError, ConnectionError):
            lease.close()
            return None
        self._is_owner = False
        return lease

    def _own(self) -> socket.socket:
        """Start a keeper; our lease waits in its queue already, so it never sees itself unused."""
        path = self.place.keeper_socket
        path.unlink(missing_ok=True)
        with _unix_socket() as listener:
            listener.bind(str(path))
            listener.listen(64)
            if account := self.place.account:
                os.chown(path, account.uid, account.gid, follow_symlinks=False)
            self._lease = lease = _unix_socket()
            lease.connect(str(path))
            self._spawn_keeper(listener)
        self._is_owner = True
        return lease

    def _spawn_keeper(self, listener: socket.socket) -> None:
        place = self.place
        if place.log.exists() and place.log.stat().st_size > LOG_BYTES_MAX:
            place.log.unlink()
        flags = os.O_RDWR | os.O_CREAT
        log = os.open(place.log, flags | os.O_APPEND, 0o600)
        lock = os.open(place.home / "keeper.lock", flags, 0o600)
        try:
            orders = self._orders(listener.fileno(), lock)
            subprocess.run(
                [sys.executable, "-I", "-S", str(KEEPER), json.dumps(orders)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(listener.fileno(), lock),
                env=_environment(),
                cwd="/",
                start_new_session=True,  # Ctrl-C is for the app, which then lets go of us
                check=True,
            )
        except subprocess.CalledProcessError as error:
            raise Unavailable(f"PostgreSQL's keeper does not start (see {place.log})") from error
        finally:
            os.close(log)
            os.close(lock)

    def _orders(self, listener: int, lock: int) -> dict[str, object]:
        place = self.place
        programs = programs_for(self._programs, place.account)
        settings = {**self._settings, "unix_socket_directories": str(place.run)}
        arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        data = str(place.data)
        return {
            "listener": listener,
            "lock": lock,
            "account": place.account and [place.account.uid, place.account.gid],
            "data": data,
            "draft": str(place.draft),
            "socket": str(place.server_socket),
            "initdb": [str(programs / "initdb"), "-D", str(place.draft), *self._initdb_options()],
            "postgres": [str(programs / "postgres"), "-D", data, *arguments],
            "stop": [str(programs / "pg_ctl"), "stop", "-D", data, "-m", "fast", "-w"],
        }

    def _initdb_options(self) -> list[str]:
        """The same collation on every machine, so no upgrade of its C library spoils an index."""
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-instructions", "--locale=C"]
        if self._major >= 17:
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if self._settings.get("fsync") == "off":
            options.append("--no-sync")
        return options

    @property
    def _major(self) -> int:
        return int(self.version.split(".")[0])

    def _check_major(self) -> None:
        major = self.place.major
        if major is not None and major != self._major:
            raise Unavailable(
                f"{self.place.data} belongs to PostgreSQL {major}, the programs in "
                f"{self._programs} are {self.version}. Choose another home, or dump the data with "
                f"PostgreSQL {major} and delete the folder; it was not touched."
            )

    @contextlib.contextmanager
    def _start_lock(self) -> Iterator[None]:
        with (self.place.home / "start.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _ask(self, lease: socket.socket) -> str:
        try:
            lease.sendall(b"?\n")
        except ConnectionError:
            return ""
        return self._answer(lease)

    def _answer(self, lease: socket.socket) -> str:
        """One line from the keeper, or nothing from one that is gone."""
        said = b""
        while not said.endswith(b"\n"):
            try:
                piece = lease.recv(8192)
            except ConnectionError:
                piece = b""
            if not piece:
                return ""
            said += piece
        return said.decode(errors="replace").strip()

    def _release(self) -> None:
        if self._lease is not None:
            self._lease.close()
        self._lease = None
        self._is_owner = False


def _unix_socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(ANSWER_SECONDS_MAX)
    return made


def _environment() -> dict[str, str]:
    """Ours without what would steer PostgreSQL, and with messages in English."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C"}
