"""PostgreSQL clusters that a test copies, rewinds, promotes and replaces; beside the shared server.

They are started by `pg_ctl` and not by our keeper, which would bring back what a test takes away.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString

import psycopg

from outreach.dev.postgres_programs import Account, account_for, programs_for
from outreach.migrate import migrate
from tests.support.database import OWNER, chosen_programs

DATABASE = "outreach"
SUPERUSER = ("-U", "postgres")
ENCODING = ("-E", "UTF8", "--locale=C")
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "timezone": "UTC",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "wal_level": "replica",
    "max_wal_senders": "4",
    "hot_standby": "on",
    "wal_log_hints": "on",
}


class Yard:
    """A folder with clusters in it, and the account that runs them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.account: Account | None = account_for(home / "nothing")
        self.programs = programs_for(chosen_programs(), self.account)
        self._give(home)
        self.archive = self.folder("archive")

    def folder(self, name: str) -> Path:
        """A new folder that the account owns."""
        path = self.home / name
        path.mkdir(mode=0o700)
        self._give(path)
        return path

    def _give(self, path: Path) -> None:
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid, follow_symlinks=False)

    def do(self, program: str, *words: str | Path) -> None:
        """Run one of PostgreSQL's programs to its end."""
        command = [str(self.programs / program), *map(str, words)]
        who = {}
        if self.account is not None:
            who = {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        # To files, not pipes: a server started here would hold them open.
        with (self.home / "said").open("ab") as said:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd="/",
                env={**kept, "LC_ALL": "C"},
                check=False,
                **who,
            )
        assert done.returncode == 0, f"{command}: {(self.home / 'said').read_text()[-3000:]}"

    def copy_stopped(self, source: Path, target: Path) -> None:
        """Copy the data of a stopped cluster, or of a backup."""
        shutil.copytree(source, target, symlinks=True)
        for path in (target, *target.rglob("*")):
            self._give(path)

    def init(self, cluster: Cluster) -> None:
        """Make an empty cluster."""
        self.do("initdb", "-D", cluster.data, *SUPERUSER, "-A", "trust", "-N", *ENCODING)

    def new(self, name: str) -> Cluster:
        """A running cluster with our migrated database, whose owner is no superuser."""
        cluster = Cluster(self, name)
        self.init(cluster)
        cluster.start()
        cluster.administer(f"create role {OWNER} login createrole")
        cluster.administer(f"create database {DATABASE} owner {OWNER}")
        migrate(cluster.conninfo())
        return cluster

    def like(self, template: Path, name: str) -> Cluster:
        """A running copy of a stopped cluster's data."""
        cluster = Cluster(self, name)
        self.copy_stopped(template, cluster.data)
        cluster.start()
        return cluster


class Cluster:
    """One data folder, and the server on it."""

    def __init__(self, yard: Yard, name: str) -> None:
        self.yard = yard
        self.name = name
        self.data = yard.home / name
        self.socket = yard.folder(f"{name}-run")

    def conninfo(self, database: str = DATABASE, *, user: str = OWNER) -> str:
        return f"postgresql://{user}@/{database}?host={self.socket}"

    def start(self, **settings: str) -> None:
        """Start it and wait until it answers."""
        archive = f"test -f {self.yard.archive}/%f || cp %p {self.yard.archive}/%f"
        ours = {"unix_socket_directories": str(self.socket), "archive_mode": "on"}
        given = SETTINGS | ours | {"archive_command": archive} | settings
        options = " ".join(f"-c {name}='{value}'" for name, value in given.items())
        log = self.yard.home / f"{self.name}.log"
        self.yard.do("pg_ctl", "start", "-w", "-D", self.data, "-l", log, "-o", options)

    def stop(self, mode: str = "fast") -> None:
        self.yard.do("pg_ctl", "stop", "-w", "-D", self.data, "-m", mode)

    def promote(self) -> None:
        self.yard.do("pg_ctl", "promote", "-w", "-D", self.data)

    def copy(self, name: str, *words: str) -> Cluster:
        """A copy of the running cluster, not started."""
        copy = Cluster(self.yard, name)
        how = ("-h", self.socket, *SUPERUSER, "-c", "fast", "-N", *words)
        self.yard.do("pg_basebackup", "-D", copy.data, *how)
        return copy

    def replace_data(self, source: Path) -> None:
        """Put a stopped cluster's copied data in place of ours, which is stopped."""
        shutil.rmtree(self.data)
        self.yard.copy_stopped(source, self.data)

    def administer(self, statement: str) -> None:
        with psycopg.connect(self.conninfo("postgres", user="postgres"), autocommit=True) as c:
            c.execute(statement.encode())

    def ask(self, question: LiteralString) -> object:
        """The one value of a question, as the superuser."""
        with psycopg.connect(self.conninfo(user="postgres"), autocommit=True) as connection:
            row = connection.execute(question).fetchone()
        return None if row is None else row[0]


@contextmanager
def yard() -> Iterator[Yard]:
    """A yard whose servers end with the block."""
    home = Path(tempfile.mkdtemp(prefix="outreach-yard-"))
    home.chmod(0o755)
    found = Yard(home)
    try:
        yield found
    finally:
        for data in home.iterdir():
            if (data / "postmaster.pid").exists():
                found.do("pg_ctl", "stop", "-w", "-D", data, "-m", "immediate")
        shutil.rmtree(home)
