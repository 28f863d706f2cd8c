"""Real servers, of the wheel and of the machine: nothing here stands in for PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from outreach.core.errors import Unavailable
from outreach.dev import postgres_programs
from outreach.dev.postgres import FAST_SETTINGS, LocalPostgres
from outreach.dev.postgres_place import FOLDER_BYTES_MAX
from outreach.dev.postgres_programs import Account, find_programs, machine_programs, programs_for

AS_ROOT = os.geteuid() == 0
PROC = Path("/proc")
FIRST = find_programs()
PROGRAMS = {path.parent.name: path for path in [FIRST, next(machine_programs(), FIRST)]}

# Starts (as an account, if one is given), says `started`, owner or not, and stays until told.
CHILD = """
import os, sys
from pathlib import Path
import outreach.dev.postgres as postgres
home, programs, uid = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
if uid:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
pg = postgres.LocalPostgres(home, programs=programs, settings=postgres.FAST_SETTINGS).start()
print("owner" if pg.is_owner else "sharer", pg.conninfo(), flush=True)
sys.stdin.readline()
pg.stop()
"""

Make = Callable[..., LocalPostgres]


@pytest.fixture(params=list(PROGRAMS.values()), ids=list(PROGRAMS))
def programs(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Objects that are stopped at the end, and whose files are removed wherever they are."""
    made: list[LocalPostgres] = []

    def make_one(programs: Path, home: Path = tmp_path, **settings: str) -> LocalPostgres:
        settings = {**FAST_SETTINGS, **settings}
        made.append(LocalPostgres(home, programs=programs, settings=settings))
        return made[-1]

    yield make_one
    for one in made:
        one.stop()
    for one in made:
        shutil.rmtree(one.place.home, ignore_errors=True)
        shutil.rmtree(one.place.run, ignore_errors=True)


def execute(server: LocalPostgres | str, query: str) -> object:
    conninfo = server if isinstance(server, str) else server.conninfo()
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


def postmaster(server: LocalPostgres) -> int:
    return int((server.place.data / "postmaster.pid").read_text().split()[0])


