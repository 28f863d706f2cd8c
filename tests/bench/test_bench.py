"""The measurements stand: their world fits the schema, and what is missing is said."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from outreach.core.plan import validate_plan
from tests.bench import memory, peer, shape, table


@pytest.mark.parametrize("kind", shape.PLANS)
def test_the_plans_can_run(kind: str) -> None:
    assert validate_plan(shape.plan(kind, datetime.now(UTC))) == []


@pytest.mark.parametrize("limits", shape.LIMITS)
def test_the_world_is_laid_and_due(conninfo: str, limits: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        shape.seed(connection, plan_kind="plain", limits=limits)
        shape.make_due(connection, 2_000, "p")
        shape.make_due(connection, 10, "more")
        row = connection.execute(
            "select count(*), count(distinct tenant_id), count(distinct sender_id)"
            " from scheduled_actions where due_at <= now() and state = 'pending'"
        ).fetchone()
        domains = connection.execute(
            "select count(distinct email_domain),"
            " round(avg((email_domain = 'bigmail.example')::int), 2) from contacts"
        ).fetchone()
    assert row == (2_010, shape.TENANTS, shape.TENANTS * shape.SENDERS_OF_TENANT)
    assert domains is not None and domains[0] > 900 and float(domains[1]) == 0.3


def test_a_rival_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    said = peer.missing(tmp_path)
    assert said is not None and "schema.sql" in said
    for name in peer.NEEDED:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    said = peer.missing(tmp_path)
    assert said is None or "not on this machine" in said


def test_programs_that_are_not_there_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in peer.NEEDED:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    said = peer.missing(tmp_path)
    assert said is not None and "redis-server" in said and "node" in said


def test_the_table_says_what_is_reached() -> None:
    ours = [{table.RATE: rate, "cpu_us": 400.0, "statements": 0.2} for rate in (4_000, 3_900, 10)]
    theirs = [{table.RATE: 1_500, "cpu_us": 1_000.0, "redis_cpu_us": 100.0, "statements": 3.0}]
    said = "\n".join(table.lines(0, ours, theirs))
    assert "3,900      1,500    2.60  >= 2.50 x: reached" in said
    assert "<= 0.33 x: MISSED" in said and "<= 0.15: MISSED" in said
    alone = "\n".join(table.lines(0, ours, []))
    assert "x: " not in alone and "3,900" in alone


def test_a_slope_is_that_of_the_line() -> None:
    looks = [memory.Look(n * 50_000, 80.0 + n) for n in range(8)]
    assert memory.slope(looks) == 2.0
    assert memory.slope(looks[:1]) is None
