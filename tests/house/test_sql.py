"""Every statement of every `.sql` file: it prepares against the schema, and reads as the others do.

PostgreSQL itself is the judge of a statement: it parses, plans and describes each one against the
migrated schema, as the role that owns it. A misspelled column fails here and not at night.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg.pq import ExecStatus

from outreach.sql import parse
from tests.house.source import Module, read, tracked

FILE_LINES_MAX = 300
STATEMENT_LINES_MAX = 80

PARAMETER = re.compile(r"%\((\w+)\)s(::[a-z_]+(?:\[\])?)?")
HEADING = re.compile(r"^-- name: (\S+)$", re.MULTILINE)
# Strings, comments and quoted names: what is not the language itself.
SILENT = re.compile(r"'(?:[^']|'')*'|--[^\n]*|\"[^\"]*\"")
KEYWORDS_WORDS = (
    "select insert update delete from where and or not null is in exists into values set returning "
    "with as join left right inner outer cross lateral on using group by having order limit offset "
    "for share skip locked nowait conflict do nothing union all distinct case when then else end "
    "over partition filter array true false asc desc nulls first last between like any some "
    "create table index unique primary key foreign references check constraint default"
)
KEYWORDS = frozenset(KEYWORDS_WORDS.split())


Session = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True)
class Statement:
    """One named statement of a file of ours."""

    path: str
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.path.removeprefix('outreach/')}:{self.name}"


SQL_FILES = tuple(
    path for path in tracked() if path.startswith("outreach/") and path.endswith(".sql")
)
STATEMENTS = tuple(
    Statement(path, name, text) for path in SQL_FILES for name, text in parse(read(path)).items()
)


def numbered(text: str) -> tuple[str, list[str]]:
    """The statement with `$1`, `$2`, … as the server reads it, and the names in that order."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        name = found[1]
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}{found[2] or ''}"

    return PARAMETER.sub(number, text).replace("%%", "%"), names


def uncast(text: str) -> list[str]:
    """The parameters that leave their type to the server's guess."""
    return [found[1] for found in PARAMETER.finditer(text) if found[2] is None]


def loud_keywords(text: str) -> list[str]:
    """Keywords that are not in lower case."""
    words = re.findall(r"\b[A-Za-z]+\b", SILENT.sub(" ", text))
    return [word for word in words if word.lower() in KEYWORDS and word != word.lower()]


def used_names(module: Module) -> set[str]:
    """The statements that a module names as `SQL["name"]`, or one of several in the brackets."""
    names: set[str] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "SQL":
            constants = (part for part in ast.walk(node.slice) if isinstance(part, ast.Constant))
            names |= {part.value for part in constants if isinstance(part.value, str)}
    return names


def refusal(connection: Session, text: str) -> str | None:
    """Why PostgreSQL does not take a statement; None when it does."""
    query, _ = numbered(text)
    result = connection.pgconn.prepare(b"", query.encode())
    if result.status == ExecStatus.COMMAND_OK:
        return None
    return (result.error_message or b"no reason given").decode()


@pytest.fixture(scope="module")
def session(shared_conninfo: str) -> Iterator[Session]:
    with psycopg.connect(shared_conninfo, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("statement", STATEMENTS, ids=str)
def test_it_prepares(statement: Statement, session: Session) -> None:
    assert refusal(session, statement.text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("select slugg from tenants", "slugg"),
        ("select id from tenants where slug = %(slug)s::uuid", "operator does not exist"),
        ("select 1 from nowhere", "nowhere"),
    ],
)
def test_a_statement_that_is_wrong_does_not_prepare(
    text: str, reason: str, session: Session
) -> None:
    assert reason in (refusal(session, text) or "")
    assert refusal(session, "select id from tenants where slug = %(slug)s::text") is None


@pytest.mark.parametrize("statement", STATEMENTS, ids=str)
def test_it_reads_as_the_others_do(statement: Statement) -> None:
    assert uncast(statement.text) == [], "every parameter is cast"
    assert loud_keywords(statement.text) == [], "keywords are in lower case"
    assert len(statement.text.splitlines()) <= STATEMENT_LINES_MAX
    assert ";" not in SILENT.sub(" ", statement.text), "one statement a name"


def test_style_that_is_wrong_is_found() -> None:
    assert uncast("select %(a)s::text, %(b)s") == ["b"]
    assert loud_keywords("SELECT 'FROM' -- WHERE\nfrom t") == ["SELECT"]
    assert loud_keywords("select 'NOT' from t") == []
    assert numbered("select %(a)s::int, %(b)s::int[], %(a)s::int, 5 %% 2") == (
        "select $1::int, $2::int[], $1::int, 5 % 2",
        ["a", "b"],
    )


@pytest.mark.parametrize("path", SQL_FILES)
def test_a_file_and_its_twin_belong_together(path: str) -> None:
    text, twin = read(path), path.removesuffix(".sql") + ".py"
    assert len(text.splitlines()) <= FILE_LINES_MAX
    assert twin in tracked(), f"{path} needs {twin} beside it"
    names = set(parse(text))
    assert names == set(HEADING.findall(text)), "a heading is `-- name: lower_case`"
    assert used_names(Module(twin, read(twin))) == names, "each is used by its twin, and no other"


@pytest.mark.parametrize("path", SQL_FILES)
def test_each_statement_says_what_it_promises(path: str) -> None:
    silent = []
    for part in HEADING.split(read(path))[1:][1::2]:
        first = part.strip().splitlines()[0]
        if not first.startswith("-- "):
            silent.append(first)
    assert silent == [], "prose stands under `-- name:`"


def test_a_statement_that_nobody_uses_is_found() -> None:
    twin = Module("x.py", 'SQL = sql.load(__file__)\n\ndef f(tx):\n    return SQL["get_it"]\n')
    assert used_names(twin) == {"get_it"}
