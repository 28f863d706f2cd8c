"""Each enum in `core/states.py` says the same words in the same order as its SQL type."""

from __future__ import annotations

import inspect
import re
from enum import StrEnum

import psycopg
import pytest

from outreach.core import states

NAMED = re.compile(r"SQL `([a-z_]+)`")

# Types whose words Python never reads: SQL alone sets and compares them.
SQL_ONLY = frozenset({"plan_author", "address_verdict"})

LABELS = """
select t.typname, array_agg(e.enumlabel::text order by e.enumsortorder)
from pg_type t
join pg_enum e on e.enumtypid = t.oid
where t.typnamespace = 'public'::regnamespace and t.typname not like 'procrastinate%'
group by t.typname
"""


def named_enums() -> dict[str, type[StrEnum]]:
    """The enums whose docstring names a SQL type, by that name."""
    found = {}
    for _, enum in inspect.getmembers(states, inspect.isclass):
        if issubclass(enum, StrEnum) and (name := NAMED.search(enum.__doc__ or "")):
            assert name[1] not in found, f"two enums claim {name[1]}"
            found[name[1]] = enum
    return found


@pytest.fixture(scope="module")
def labels(shared_conninfo: str) -> dict[str, list[str]]:
    with psycopg.connect(shared_conninfo) as connection:
        return dict(connection.execute(LABELS).fetchall())


@pytest.mark.parametrize("name", sorted(named_enums()))
def test_an_enum_says_what_its_sql_type_says(name: str, labels: dict[str, list[str]]) -> None:
    assert [member.value for member in named_enums()[name]] == labels[name]


def test_every_sql_enum_has_its_python_enum(labels: dict[str, list[str]]) -> None:
    assert set(labels) - SQL_ONLY == set(named_enums())


def test_an_enum_that_differs_is_found(labels: dict[str, list[str]]) -> None:
    shuffled = [member.value for member in reversed(states.PauseState)]
    assert shuffled != labels["pause_state"]
    assert sorted(shuffled) == sorted(labels["pause_state"])
