"""Migrations on real servers, killed at the moments that hurt, as a role that is no superuser."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from procrastinate.schema import SchemaManager
from psycopg import sql

from outreach import migrate as guards
from outreach.core.errors import Conflict, NotFound, Refused, Unavailable
from outreach.dev.postgres import FAST_SETTINGS, LocalPostgres
from outreach.dev.postgres_programs import find_programs, has_programs
from outreach.migrate import known_migrations, migrate, migrations_folder, rollback, status

SYSTEM = sorted(filter(has_programs, Path("/").glob("usr/lib/postgresql/*/bin")))
PROGRAMS = {path.parent.name: path for path in [find_programs(), *SYSTEM[-1:]]}
FILES = [*migrations_folder().glob("*.sql"), *migrations_folder().glob("*.py")]
ALL = sorted({file.name.removesuffix(file.suffix).removesuffix(".rollback") for file in FILES})
NUMBERS = count(1)

Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module", params=list(PROGRAMS.values()), ids=list(PROGRAMS))
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalPostgres]:
    home = tmp_path_factory.mktemp("migrate")
    with LocalPostgres(home, programs=request.param, settings=FAST_SETTINGS) as server:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute("create role migrator login createrole")
        yield server
    shutil.rmtree(server.place.home, ignore_errors=True)
    shutil.rmtree(server.place.run, ignore_errors=True)


@pytest.fixture
def target(server: LocalPostgres) -> Iterator[str]:
    """An empty database, and how its owner connects to it."""
    name = f"target_{next(NUMBERS)}"
    database = sql.Identifier(name)
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} owner migrator").format(database))
        yield server.conninfo(name).replace("//postgres@", "//migrator@")
        connection.execute(sql.SQL("drop database {} with (force)").format(database))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two small migrations of a test's own."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    write(folder, "0001.first", "create table first (id integer);", "drop table first;")
    write(
        folder,
        "0002.second",
        "-- depends: 0001.first\ncreate table second (id integer);",
        "drop table second;",
    )
    return folder


@pytest.fixture
def run() -> Iterator[Run]:
    """Starts Python processes with a script and arguments; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *args: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", script, *map(str, args)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        with process:
            process.kill()


MIGRATE = """
import sys
from pathlib import Path
from outreach.migrate import migrate
folder = Path(sys.argv[2]) if len(sys.argv) > 2 else None
print(",".join(migrate(sys.argv[1], folder=folder)))
"""

# Dies between the commit of the migration and whatever yoyo writes about it.
DIES = """
import os, sys
from pathlib import Path
from yoyo.backends.base import DatabaseBackend
import outreach.migrate as guards
DatabaseBackend.log_migration = lambda *args: os._exit(9)
getattr(guards, sys.argv[3])(sys.argv[1], folder=Path(sys.argv[2]))
"""


def write(folder: Path, name: str, up: str, down: str) -> None:
    (folder / f"{name}.sql").write_text(up)
    (folder / f"{name}.rollback.sql").write_text(down)


