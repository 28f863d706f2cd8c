"""Who may import whom. The table is that of CONTRIBUTING.md; `ast` reads the imports.

A floor may use what stands under it and its own kind. The core is pure: what it imports from the
standard library cannot read a clock, a file, the environment or a random number.
"""

from __future__ import annotations

import ast
import sys

import pytest

from tests.house.source import Module, imports, modules

BASE_WORDS = "config clock db sql log ids links migrate recorder recorder_slots"
BASE = frozenset(BASE_WORDS.split())

MAY_IMPORT: dict[str, frozenset[str]] = {
    "core": frozenset({"core"}),
    "base": frozenset({"core", "base"}),
    "store": frozenset({"core", "base", "store"}),
    "providers": frozenset({"core", "base", "providers"}),
    "services": frozenset({"core", "base", "store", "services", "protocol"}),
    "tasks": frozenset({"core", "base", "store", "services", "tasks", "protocol"}),
    "web": frozenset({"core", "base", "store", "services", "web", "protocol"}),
    "dev": frozenset({"base", "dev"}),
    "cli": frozenset(
        {"core", "base", "store", "providers", "protocol", "services", "tasks", "web", "dev", "cli"}
    ),
    "outreach": frozenset(),  # the version, for everybody
}

# Words for failure are no rules: the sandbox may share them without sharing a bug.
SHARED_WITH_DEV = frozenset({"outreach.core.errors"})

# Who wires a provider below the top: procrastinate's command knows nothing but the app's name.
WIRING = frozenset(
    {
        ("outreach.tasks.context", "outreach.providers.sendgrid"),
        ("outreach.tasks.context", "outreach.providers.sendgrid_activity"),
    }
)

CORE_PACKAGES = frozenset({"pydantic", "pydantic_core", "liquid", "holidays", "idna", "nh3"})
IMPURE_WORDS = (
    "asyncio builtins concurrent ctypes faulthandler fcntl fileinput ftplib getpass glob http "
    "imaplib importlib inspect io linecache locale logging mmap multiprocessing os pathlib "
    "platform poplib pwd queue random runpy sched secrets select selectors shelve shutil signal "
    "smtplib socket socketserver sqlite3 ssl subprocess sys sysconfig syslog tempfile termios "
    "threading time timeit tracemalloc warnings weakref webbrowser"
)
IMPURE = frozenset(IMPURE_WORDS.split())
IMPURE_PARTS = frozenset({"urllib.request", "urllib.robotparser", "xml.dom", "xml.sax"})
# datetime and uuid are pure but for these.
IMPURE_NAMES = frozenset(
    {"now", "utcnow", "today", "uuid1", "uuid4", "uuid6", "uuid7", "getnode", "open", "print"}
    | {"input", "breakpoint", "eval", "exec", "__import__"}
)


def floor_of(name: str) -> str:
    """The floor of one of our modules by its dotted name."""
    match name.split("."):
        case ["outreach"]:
            return "outreach"
        case ["outreach", part, *_] if part in BASE:
            return "base"
        case ["outreach", "__main__"]:
            return "cli"
        case ["outreach", "providers", "protocol"]:
            return "protocol"
        case ["outreach", part, *_]:
            return part
        case _:
            raise AssertionError(f"{name} is not ours")


def wrong_imports(module: Module, known: frozenset[str]) -> list[str]:
    """What a module imports and may not, one sentence each."""
    floor = floor_of(module.name)
    allowed = MAY_IMPORT.get("providers" if floor == "protocol" else floor, frozenset())
    wrong = []
    for name, line in sorted(imports(module, known | IMPURE_PARTS)):
        top = name.partition(".")[0]
        if name.startswith("."):
            wrong.append(f"{module.path}:{line} imports by a relative name")
        elif top == "outreach":
            target = floor_of(name)
            target = "providers" if target == "protocol" and floor == "providers" else target
            if (
                target == "outreach"
                or target in allowed
                or (floor == "dev" and name in SHARED_WITH_DEV)
                or (module.name, name) in WIRING
            ):
                continue
            wrong.append(f"{module.path}:{line} ({floor}) may not import {name} ({target})")
        elif top == "tests":
            wrong.append(f"{module.path}:{line} imports a test")
        elif floor == "core" and not is_pure(name):
            wrong.append(f"{module.path}:{line} the core may not import {name}")
    return wrong


def is_pure(name: str) -> bool:
    top = name.partition(".")[0]
    if top in CORE_PACKAGES:
        return True
    return top in sys.stdlib_module_names and top not in IMPURE and name not in IMPURE_PARTS


