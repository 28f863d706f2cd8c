"""Where SQL is, and who runs it: one function is one statement, in the transaction it was given."""

from __future__ import annotations

import ast
import re

import pytest

from tests.house.source import Module, modules
from tests.house.test_floors import floor_of

STATEMENT = re.compile(
    r"\s*(?:select\s|insert into \w|update \w+\s+set\s|delete from \w"
    r"|with \w+ as\s*(?:materialized )?\()"
)
# Above base and store nobody writes SQL; what stands under them is the schema's own.
WITHOUT_SQL = frozenset({"core", "providers", "protocol", "services", "tasks", "web", "cli"})
# What there is before the schema is: it asks whether the database exists, and makes it.
BEFORE_THE_SCHEMA = frozenset({"outreach/cli/ground.py"})
TRANSACTIONS = frozenset({"transaction", "commit", "rollback", "connection"})


def statements(module: Module) -> list[int]:
    """Lines with a SQL statement in a string."""
    return [
        node.lineno
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if STATEMENT.match(node.value)
    ]


def own_transactions(module: Module) -> list[int]:
    """Lines that begin or end a transaction, or take a connection."""
    return [
        node.lineno
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr in TRANSACTIONS
    ]


def queries_in_loops(module: Module) -> list[int]:
    """Lines that await inside a loop or a comprehension; what it loops over is asked once."""
    loops = (ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    lines = set()
    for node in ast.walk(module.tree):
        if isinstance(node, loops):
            once = {id(part) for source in asked_once(node) for part in ast.walk(source)}
            awaits = (inner for inner in ast.walk(node) if isinstance(inner, ast.Await))
            lines |= {inner.lineno for inner in awaits if id(inner) not in once}
    return sorted(lines)


def asked_once(loop: ast.AST) -> list[ast.expr]:
    """What a loop goes through; of a comprehension's several, the first."""
    match loop:
        case ast.For(iter=source):
            return [source]
        case ast.ListComp(generators=parts) | ast.SetComp(generators=parts):
            return [parts[0].iter]
        case ast.DictComp(generators=parts) | ast.GeneratorExp(generators=parts):
            return [parts[0].iter]
        case _:
            return []


def store() -> list[Module]:
    return [module for module in modules("outreach") if floor_of(module.name) == "store"]


def test_sql_stands_in_the_store() -> None:
    found = [
        f"{module.path}:{line}"
        for module in modules("outreach")
        if floor_of(module.name) in WITHOUT_SQL and module.path not in BEFORE_THE_SCHEMA
        for line in statements(module)
    ]
    assert found == []


def test_the_store_takes_a_transaction_and_never_ends_it() -> None:
    assert store()
    assert [f"{m.path}:{line}" for m in store() for line in own_transactions(m)] == []


def test_the_store_runs_no_query_in_a_loop() -> None:
    assert [f"{m.path}:{line}" for m in store() for line in queries_in_loops(m)] == []


@pytest.mark.parametrize(
    "text",
    [
        "select 1 from t",
        "insert into t values (1)",
        "update t set a = 1",
        "\nwith due as (select 1)",
    ],
)
def test_a_statement_in_a_string_is_found(text: str) -> None:
    assert statements(Module("x.py", f"QUERY = {text!r}\n")) == [1]
    assert statements(Module("x.py", f"def f():\n    '''Say {text}.'''\n")) == []


def test_a_commit_and_a_loop_are_found() -> None:
    source = (
        "async def f(tx):\n    for i in ids:\n        await tx.execute(q)\n    await tx.commit()\n"
    )
    module = Module("x.py", source)
    assert queries_in_loops(module) == [3]
    assert own_transactions(module) == [4]


def test_a_loop_over_what_one_query_found_is_left_alone() -> None:
    source = "async def f(tx):\n    return {row[0]: row for row in await tx.fetch(q)}\n"
    assert queries_in_loops(Module("x.py", source)) == []