def ps(column: str, pid: int) -> str:
    """The state, parent or account of a process, or nothing; Linux may lack the ps program."""
    if PROC.is_dir():
        try:
            lines = (PROC / str(pid) / "status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        name = {"stat": "State", "ppid": "PPid", "uid": "Uid"}[column]
        return next(line for line in lines if line.startswith(f"{name}:")).split()[1]
    command = ["ps", "-o", f"{column}=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def postmaster_uid(server: LocalPostgres) -> int:
    return int(ps("uid", postmaster(server)))


def is_running(pid: int) -> bool:
    return ps("stat", pid)[:1] not in ("", "Z", "X")


def wait_until(condition: Callable[[], bool], seconds_max: float = 15.0) -> None:
    deadline = time.monotonic() + seconds_max
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def spawn(home: Path, programs: Path, uid: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(home), str(programs), str(uid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def first_words(child: subprocess.Popen[str]) -> list[str]:
    assert child.stdout is not None
    words = child.stdout.readline().split()
    assert words, "the child did not start"
    return words


def end(child: subprocess.Popen[str], *, kill: bool = False) -> None:
    if kill:
        child.kill()
    child.communicate("\n")


def test_a_stop_and_a_start_keep_the_data(make: Make, programs: Path) -> None:
    server = make(programs).start()
    assert server.is_owner
    assert str(execute(server, "show server_version")).startswith(server.version)
    assert execute(server, "show data_directory") == str(server.place.data)
    execute(server, "create table kept as select 'ä' collate \"C\" as word")
    pid = postmaster(server)
    assert server.start() is server
    assert postmaster(server) == pid
    server.stop()
    assert not is_running(pid)
    with pytest.raises(psycopg.OperationalError):
        execute(server, "select 1")
    with server:
        assert execute(server, "select word from kept") == "ä"


def test_settings_reach_the_server_and_a_wrong_one_is_named(make: Make, programs: Path) -> None:
    began = time.monotonic()
    with pytest.raises(Unavailable, match="no_such_thing"):
        make(programs, no_such_thing="1").start()
    assert time.monotonic() - began < 20, "no retries for what will not pass"
    server = make(programs, work_mem="7MB").start()
    wanted = {"work_mem": "7MB", "fsync": "off", "jit": "off", "max_connections": "200"}
    assert {name: execute(server, f"show {name}") for name in wanted} == wanted


def assert_no_tcp(server: LocalPostgres) -> None:
    assert execute(server, "show listen_addresses") == ""
    if sys.platform != "linux":
        return
    links = [path.readlink() for path in Path(f"/proc/{postmaster(server)}/fd").iterdir()]
    ours = {str(link)[8:-1] for link in links if str(link).startswith("socket:[")}
    assert ours, "its unix socket at least"
    for table in ("tcp", "tcp6"):
        rows = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        assert not ours & {row.split()[9] for row in rows}


def test_nobody_else_gets_in_and_no_parent_folder_is_opened(
    make: Make, programs: Path, tmp_path: Path
) -> None:
    """Nor does anything listen on TCP."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    server = make(programs, private / "home").start()
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    for folder in (server.place.server, server.place.run, server.place.data):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert folder.stat().st_uid == postmaster_uid(server)
    assert_no_tcp(server)
    if AS_ROOT:
        nobody = Account("nobody", 65534, 65534)
        assert not nobody.can_enter(server.place.data)
        assert postmaster_uid(server) != 0


def test_an_unprivileged_process_runs_it_too(make: Make, programs: Path, tmp_path: Path) -> None:
    if not AS_ROOT:  # then every other test here has shown it
        return
    nobody = Account("nobody", 65534, 65534)
    here = Path(__file__).parents[2] / "outreach"
    if not (nobody.can_enter(here) and nobody.can_enter(Path(sys.executable))):
        pytest.skip("the account nobody cannot enter this checkout")
    home = postgres_programs.common_folder(f"test-{os.getpid()}")
    os.chown(home, nobody.uid, nobody.gid)
    try:
        child = spawn(home, programs_for(programs, nobody), nobody.uid)
        _, conninfo = first_words(child)
        assert execute(conninfo, "select 41 + 1") == 42
        assert (home / "server" / "data").stat().st_uid == nobody.uid
        # Root joins it, and runs it as the account that owns the data from then on.
        root = LocalPostgres(home, programs=programs, settings=FAST_SETTINGS).start()
        assert not root.is_owner
        end(child)
        assert execute(root, "select 1") == 1
        root.stop()
        with root:
            assert root.is_owner
    finally:
        shutil.rmtree(home)


def test_killing_its_process_ends_the_server(make: Make, tmp_path: Path) -> None:
    child = spawn(tmp_path, FIRST)
    first_words(child)
    server = make(FIRST)
    pid = postmaster(server)
    assert is_running(pid)
    end(child, kill=True)
    wait_until(lambda: not is_running(pid))
    assert server.start().is_owner


def test_killing_the_server_loses_nothing_committed(make: Make, programs: Path) -> None:
    server = make(programs).start()
    execute(server, "create table kept as select 1 as one")
    with psycopg.connect(server.conninfo()) as attached:
        attached.execute("insert into kept values (2)")
        pid = postmaster(server)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_running(pid))
        server.ensure_alive()
        assert postmaster(server) != pid
        assert execute(server, "select sum(one)::int from kept") == 1
        attached.close()


def test_a_killed_server_comes_back_by_itself(make: Make) -> None:
    server = make(FIRST).start()
    pid = postmaster(server)
    os.kill(pid, signal.SIGKILL)

    def answers() -> bool:
        try:
            return execute(server, "select 1") == 1 and postmaster(server) != pid
        except psycopg.OperationalError:
            return False

    wait_until(answers)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no parent-death signal")
def test_killing_the_keeper_ends_the_server(make: Make) -> None:
    server = make(FIRST).start()
    execute(server, "create table kept as select 1 as one")
    pid = postmaster(server)
    os.kill(int(ps("ppid", pid)), signal.SIGKILL)
    wait_until(lambda: not is_running(pid))
    server.ensure_alive()
    assert execute(server, "select one from kept") == 1


def test_a_server_that_lost_its_keeper_is_replaced(make: Make) -> None:
    server = make(FIRST).start()
    server.stop()
    account = server.place.account
    options = f"-c listen_addresses='' -k {server.place.run}"
    runnable = programs_for(FIRST, account)
    subprocess.run(
        [runnable / "pg_ctl", "start", "-w", "-D", server.place.data, "-o", options],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd="/",
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
    )
    stray = postmaster(server)
    assert execute(server, "select 1") == 1
    server.start()
    assert not is_running(stray)
    assert execute(server, "select 1") == 1


def test_processes_share_one_server_until_the_last_is_gone(
    make: Make, programs: Path, tmp_path: Path
) -> None:
    children = [spawn(tmp_path, programs) for _ in range(3)]
    roles = [first_words(child)[0] for child in children]
    assert sorted(roles) == ["owner", "sharer", "sharer"]
    server = make(programs)
    pid = postmaster(server)
    owner = children[roles.index("owner")]
    assert not server.start().is_owner
    end(owner, kill=True)
    server.ensure_alive()
    assert postmaster(server) == pid
    server.stop()
    assert is_running(pid), "two children still use it"
    for child in children:
        if child is not owner:
            end(child)
    assert not is_running(pid)


def test_data_of_another_major_version_is_refused_and_kept(make: Make) -> None:
    server = make(FIRST).start()
    server.stop()
    mark = server.place.data / "PG_VERSION"
    own = mark.read_text()
    mark.write_text("13\n")
    before = {path: path.stat().st_mtime_ns for path in server.place.server.rglob("*")}
    with pytest.raises(Unavailable, match="belongs to PostgreSQL 13"):
        make(FIRST).start()
    assert {path: path.stat().st_mtime_ns for path in server.place.server.rglob("*")} == before
    mark.write_text(own)
    assert execute(make(FIRST).start(), "select 1") == 1


def test_a_data_folder_that_was_left_half_made_is_made_anew(make: Make) -> None:
    server = make(FIRST)
    draft = server.place.draft
    draft.mkdir(mode=0o700)
    (draft / "PG_VERSION").write_text(server.version.split(".")[0])
    if account := server.place.account:
        os.chown(draft, account.uid, account.gid)
    assert execute(server.start(), "select 1") == 1
    assert not draft.exists()


@pytest.mark.parametrize("name", ["x" * FOLDER_BYTES_MAX, "with space, comma 'and' ü"])
def test_homes_that_no_socket_path_can_hold(make: Make, tmp_path: Path, name: str) -> None:
    home = postgres_programs.common_folder(f"test-{os.getpid()}") if AS_ROOT else tmp_path
    try:
        server = make(FIRST, home / name).start()
        assert server.place.home == home / name
        assert server.place.run.parent == Path("/tmp")
        assert execute(server, "select 1") == 1
        alias = home / "alias"
        alias.symlink_to(home / name)
        assert not make(FIRST, alias).start().is_owner
    finally:
        if AS_ROOT:
            server.stop()
            shutil.rmtree(home)


def test_programs_that_the_account_cannot_enter_are_copied(make: Make, tmp_path: Path) -> None:
    if not AS_ROOT or FIRST.parents[1].name != postgres_programs.WHEEL:
        return  # nothing is ever copied then
    site = tmp_path / "private"
    site.mkdir(mode=0o700)
    package = FIRST.parents[1]
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.with_name(name), site / name, copy_function=os.link, symlinks=True)
    programs = site / FIRST.relative_to(package.parent)
    server = make(programs).start()
    copied = programs_for(programs, server.place.account)
    try:
        assert copied != programs
        assert Path(f"/proc/{postmaster(server)}/exe").readlink() == copied / "postgres"
        assert (copied / "postgres").stat().st_uid == 0
    finally:
        server.stop()
        shutil.rmtree(copied.parents[3])


def test_programs_named_by_hand_come_first(
    monkeypatch: pytest.MonkeyPatch, programs: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("OUTREACH_POSTGRES_BIN", str(programs))
    assert find_programs() == programs
    monkeypatch.setenv("OUTREACH_POSTGRES_BIN", str(tmp_path))
    with pytest.raises(Unavailable, match="OUTREACH_POSTGRES_BIN names"):
        find_programs()


def test_no_programs_at_all_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUTREACH_POSTGRES_BIN", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(postgres_programs, "WHEEL", "no_such_wheel")
    monkeypatch.setattr(postgres_programs, "MACHINE_FOLDERS", ())
    with pytest.raises(Unavailable, match="DATABASE_URL"):
        find_programs()


def test_a_home_that_cannot_be_made_is_an_error_of_ours(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    server = LocalPostgres(tmp_path / "file" / "home")
    with pytest.raises(Unavailable, match="local PostgreSQL"):
        server.start()