def ask(target: str, query: str) -> object:
    with psycopg.connect(target, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


def eventually(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


LEFT_OVER = """
select string_agg(kind || ' ' || name, ', ') from (
  select 'relation' as kind, relname::text as name from pg_class
  where relnamespace = 'public'::regnamespace
    and relname !~ '^_?yoyo' and relname !~ '^schema_marks'
  union all
  select 'function', proname::text from pg_proc where pronamespace = 'public'::regnamespace
  union all
  select 'type', typname::text from pg_type
  where typnamespace = 'public'::regnamespace
    and typname !~ '^_{0,2}yoyo' and typname !~ '^_?schema_marks'
) as objects
"""


def test_up_down_to_nothing_and_up_again_with_data_in_it(target: str) -> None:
    assert status(target).pending == tuple(ALL)
    assert migrate(target) == ALL
    assert migrate(target) == []
    assert status(target).is_current
    ask(target, "insert into tenants (slug, name) values ('acme', 'Acme')")
    ask(target, "insert into leads (tenant_id, key, name) select id, 'x', 'X' from tenants")
    assert rollback(target) == ALL[::-1]
    assert ask(target, LEFT_OVER) is None
    assert status(target).pending == tuple(ALL)
    assert migrate(target) == ALL
    assert ask(target, "select count(*) from tenants") == 0


def test_part_of_the_way_by_number(target: str) -> None:
    assert migrate(target, to="0003") == ALL[:3]
    assert status(target).applied == tuple(ALL[:3])
    assert migrate(target, to=ALL[4]) == ALL[3:5]
    assert rollback(target, to="0003") == [ALL[4], ALL[3]]
    with pytest.raises(NotFound, match="no migration 0099"):
        migrate(target, to="0099")


def test_the_owner_may_act_as_every_role(target: str) -> None:
    migrate(target)
    with psycopg.connect(target) as connection:
        for role in ("outreach_app", "outreach_worker", "outreach_operator", "outreach_readonly"):
            connection.execute("select set_config('role', %s, true)", [role])
            row = connection.execute("select current_user, count(*) from tenants").fetchone()
            assert row == (role, 0)
            connection.execute("select id from schema_marks")


def test_a_role_that_may_make_none_is_told_so(server: LocalPostgres, target: str) -> None:
    ask(server.conninfo(), "create role weak login")
    try:
        with pytest.raises(Refused, match="must own the database"):
            migrate(target.replace("//migrator@", "//weak@"))
    finally:
        ask(server.conninfo(), "drop role weak")


def test_two_at_once_apply_each_migration_once(target: str, run: Run) -> None:
    outputs = [process.communicate()[0] for process in [run(MIGRATE, target) for _ in range(2)]]
    assert sorted(outputs) == ["\n", ",".join(ALL) + "\n"]
    assert status(target).is_current


def test_one_that_waits_does_not_stand_in_the_way_of_an_index_build(
    target: str, folder: Path, run: Run
) -> None:
    write(
        folder,
        "0003.index",
        "-- transactional: false\n-- depends: 0002.second\n"
        "create index concurrently if not exists first_id on first (id);",
        "drop index if exists first_id;",
    )
    processes = [run(MIGRATE, target, folder) for _ in range(3)]
    assert [process.wait(30) for process in processes] == [0, 0, 0]
    assert ask(target, "select indisvalid from pg_index where indexrelid = 'first_id'::regclass")


def test_killed_in_the_middle_leaves_nothing_half_done(target: str, folder: Path, run: Run) -> None:
    slow = "-- depends: 0002.second\ncreate table third (id integer);\nselect pg_sleep({});"
    write(folder, "0003.third", slow.format(600), "drop table third;")
    process = run(MIGRATE, target, folder)
    sleeping = "select count(*) = 1 from pg_stat_activity where wait_event = 'PgSleep'"
    eventually(lambda: ask(target, sleeping))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert ask(target, "select count(*) from yoyo_lock") == 1
    assert status(target, folder=folder).pending == ("0003.third",)
    # The dead one's statement still runs in the server, and holds what the next one needs.
    assert ask(target, sleeping)
    write(folder, "0003.third", slow.format(0), "drop table third;")
    assert migrate(target, folder=folder) == ["0003.third"]
    assert ask(target, "select count(*) from yoyo_lock") == 0
    assert ask(target, "select count(*) from third") == 0


@pytest.mark.parametrize("direction", ["migrate", "rollback"])
def test_killed_between_the_commit_and_the_mark_of_yoyo(
    target: str, folder: Path, run: Run, direction: str
) -> None:
    if direction == "rollback":
        migrate(target, folder=folder)
    assert run(DIES, target, folder, direction).wait(30) == 9
    yoyo = "select string_agg(migration_id, ',' order by migration_id) from _yoyo_migration"
    if direction == "migrate":
        assert ask(target, yoyo) is None
        assert status(target, folder=folder).applied == ("0001.first",)
        assert migrate(target, folder=folder) == ["0002.second"]
        assert ask(target, yoyo) == "0001.first,0002.second"
    else:
        assert ask(target, yoyo) == "0001.first,0002.second"
        assert status(target, folder=folder).applied == ("0001.first",)
        assert rollback(target, folder=folder) == ["0001.first"]
        assert ask(target, yoyo) is None


def test_a_lock_row_of_a_dead_process_is_no_lock(target: str, folder: Path) -> None:
    migrate(target, folder=folder, to="0001")
    ask(target, "insert into yoyo_lock (locked, ctime, pid) values (1, now(), 1)")
    assert migrate(target, folder=folder) == ["0002.second"]


def test_the_lock_itself_is_waited_for_and_not_for_ever(
    target: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "LOCK_SECONDS_MAX", 0.2)
    with psycopg.connect(target, autocommit=True) as other:
        other.execute("select pg_advisory_lock(%s)", [guards.LOCK_KEY])
        with pytest.raises(Unavailable, match="Another migration is running"):
            migrate(target, folder=folder)
    assert migrate(target, folder=folder) == ["0001.first", "0002.second"]


def test_a_busy_table_is_not_waited_for_long(
    target: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "LOCK_TIMEOUT", "100ms")
    migrate(target, folder=folder)
    write(folder, "0003.wide", "-- depends: 0002.second\nalter table first add x text;", "")
    with psycopg.connect(target) as reader:
        reader.execute("select from first")
        with pytest.raises(Unavailable, match="waited 100ms for a busy table"):
            migrate(target, folder=folder)
    assert migrate(target, folder=folder) == ["0003.wide"]


def test_an_edited_file_is_refused(target: str, folder: Path) -> None:
    migrate(target, folder=folder)
    file = folder / "0001.first.sql"
    original = file.read_text()
    file.write_text(original + "-- and more\n")
    assert status(target, folder=folder).edited == ("0001.first",)
    assert not status(target, folder=folder).is_current
    with pytest.raises(Conflict, match=r"0001\.first is edited since then"):
        migrate(target, folder=folder)
    file.write_text(original)
    assert migrate(target, folder=folder) == []


def test_a_file_beside_a_migration_counts_as_part_of_it(folder: Path) -> None:
    before = known_migrations(folder)
    (folder / "second").mkdir()
    (folder / "second" / "data.sql").write_text("select 1;")
    after = known_migrations(folder)
    assert [id for id in before if before[id] != after[id]] == ["0002.second"]


def test_a_failing_migration_changes_nothing_and_can_be_put_right(
    target: str, folder: Path
) -> None:
    broken = "-- depends: 0002.second\ncreate table third (id integer);\nselect 1 / 0;"
    write(folder, "0003.third", broken, "drop table third;")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(target, folder=folder)
    assert ask(target, "select to_regclass('third')") is None
    assert status(target, folder=folder).pending == ("0003.third",)
    write(folder, "0003.third", broken.partition("select")[0], "drop table third;")
    assert migrate(target, folder=folder) == ["0003.third"]


def test_a_newer_database_serves_older_code_but_is_not_rolled_back_by_it(
    target: str, folder: Path
) -> None:
    migrate(target, folder=folder)
    for file in folder.glob("0002*"):
        file.unlink()
    assert status(target, folder=folder).is_current
    assert migrate(target, folder=folder) == []
    with pytest.raises(Conflict, match=r"0002\.second is of a newer one"):
        rollback(target, folder=folder)


def test_what_the_yoyo_command_did_beside_us_is_believed(target: str, folder: Path) -> None:
    url = guards._yoyo_url(target)
    yoyo = [sys.executable, "-m", "yoyo"]
    tail = ["--batch", "--no-config-file", "--database", url, str(folder)]
    subprocess.run([*yoyo, "apply", *tail], check=True, capture_output=True)
    assert status(target, folder=folder).is_current
    assert migrate(target, folder=folder) == []
    assert ask(target, "select count(*) from schema_marks") == 2
    subprocess.run([*yoyo, "rollback", "--all", *tail], check=True, capture_output=True)
    assert status(target, folder=folder).applied == ()
    assert migrate(target, folder=folder) == ["0001.first", "0002.second"]


def test_a_server_that_is_away_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        migrate(f"postgresql://nobody@/nothing?host={tmp_path}")


def test_every_migration_can_be_taken_back() -> None:
    folder = migrations_folder()
    for file in folder.glob("*.sql"):
        if not file.name.endswith(".rollback.sql"):
            assert file.with_name(f"{file.stem}.rollback.sql").exists(), file.name


def test_the_frozen_schema_is_the_one_that_procrastinate_expects() -> None:
    (frozen,) = (migrations_folder() / "procrastinate").glob("schema-*.sql")
    assert frozen.read_text("utf-8").strip() == SchemaManager.get_schema().strip()


def test_targets_reach_yoyo_in_every_form() -> None:
    secret = uuid4().hex
    for given in (
        f"postgresql://u%40x:{secret}%2F@/d%2Fb?host=%2Frun%2Fpg&sslmode=disable",
        f"host=/run/pg user=u@x password={secret}/ dbname=d/b sslmode=disable",
    ):
        url = guards._yoyo_url(given)
        assert url.startswith("postgresql+psycopg:///?")
        for part in ("user=u%40x", f"password={secret}%2F", "dbname=d%2Fb", "host=%2Frun%2Fpg"):
            assert part in url