def impure_calls(module: Module) -> list[str]:
    """Where the core would read a clock, draw a random id or do I/O by a name it may import."""
    found = []
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=attr)) if attr in IMPURE_NAMES:
                found.append((node.lineno, attr))
            case ast.Call(func=ast.Name(id=id)) if id in IMPURE_NAMES:
                found.append((node.lineno, id))
            case ast.ImportFrom(module="uuid" | "datetime", names=names):
                found += [(node.lineno, a.name) for a in names if a.name in IMPURE_NAMES]
            case ast.AsyncFunctionDef(name=name):
                found.append((node.lineno, f"async {name}"))
    return [f"{module.path}:{line} the core may not use {name}" for line, name in found]


def known_modules() -> frozenset[str]:
    return frozenset(module.name for module in modules("outreach"))


def test_each_floor_imports_only_what_stands_under_it() -> None:
    known = known_modules()
    assert [line for module in modules("outreach") for line in wrong_imports(module, known)] == []


def test_the_core_reads_no_clock_and_draws_no_random_number() -> None:
    core = [module for module in modules("outreach") if floor_of(module.name) == "core"]
    assert core
    assert [line for module in core for line in impure_calls(module)] == []


def test_every_module_stands_on_a_floor() -> None:
    floors = set(MAY_IMPORT) | {"protocol"}
    names = {module.name for module in modules("outreach")}
    assert [name for name in sorted(names) if floor_of(name) not in floors] == []


KNOWN = frozenset(
    {"outreach.store.plans", "outreach.services.launch", "outreach.core.errors"}
    | {"outreach.core.limits", "outreach.providers.protocol", "outreach.providers.sendgrid"}
    | {"outreach.tasks.app", "outreach.web.app", "outreach.dev.demo", "outreach.db"}
)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("outreach/core/x.py", "from outreach import db"),
        ("outreach/core/x.py", "import time"),
        ("outreach/core/x.py", "import os.path"),
        ("outreach/core/x.py", "from urllib.request import urlopen"),
        ("outreach/core/x.py", "from urllib import request, parse"),
        ("outreach/core/x.py", "import psycopg"),
        ("outreach/core/x.py", "def f():\n    import random"),
        ("outreach/db.py", "from outreach.store import plans"),
        ("outreach/store/x.py", "from outreach.services.launch import launch"),
        ("outreach/store/x.py", "from outreach.services import launch"),
        ("outreach/store/x.py", "from outreach.providers import protocol"),
        ("outreach/providers/x.py", "import outreach.store.plans"),
        ("outreach/services/x.py", "from outreach.tasks import app"),
        ("outreach/services/x.py", "from outreach.web.app import app"),
        ("outreach/services/x.py", "from outreach.providers import sendgrid"),
        ("outreach/tasks/x.py", "from outreach.web import app"),
        ("outreach/tasks/x.py", "from outreach.providers.sendgrid import SendGrid"),
        ("outreach/web/x.py", "from outreach.tasks import app"),
        ("outreach/web/x.py", "from outreach.dev import demo"),
        ("outreach/dev/x.py", "from outreach.core import limits"),
        ("outreach/dev/x.py", "from outreach.store import plans"),
        ("outreach/store/x.py", "from . import plans"),
        ("outreach/cli/x.py", "from tests.support import people"),
    ],
)
def test_a_wrong_import_is_found(path: str, source: str) -> None:
    assert wrong_imports(Module(path, source), KNOWN)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("outreach/core/x.py", "import re\nfrom zoneinfo import ZoneInfo\nimport liquid.ast"),
        (
            "outreach/core/x.py",
            "from urllib.parse import urlsplit\nimport pydantic, idna",
        ),
        ("outreach/db.py", "import time\nfrom outreach.core import limits"),
        ("outreach/store/x.py", "from outreach import db\nfrom outreach.store import plans"),
        (
            "outreach/providers/x.py",
            "from outreach.providers.protocol import Sender",
        ),
        ("outreach/services/x.py", "from outreach.store import plans"),
        ("outreach/services/x.py", "from outreach.providers.protocol import Sender"),
        ("outreach/tasks/x.py", "from outreach.services import launch\nimport procrastinate"),
        ("outreach/dev/x.py", "from outreach.core.errors import Unavailable\nimport os"),
        ("outreach/cli/x.py", "from outreach.web import app\nfrom outreach.tasks import app"),
    ],
)
def test_a_right_import_is_left_alone(path: str, source: str) -> None:
    assert wrong_imports(Module(path, source), KNOWN) == []


@pytest.mark.parametrize(
    "source",
    [
        "datetime.now(UTC)",
        "date.today()",
        "uuid.uuid4()",
        "from uuid import uuid4",
        "open('x')",
        "print('x')",
        "async def f(): ...",
    ],
)
def test_an_impure_call_is_found(source: str) -> None:
    assert impure_calls(Module("outreach/core/x.py", source))


@pytest.mark.parametrize("source", ["uuid5(NAMESPACE, key)", "at.astimezone(zone)", "now + delay"])
def test_a_pure_call_is_left_alone(source: str) -> None:
    assert impure_calls(Module("outreach/core/x.py", source)) == []
