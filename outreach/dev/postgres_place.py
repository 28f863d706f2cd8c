"""Where a local server keeps its files, and who owns them.

A home looks like this; the account is ours, or as root the one that runs the server::

    start.lock      ours      held for a moment by whoever joins or starts
    postgres.log    ours
    server/         account   0700
        data/       the database; `draft/` while it is being made
        run/        the sockets of the server and of its keeper
        keeper.lock

With `trust` authentication the folder's mode is the lock: only its account (and root) passes it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from outreach.core.errors import Unavailable
from outreach.dev.postgres_programs import Account, account_for, common_folder, digest

SHORT_FOLDER = Path("/tmp")  # noqa: S108 - TMPDIR may be long and differs between our processes
# A socket's path ends at 103 bytes on macOS and 107 on Linux; `/.s.PGSQL.5432.lock` takes 19.
FOLDER_BYTES_MAX = 80


@dataclass(frozen=True, slots=True)
class Place:
    """The files of one local server."""

    home: Path
    run: Path
    account: Account | None

    @property
    def server(self) -> Path:
        return self.home / "server"

    @property
    def data(self) -> Path:
        return self.server / "data"

    @property
    def draft(self) -> Path:
        return self.server / "draft"

    @property
    def keeper_socket(self) -> Path:
        return self.run / "keeper"

    @property
    def server_socket(self) -> Path:
        return self.run / ".s.PGSQL.5432"

    @property
    def log(self) -> Path:
        return self.home / "postgres.log"

    @property
    def major(self) -> int | None:
        """The major version that the data belongs to, if there is data."""
        try:
            return int((self.data / "PG_VERSION").read_text().split(".")[0])
        except FileNotFoundError:
            return None


def make_place(home: Path) -> Place:
    """Make the folders below the home, or below /var/tmp where the account cannot enter it."""
    home = home.resolve()  # two names of one folder must find one server
    home.mkdir(mode=0o755, parents=True, exist_ok=True)
    account = account_for(home / "server")
    if account is not None and not account.can_enter(home):
        home = common_folder(digest(str(home)))
        account = account_for(home / "server")
    place = Place(home, _run_folder(home), account)
    for folder in (place.server, place.run):
        _make_private(folder, account)
    return place


def _run_folder(home: Path) -> Path:
    folder = home / "server" / "run"
    plain = re.fullmatch(r"[\w./+-]+", str(folder), re.ASCII)  # the server splits a list at commas
    if plain and len(os.fsencode(folder)) <= FOLDER_BYTES_MAX:
        return folder
    return SHORT_FOLDER / f"outreach-postgres-{digest(str(home))}"


def _make_private(folder: Path, account: Account | None) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    owner = folder.lstat().st_uid
    uid = os.geteuid() if account is None else account.uid
    if folder.is_symlink() or owner not in (uid, os.geteuid()):
        raise Unavailable(f"{folder} belongs to another account; remove it or choose another home.")
    if account is not None:
        os.chown(folder, account.uid, account.gid, follow_symlinks=False)
    folder.chmod(0o700)
