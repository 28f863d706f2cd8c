"""What measurements stand on: a durable PostgreSQL, a stand-in provider, and the CPU they took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from outreach.dev.postgres import LocalPostgres
from outreach.migrate import migrate

TICKS = os.sysconf("SC_CLK_TCK")
SERVER_SETTINGS = {
    "shared_preload_libraries": "pg_stat_statements",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
}


@dataclass(frozen=True, slots=True)
class StandIn:
    """The sandbox as a process of its own."""

    url: str
    pid: int


@contextmanager
def database() -> Iterator[str]:
    """A migrated database on a server with its usual durability; its address."""
    with TemporaryDirectory(prefix="outreach-bench-") as folder:
        with LocalPostgres(Path(folder) / "postgres", settings=SERVER_SETTINGS) as server:
            with psycopg.connect(server.conninfo(), autocommit=True) as connection:
                connection.execute("create database bench")
            conninfo = server.conninfo("bench")
            migrate(conninfo)
            with psycopg.connect(conninfo, autocommit=True) as connection:
                connection.execute("create extension pg_stat_statements")
            yield conninfo


@contextmanager
def stand_in(latency_ms: int = 0) -> Iterator[StandIn]:
    """A sandbox without a webhook: it takes mail and says nothing more."""
    command = [sys.executable, "-m", "outreach", "sandbox", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--latency-ms", str(latency_ms)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        yield StandIn(ready["url"], process.pid)
    finally:
        process.terminate()
        process.wait(10)


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
    """Statements and commits of the database so far."""
    row = connection.execute(
        "select (select coalesce(sum(calls), 0)::bigint from pg_stat_statements s"
        " join pg_database d on d.oid = s.dbid where d.datname = current_database()),"
        " (select xact_commit from pg_stat_database where datname = current_database())"
    ).fetchone()
    assert row is not None
    return row[0], row[1]
