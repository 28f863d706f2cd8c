"""Sizes and banned words.

The sizes keep a file readable in one sitting. The words keep out what belongs to one machine, what
sleeps instead of waiting, and what swallows an error that it does not understand.
"""

from __future__ import annotations

import ast
import re

import pytest

from tests.house.source import Module, modules, read, tracked

MODULE_LINES_MAX = 400
TEST_LINES_MAX = 500
FUNCTION_LINES_MAX = 70

# What is read whole into a document or a database, not by people: no limit, no words.
VENDORED = ("outreach/web/static/vendor/", "migrations/procrastinate/", "requirements/")

# Where a stranger's error may end: the task runner. (The app's edge has its handlers by type.)
CATCHES_ALL = frozenset({"outreach/tasks/runner.py"})

# Programs of their own beside the loop of events: the migrator, the server's keeper, commands.
# They may wait in a plain loop; nothing that is async may, there neither.
SLEEPERS = (
    "outreach/migrate.py",
    "outreach/dev/postgres",
    "outreach/dev/processes",
    "outreach/cli/",
)

# Its sleep is no waiting: so long a fault lasts.
HARMS_BY_TIME = "tests/chaos/moments.py"

# What other systems do not have is not tested there.
SKIPS = {"tests/dev/test_postgres.py": "parent-death signals, and an account that is shut out"}

# Built from parts, so that this file does not say what it forbids.
MACHINE_PATHS = re.compile(
    "|".join(re.escape("/" + name + "/") for name in ("work", "home", "Users"))
)
INDEX_HOSTS = re.compile(
    "|".join(re.escape(".".join(parts)) for parts in (("pypi", "org"), ("pythonhosted", "org")))
)
UNFINISHED = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)) + r")\b")
LOCK_FILES = ("uv.lock", "pylock.toml", "poetry.lock", "Pipfile.lock")


def code() -> tuple[Module, ...]:
    return modules("outreach")


def written() -> list[tuple[str, str]]:
    """Every text file that we write ourselves, with its text."""
    binary = (".png", ".ico", ".woff2", ".gz")
    return [
        (path, read(path))
        for path in tracked()
        if not path.startswith(VENDORED) and not path.endswith(binary)
    ]


def long_functions(module: Module) -> list[str]:
    """Functions over the limit, decorators left out."""
    return [
        f"{module.path}:{node.lineno} {node.name} has {length} lines"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]


def catches_all(module: Module) -> list[int]:
    """Lines that catch every error, or every one but an exit."""
    names = {"Exception", "BaseException"}
    lines = []
    for node in ast.walk(module.tree):
        match node:
            case ast.ExceptHandler(type=None, lineno=line):
                lines.append(line)
            case ast.ExceptHandler(type=ast.expr() as type, lineno=line, body=body):
                caught = {part.id for part in ast.walk(type) if isinstance(part, ast.Name)}
                passes_on = isinstance(body[-1], ast.Raise) and body[-1].exc is None
                if caught & names and not passes_on:
                    lines.append(line)
    return lines


def idle_sleeps(module: Module) -> list[int]:
    """Lines that sleep outside a loop on a condition; a sleep of 0 only lets others run."""
    waiting = {
        id(part)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.While)
        for part in ast.walk(node)
    }
    return [
        node.lineno
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "asyncio.sleep")
        if id(node) not in waiting and ast.unparse(node.args[0]) != "0"
    ]


def calls(module: Module, *names: str) -> list[int]:
    """Lines that call one of the names, as `print(` or `time.sleep(`."""
    return [
        node.lineno
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in names
    ]


def test_modules_and_functions_are_short() -> None:
    long = [
        f"{module.path} has {count} lines"
        for module in (*code(), *modules("migrations"), *modules("tools"))
        if (count := len(module.text.splitlines())) > MODULE_LINES_MAX
    ]
    long += [line for module in (*code(), *modules("tests")) for line in long_functions(module)]
    assert long == []


def test_test_modules_are_short() -> None:
    counted = {module.path: len(module.text.splitlines()) for module in modules("tests")}
    assert {path: count for path, count in counted.items() if count > TEST_LINES_MAX} == {}


def test_every_error_is_caught_by_its_name() -> None:
    found = [
        f"{module.path}:{line}"
        for module in code()
        if module.path not in CATCHES_ALL
        for line in catches_all(module)
    ]
    assert found == []


def blocking_sleeps(module: Module) -> list[int]:
    """Lines that stop a whole loop of events."""
    if not module.path.startswith(SLEEPERS):
        return calls(module, "time.sleep", "sleep")
    functions = [n for n in ast.walk(module.tree) if isinstance(n, ast.AsyncFunctionDef)]
    inside = [Module(module.path, ast.unparse(function)) for function in functions]
    return [line for part in inside for line in calls(part, "time.sleep", "sleep")]


