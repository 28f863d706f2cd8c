"""The process that holds one local PostgreSQL server for as long as anybody uses it.

Each user holds a connection to the keeper's socket, its lease. The kernel closes a lease when its
user goes, however it goes, so the keeper needs no list of process ids: with the last lease gone it
stops the server and ends. It starts the server anew when that crashes. Should the keeper itself
be killed, Linux sends the server SIGINT, its fast shutdown (elsewhere the next keeper does it).

On a lease `ready` goes out after it was opened and in answer to every line that comes in, and
`error ...` when the server cannot be started.

`dev.postgres` runs this file as a script with its orders as JSON. It imports the standard library
alone, starts in a few hundredths of a second, and drops root's rights for good before anything else
happens; so what it starts needs no change of account, which would clear the parent-death signal.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

RESTART_SECONDS_MAX = 60.0
RESTART_PAUSE_SECONDS = 0.25
STOP_SECONDS_MAX = 30.0
LOG = 2  # standard error; opened for reading too, to quote the reason of a failed start
PR_SET_PDEATHSIG = 1
# After a crash the old server's last processes, or its lock file, may outlive it for a moment.
PASSING = ("is still in use", "lock file", "could not bind Unix address")


class StartError(Exception):
    """PostgreSQL does not start; the message is what it said."""


class Server:
    """One PostgreSQL server that is our child."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self._orders = orders
        self._data = Path(orders["data"])
        self._libc = ctypes.CDLL(None)
        self._pid = os.getpid()
        self._process: subprocess.Popen[bytes] | None = None

    def initialise(self) -> None:
        """Make the data folder if there is none; a killed attempt leaves only its draft."""
        if self._data.exists():
            return
        log_bytes = os.fstat(LOG).st_size
        draft = self._orders["draft"]
        subprocess.run(["rm", "-rf", draft], check=True)
        if subprocess.run(self._orders["initdb"], stdin=subprocess.DEVNULL, check=False).returncode:
            raise StartError(_said_since(log_bytes))
        Path(draft).rename(self._data)

    def ensure(self) -> None:
        """Return once the server accepts connections, starting it if it is down."""
        deadline = time.monotonic() + RESTART_SECONDS_MAX
        while self._process is None or self._process.poll() is not None:
            log_bytes = os.fstat(LOG).st_size
            if self._start():
                return
            said = _said_since(log_bytes)
            if time.monotonic() > deadline or not any(reason in said for reason in PASSING):
                raise StartError(said)
            time.sleep(RESTART_PAUSE_SECONDS)

    def stop(self) -> None:
        """Roll back, write a checkpoint and end; after too long a time, end at once."""
        if self._process is None:
            return
        for order in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            self._process.send_signal(order)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS_MAX)
                return

    def end_stray(self) -> None:
        """Stop a server whose keeper was killed, where the kernel does not do it for us.

        Only a server that answers: the process id of a dead one may be somebody else's by now.
        """
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(self._orders["socket"])
            subprocess.run(self._orders["stop"], stdin=subprocess.DEVNULL, check=False)

    def _start(self) -> bool:
        self._process = subprocess.Popen(
            self._orders["postgres"], stdin=subprocess.DEVNULL, preexec_fn=self._die_with_keeper
        )
        while self._process.poll() is None:
            if self._is_ready(self._process.pid):
                return True
            time.sleep(0.01)
        return False

    def _is_ready(self, pid: int) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _die_with_keeper(self) -> None:
        if sys.platform == "linux":
            self._libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGINT))
            if os.getppid() != self._pid:  # the keeper died before the signal was armed
                os._exit(1)


class Keeper:
    """The leases on one server."""

    def __init__(self, listener: socket.socket, server: Server) -> None:
        self._listener = listener
        self._server = server
        self._selector = selectors.DefaultSelector()
        self._leases: set[socket.socket] = set()
        self._leaving: list[socket.socket] = []
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)

    def serve(self) -> None:
        """Keep the server up until the last lease is gone, then stop it and only then let go."""
        try:
            self._server.end_stray()
            self._server.initialise()
            self._server.ensure()
            while self._turn():
                pass
            self._listener.close()
        except StartError as error:
            self._refuse(str(error))
        finally:
            self._server.stop()

    def _turn(self) -> bool:
        """Hear everybody out, look after the server, answer; false when nobody is left."""
        asking = self._hear(RESTART_PAUSE_SECONDS)
        if not self._leases:
            asking = self._hear(0)  # somebody may have come while the last one left
            if not self._leases:
                return False
        self._server.ensure()
        for lease in asking:
            _tell(lease, "ready")
        for lease in self._leaving:
            lease.close()
        self._leaving.clear()
        return True

    def _hear(self, timeout_seconds: float) -> list[socket.socket]:
        asking = []
        for key, _ in self._selector.select(timeout_seconds):
            if key.fileobj is self._listener:
                asking.append(self._accept())
                continue
            lease = key.fileobj
            assert isinstance(lease, socket.socket)
            if _has_asked(lease):
                asking.append(lease)
            else:
                self._selector.unregister(lease)
                self._leases.discard(lease)
                self._leaving.append(lease)
        return asking

    def _accept(self) -> socket.socket:
        lease, _ = self._listener.accept()
        self._leases.add(lease)
        self._selector.register(lease, selectors.EVENT_READ)
        return lease

    def _refuse(self, reason: str) -> None:
        self._hear(0)
        self._listener.close()
        for lease in self._leases:
            _tell(lease, f"error {reason}")


def _has_asked(lease: socket.socket) -> bool:
    try:
        return bool(lease.recv(4096))
    except ConnectionError:
        return False


def _tell(lease: socket.socket, line: str) -> None:
    with contextlib.suppress(OSError):  # its user is gone; the next turn notices
        lease.sendall(" ".join(line.split()).encode() + b"\n")


def _said_since(log_bytes: int) -> str:
    return os.pread(LOG, 4000, log_bytes).decode(errors="replace")


def _drop_rights(account: list[int]) -> None:
    uid, gid = account
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _end(*_: object) -> NoReturn:
    raise SystemExit(0)


def main() -> None:
    """Leave the caller's process tree, drop root's rights, wait for the last keeper, keep."""
    orders = json.loads(sys.argv[1])
    if os.fork():
        os._exit(0)  # the caller waits for this one only, and never has to reap the keeper
    if orders["account"] is not None:
        _drop_rights(orders["account"])
    os.umask(0o077)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    listener = socket.socket(fileno=orders["listener"])
    fcntl.flock(
        orders["lock"], fcntl.LOCK_EX
    )  # one keeper at a time; the last may still be stopping
    Keeper(listener, Server(orders)).serve()


if __name__ == "__main__":
    main()
