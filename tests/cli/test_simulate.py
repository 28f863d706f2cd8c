"""`plans simulate`, as scripts and people see it: no database is needed for a plan alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from outreach.dev import demo_data
from tests.cli.commands import answer, outreach, refusal

START = ("--start", "2026-05-04T09:00:00Z")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No database answers."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """The demo's plan, as a file."""
    path = tmp_path / "plan.json"
    demo_data.write_plan(path)
    return path


def test_a_plan_is_simulated_without_a_database(plan: Path) -> None:
    found = answer("plans", "simulate", plan, "--contacts", "300", *START)
    assert {"messages_by_day", "finished_at", "binding_limit", "ends"} <= set(found)
    assert list(found["messages_by_day"]) == ["2026-05-04", "2026-05-05", "2026-05-06"]
    assert found["messages_by_day"]["2026-05-04"] == 200
    assert sum(found["messages_by_day"].values()) == sum(found["messages_by_node"].values())
    assert found["binding_limit"] == "limit_warmup"
    assert found["finished_at"].startswith("2026-05-06T")
    assert set(found["ends"]) == {"active", "completed", "stopped", "failed"}
    assert sum(found["ends"].values()) == 300
    assert sum(found["end_reasons"]["stopped"].values()) == found["ends"]["stopped"]
    again = answer("plans", "simulate", plan, "--contacts", "300", *START, "--seed", "1")
    assert again == found
    assert answer("plans", "simulate", plan, "--contacts", "300", *START, "--seed", "2") != found


def test_assumptions_are_given_one_after_another_or_each_with_its_flag(plan: Path) -> None:
    few = ("--contacts", "20", *START)
    found = answer("plans", "simulate", plan, *few, "--assume", "bounced=1", "opened=0.5")
    assert found["assumptions"]["opened"] == 0.5
    assert found["ends"] == {"active": 0, "completed": 0, "stopped": 20, "failed": 0}
    same = answer(
        "plans", "simulate", plan, *few, "--assume", "bounced=1", "--assume", "opened=0.5"
    )
    assert same == found


def test_people_read_days_the_end_the_limit_and_the_ends(plan: Path) -> None:
    text = outreach("plans", "simulate", plan, "--contacts", "300", *START).stdout
    for words in (
        "300 contacts",
        "Mon 04 May",
        "Finished: Wed 06 May 2026",
        "What limits it: the warm-up of its sender.",
        "completed: the plan ran to its end",
        "Assumed: opened=0.35",
    ):
        assert words in text


def test_what_is_wrong_is_told_at_once(plan: Path, tmp_path: Path) -> None:
    said = refusal("plans", "simulate", plan, "--assume", "opend=0.4", "clicked=2", code=2)
    assert "$.assume: There is no assumption 'opend'; known are opened, clicked" in said
    assert "$.assume.clicked: 2 is not a share from 0 to 1." in said
    assert "--start" in refusal("plans", "simulate", plan, "--start", "soon", code=2)
    assert "$.start" in refusal("plans", "simulate", plan, "--start", "9999-12-31", code=2)
    assert "$.contacts" in refusal("plans", "simulate", plan, "--contacts", "0", code=2)
    assert "cannot be read" in refusal("plans", "simulate", tmp_path / "none.json", code=2)
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps({**demo_data.PLAN, "start_node_id": "nowhere"}))
    assert "$.start_node_id" in refusal("plans", "simulate", broken, code=2)


def test_a_tenants_own_limits_and_past_are_taken(
    plan: Path, conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", conninfo)
    monkeypatch.delenv("DATABASE_DIRECT_URL", raising=False)
    answer("tenants", "create", "--slug", "acme", "--name", "Acme")
    answer("limits", "set", "--tenant", "acme", "--scope", "sender", "--off")
    asked = ("plans", "simulate", plan, "--tenant", "acme", "--contacts", "300", *START)
    found = answer(*asked)
    assert list(found["messages_by_day"]) == ["2026-05-04"], "nothing limits it"
    assert found["history"] == {"days": 90, "mails": 0, "is_used": False}
    assert "own 0 mails of the last 90 days are too few to tell" in outreach(*asked).stdout
    assert "nobody@acme.example" in refusal(*asked, "--sender", "nobody@acme.example", code=2)
    assert "umbrella" in refusal("plans", "simulate", plan, "--tenant", "umbrella", code=2)


def test_a_sender_is_a_tenants(plan: Path) -> None:
    said = refusal("plans", "simulate", plan, "--sender", "sam@acme.example", code=2)
    assert "give --tenant too" in said
