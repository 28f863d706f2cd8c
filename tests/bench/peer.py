"""The rival: a pipeline of BullMQ, Redis and PostgreSQL in a folder that `OUTREACH_BENCH_PEER`
names.

It runs as it is, with its own schema in a database of its own on the server that we are measured
on, and hands its mail to the same stand-in: its C program, because a stand-in in Python would take
a third of a small machine and so slow down whoever is faster. What it needs is installed into a
folder that goes with the run. Where something is missing, `prepared` says what, and the run goes
on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, LiteralString

import psycopg

from outreach.dev.postgres_programs import wheel_programs
from tests.bench import ground

VARIABLE = "OUTREACH_BENCH_PEER"
PIPELINE = "pipeline_bullmq.mjs"
NEEDED = ("schema.sql", "seed.sql", "stub.c", "node/package.json", f"node/{PIPELINE}")
INSTALL_SECONDS_MAX = 120
RUN_SECONDS_MAX = 300

# It asks pg_stat_wal for a column that moved to pg_stat_io in PostgreSQL 18.
OLD_STATISTICS: tuple[LiteralString, ...] = (
    "create view pg_stat_wal as select *,"
    " (select sum(fsyncs) from pg_stat_io where object = 'wal')::bigint as wal_sync"
    " from pg_catalog.pg_stat_wal",
    "alter database peer set search_path = public, pg_catalog",
)


@dataclass(frozen=True, slots=True)
class Peer:
    """The rival, ready to run."""

    folder: Path  # as it was given
    home: Path  # where it is installed
    psql: Path
    conninfo: str
    redis_port: int

    def run(
        self, messages: int, sandbox: ground.StandIn, *, latency_ms: int, connections: int
    ) -> dict[str, Any]:
        """Its figures for so many messages, in our words; it checks them itself."""
        results = self.home / "results.jsonl"
        results.unlink(missing_ok=True)
        (self.home / "stub.pid").write_text(str(sandbox.pid))
        environment = {
            **os.environ,
            "BENCH_HOME": str(self.home),
            "BENCH_SRC": str(self.folder),
            "BENCH_DSN": self.conninfo,
            "BENCH_RESULTS": str(results),
            "PGBIN": str(self.psql.parent),
            "REDIS_PORT": str(self.redis_port),
            "STUB_PORT": str(sandbox.port),
            "CONC": str(connections),
        }
        program = self.home / "node" / PIPELINE
        command = ["node", str(program), str(messages), "1", str(latency_ms), "1", "tuned", "yes"]
        began = monotonic()
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=RUN_SECONDS_MAX
        )
        assert done.returncode == 0, f"the rival ended with {done.returncode}: {done.stderr[-800:]}"
        line = json.loads(results.read_text().splitlines()[-1])
        return {
            "messages_per_second": round(line["value"]),
            "steady_per_second": line["steady"],
            "whole_per_second": round(messages / (monotonic() - began)),
            "cpu_us": line["us_node"] + line["us_pg"] + line["us_redis"],
            "worker_cpu_us": line["us_node"],
            "postgres_cpu_us": line["us_pg"],
            "redis_cpu_us": line["us_redis"],
            "statements": line["stmts_per_msg"],
            # Each of its statements is a transaction; its pool has not told of them all by then.
            "commits": line["stmts_per_msg"],
        }


def named() -> Path | None:
    """The rival's folder, if one is named."""
    value = os.environ.get(VARIABLE)
    return Path(value).resolve() if value else None


def stand_in_program(place: ground.Ground) -> Path | None:
    """The rival's stand-in, which takes the least of the machine; None where it cannot be had."""
    folder = named()
    return None if folder is None else ground.compiled(folder / "stub.c", place.folder)


def missing(folder: Path) -> str | None:
    """Why it cannot run here, in a sentence; None when it can."""
    if absent := [name for name in NEEDED if not (folder / name).is_file()]:
        return f"The rival is left out: {VARIABLE} names a folder without {', '.join(absent)}."
    programs = [name for name in ("node", "npm", "redis-server", "cc") if not shutil.which(name)]
    if programs:
        return f"The rival is left out: {' and '.join(programs)} is not on this machine."
    return None


@contextmanager
def prepared(place: ground.Ground, folder: Path) -> Iterator[Peer | str]:
    """The rival with its packages, its Redis and its database; else the sentence why not."""
    home = place.folder / "peer"
    if reason := missing(folder) or _install(folder, home):
        yield reason
        return
    (home / "pgdata").symlink_to(place.server.place.data)
    psql = _psql()
    if psql is None:
        yield "The rival is left out: psql is not on this machine."
        return
    conninfo = place.create_database("peer")
    _lay(conninfo, folder)
    with _redis(home) as port:
        yield Peer(folder, home, psql, conninfo, port)


def _install(folder: Path, home: Path) -> str | None:
    target = home / "node"
    target.mkdir(parents=True)
    for name in ("package.json", PIPELINE):
        shutil.copyfile(folder / "node" / name, target / name)
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        done = subprocess.run(
            command, cwd=target, capture_output=True, text=True, timeout=INSTALL_SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        return "The rival is left out: npm could not install its packages in two minutes."
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["npm said nothing"])[-1]
        return f"The rival is left out: npm could not install its packages ({last})."
    return None


def _lay(conninfo: str, folder: Path) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        if connection.info.server_version >= 180_000:
            for statement in OLD_STATISTICS:
                connection.execute(statement)
        connection.execute((folder / "schema.sql").read_bytes())


def _psql() -> Path | None:
    wheel = wheel_programs()
    if wheel is not None and (wheel / "psql").is_file():
        return wheel / "psql"
    found = shutil.which("psql")
    return None if found is None else Path(found)


@contextmanager
def _redis(home: Path) -> Iterator[int]:
    """A Redis that keeps what it is told, as the rival's own measurements had it."""
    folder = home / "redis"
    folder.mkdir()
    port = ground.free_port()
    options = {
        "--port": str(port),
        "--bind": "127.0.0.1",
        "--dir": str(folder),
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--maxmemory-policy": "noeviction",
        "--logfile": str(folder / "log"),
    }
    words = [word for option in options.items() for word in option]
    process = subprocess.Popen(["redis-server", *words])
    try:
        (folder / "pid").write_text(str(process.pid))
        ground.await_port(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)
