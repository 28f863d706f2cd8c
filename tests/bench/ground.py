"""What measurements stand on: a durable PostgreSQL, a stand-in provider, and the CPU they took."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from psycopg import sql

from outreach.dev.postgres import LocalPostgres
from outreach.migrate import migrate

TICKS = os.sysconf("SC_CLK_TCK")
SERVER_SETTINGS = {
    "shared_preload_libraries": "pg_stat_statements",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
}
READY_SECONDS_MAX = 5.0


@dataclass(frozen=True, slots=True)
class Ground:
    """A server with its usual durability, our migrated database on it, and room for files."""

    server: LocalPostgres
    conninfo: str
    folder: Path

    def create_database(self, name: str) -> str:
        """Another one with statements counted; its address."""
        with psycopg.connect(self.server.conninfo(), autocommit=True) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        conninfo = self.server.conninfo(name)
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute("create extension pg_stat_statements")
        return conninfo


@dataclass(frozen=True, slots=True)
class StandIn:
    """A process that takes mail in the provider's place and says nothing more."""

    name: str
    url: str
    pid: int

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextmanager
def ground() -> Iterator[Ground]:
    """A server of our own, gone afterwards."""
    with TemporaryDirectory(prefix="outreach-bench-") as name:
        folder = Path(name)
        with LocalPostgres(folder / "postgres", settings=SERVER_SETTINGS) as server:
            made = Ground(server, server.conninfo("bench"), folder)
            made.create_database("bench")
            migrate(made.conninfo)
            yield made


@contextmanager
def stand_in(latency_ms: int, program: Path | None = None) -> Iterator[StandIn]:
    """That program (its port and latency are its arguments), else our sandbox without a webhook."""
    if program is None:
        command = [sys.executable, "-m", "outreach", "sandbox", "--port", "0"]
        command += ["--latency-ms", str(latency_ms)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    else:
        port = free_port()
        process = subprocess.Popen([program, str(port), str(latency_ms)], text=True)
    try:
        if program is None:
            assert process.stdout is not None
            made = StandIn("sandbox", json.loads(process.stdout.readline())["url"], process.pid)
        else:
            made = StandIn(program.name, f"http://127.0.0.1:{port}", process.pid)
            await_port(port)
        yield made
    finally:
        process.terminate()
        process.wait(10)


def compiled(source: Path, folder: Path) -> Path | None:
    """The program of a C file, or None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not source.is_file():
        return None
    target = folder / source.stem
    subprocess.run([compiler, "-O2", "-o", target, source], check=True)
    return target


def free_port() -> int:
    """One that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def await_port(port: int) -> None:
    """Return when somebody listens there."""
    deadline = time.monotonic() + READY_SECONDS_MAX
    while not _listens(port):
        assert time.monotonic() < deadline, f"nobody listens at {port}"
        time.sleep(0.02)  # a port tells nobody that it opens


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def environment(conninfo: str, sandbox: StandIn, given: Mapping[str, str]) -> dict[str, str]:
    """What a worker's process is told."""
    return {
        **os.environ,
        "DATABASE_URL": conninfo,
        "SENDGRID_API_KEY": "SG.bench",
        "SENDGRID_BASE_URL": sandbox.url,
        "SECRET_KEY": "a secret of the benchmark",
        "OUTREACH_LOG_LEVEL": "WARNING",
        **given,
    }


def cpu_seconds(pid: int) -> float:
    """User and system time that a living process has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def busy_seconds() -> float:
    """CPU time that the whole machine has spent working so far."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    counted = [int(field) for field in fields]
    return (sum(counted) - counted[3] - counted[4]) / TICKS


def memory_mb(pid: int) -> float:
    """What a living process holds in memory now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def server_cpu_seconds(connection: psycopg.Connection[Any]) -> float:
    """The same of the PostgreSQL server, its ended backends included."""
    (pid,) = connection.execute("select pg_backend_pid()").fetchone() or (0,)
    postmaster = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    total = 0.0
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and _parent(folder) == postmaster:
            total += cpu_seconds(int(folder.name))
    fields = Path(f"/proc/{postmaster}/stat").read_text().rpartition(")")[2].split()
    return total + sum(int(field) for field in fields[11:15]) / TICKS


def _parent(folder: Path) -> int:
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def counts(connection: psycopg.Connection[Any]) -> tuple[int, int]:
    """Statements and commits of the database so far; those of processes that have ended, all."""
    connection.execute("select pg_stat_force_next_flush()")
    row = connection.execute(
        "select (select coalesce(sum(calls), 0)::bigint from pg_stat_statements s"
        " join pg_database d on d.oid = s.dbid where d.datname = current_database()),"
        " (select xact_commit from pg_stat_database where datname = current_database())"
    ).fetchone()
    assert row is not None
    return row[0], row[1]