def test_nothing_sleeps_while_others_could_run() -> None:
    found = [f"{module.path}:{line}" for module in code() for line in blocking_sleeps(module)]
    assert found == []


def test_tests_wait_for_something_and_not_for_a_while() -> None:
    found = [f"{module.path}:{line}" for module in modules("tests") for line in idle_sleeps(module)]
    assert [place for place in found if not place.startswith(HARMS_BY_TIME)] == []


def test_only_the_commands_print() -> None:
    found = [
        f"{module.path}:{line}"
        for module in code()
        if not module.path.startswith("outreach/cli/")
        for line in calls(module, "print")
    ]
    assert found == []


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("a path of one machine", MACHINE_PATHS),
        ("a package index", INDEX_HOSTS),
        ("something left unfinished", UNFINISHED),
    ],
)
def test_no_file_names(what: str, pattern: re.Pattern[str]) -> None:
    found = [
        f"{path}:{number} names {what}"
        for path, text in written()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_requirement_files_hold_hashes_and_no_address() -> None:
    files = [path for path in tracked() if re.fullmatch(r"requirements/.*\.txt", path)]
    assert files
    for path in files:
        text = read(path)
        assert "://" not in text, f"{path} holds an address"
        assert "--hash=sha256:" in text, f"{path} holds no hashes"
    assert [path for path in tracked() if path.rpartition("/")[2] in LOCK_FILES] == []


def test_no_test_is_skipped_and_no_check_is_silenced_without_its_reason() -> None:
    silenced = re.compile(r"#\s*(?:type:\s*ignore|noqa)(?!.*(?:#|—|-- | - ).*\w)")
    skipped = re.compile(r"^\s*@?pytest\." + r"(?:mark\.)?(?:skip|xfail)", re.MULTILINE)
    for module in (*code(), *modules("tests")):
        if module.path not in SKIPS:
            assert not skipped.search(module.text), f"{module.path} skips a test"
        for number, line in enumerate(module.text.splitlines(), 1):
            assert not silenced.search(line), f"{module.path}:{number} needs a reason on the line"


def test_what_is_too_long_is_found() -> None:
    body = "    x = 1\n" * FUNCTION_LINES_MAX
    assert long_functions(Module("x.py", f"def f():\n{body}"))
    assert not long_functions(Module("x.py", f"def f():\n{body[:-10]}"))


@pytest.mark.parametrize(
    "handler",
    [
        "except:",
        "except Exception:",
        "except BaseException as e:",
        "except (ValueError, Exception):",
    ],
)
def test_a_handler_of_everything_is_found(handler: str) -> None:
    assert catches_all(Module("x.py", f"try:\n    f()\n{handler}\n    pass\n")) == [3]


def test_a_handler_that_names_or_passes_on_is_left_alone() -> None:
    named = "try:\n    f()\nexcept ValueError:\n    pass\n"
    passing = "try:\n    f()\nexcept BaseException:\n    clean()\n    raise\n"
    assert catches_all(Module("x.py", named)) == catches_all(Module("x.py", passing)) == []


def test_calls_are_found_and_words_in_text_are_not() -> None:
    source = 'import time\ntime.sleep(1)\n"""print(1), time.sleep(2)"""\nprint("x")\n'
    assert calls(Module("x.py", source), "time.sleep") == [2]
    assert calls(Module("x.py", source), "print") == [4]


def test_a_sleep_that_blocks_is_found() -> None:
    plain, inside = "time.sleep(1)\n", "async def f():\n    time.sleep(1)\n"
    assert blocking_sleeps(Module("outreach/services/x.py", plain)) == [1]
    assert blocking_sleeps(Module("outreach/dev/sandbox/x.py", plain)) == [1]
    assert blocking_sleeps(Module("outreach/cli/x.py", inside)) == [2]
    assert blocking_sleeps(Module("outreach/cli/x.py", plain)) == []


def test_a_sleep_without_a_condition_is_found() -> None:
    source = "while not done():\n    time.sleep(1)\nasyncio.sleep(0)\ntime.sleep(0.1)\n"
    assert idle_sleeps(Module("x.py", source)) == [4]


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (MACHINE_PATHS, "open('" + "/" + "work" + "/x')"),
        (MACHINE_PATHS, "/" + "home" + "/ann/x"),
        (INDEX_HOSTS, "https://files." + "pythonhosted" + "." + "org/x"),
        (UNFINISHED, "# TO" + "DO: later"),
    ],
)
def test_a_banned_word_is_found(pattern: re.Pattern[str], line: str) -> None:
    assert pattern.search(line)
