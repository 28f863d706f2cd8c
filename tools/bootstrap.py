"""Build `.venv/` from hashed requirements, with nothing but this Python and its own pip.

The work is skipped while nothing it depends on has changed: a stamp in the venv holds a digest
of the requirement files, so a second `make` costs milliseconds. uv installs the rest because it
is several times faster than pip; where uv has no wheel, plain pip does the same from these files.

The project itself is put on the path by a `.pth` file and a three-line script, so no build backend
is needed for a checkout. `pip install .` builds the real wheel.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
REQUIREMENTS = ROOT / "requirements"

SCRIPT = """#!{python}
import sys
from outreach.cli import main
sys.exit(main())
"""


def digest(kind: str) -> str:
    """What the environment is made of: the interpreter and the files that name its packages."""
    seen = hashlib.sha256(f"{sys.version_info[:2]} {ROOT}".encode())
    for name in ("uv.txt", f"{kind}.txt"):
        seen.update((REQUIREMENTS / name).read_bytes())
    seen.update(Path(__file__).read_bytes())
    return f"{kind} {seen.hexdigest()}"


def is_current(kind: str) -> bool:
    """Whether the venv holds what `kind` asks for; the test set contains the run set."""
    stamp = VENV / "stamp"
    if not stamp.exists() or not (BIN / "python").exists():
        return False
    have = stamp.read_text().splitlines()
    return digest("dev") in have or digest(kind) in have


def install(kind: str) -> None:
    wanted = str(REQUIREMENTS / f"{kind}.txt")
    python = str(BIN / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    got_uv = subprocess.run([*pip, "--require-hashes", "-r", str(REQUIREMENTS / "uv.txt")])
    if got_uv.returncode == 0:
        env = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "UV_LINK_MODE": "copy"}
        command = [str(BIN / "uv"), "pip", "sync", "--quiet", "--python", python]
        subprocess.run([*command, "--require-hashes", wanted], check=True, env=env)
    else:
        subprocess.run([*pip, "--require-hashes", "-r", wanted], check=True)


def put_project_on_path() -> None:
    site = next((VENV / "lib").glob("python3*/site-packages"))
    (site / "outreach-checkout.pth").write_text(f"{ROOT}\n")
    script = BIN / "outreach"
    script.write_text(SCRIPT.format(python=BIN / "python"))
    script.chmod(0o755)


def main() -> int:
    kind = sys.argv[1] if len(sys.argv) > 1 else "run"
    if kind not in ("run", "dev"):
        print(f"usage: {sys.argv[0]} run|dev", file=sys.stderr)
        return 2
    if is_current(kind):
        return 0
    with (ROOT / ".bootstrap.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_current(kind):
            return 0
        print(f"Building .venv ({kind}) ...", file=sys.stderr, flush=True)
        try:
            if VENV.exists():
                shutil.rmtree(VENV)
            venv.create(VENV, with_pip=True)
        except (subprocess.CalledProcessError, ImportError):
            print(
                "This Python cannot make virtual environments with pip. "
                "On Debian and Ubuntu: apt install python3-venv",
                file=sys.stderr,
            )
            return 1
        install(kind)
        put_project_on_path()
        (VENV / "stamp").write_text(digest(kind) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
