"""The campaign commands as scripts see them: output, exit codes, sentences."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
import typer
from typer.testing import CliRunner, Result

from outreach.cli import campaigns, explain, plans
from outreach.db import Database
from tests.support.campaigns import SENDER, new_contacts, new_sender, plan_data
from tests.support.people import new_tenant

runner = CliRunner()
app = typer.Typer()
app.add_typer(campaigns.app, name="campaigns")
app.add_typer(plans.app, name="plans")
app.command("explain")(explain.explain_command)


@pytest.fixture
def tenant(conninfo: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tenant with a verified sender and four contacts, in the database of the commands."""

    async def prepare() -> None:
        async with Database.at(conninfo) as db:
            tenant_id = await new_tenant(db)
            await new_sender(db, tenant_id)
            await new_contacts(db, tenant_id, 4)

    asyncio.run(prepare())
    monkeypatch.setenv("DATABASE_URL", conninfo)
    monkeypatch.delenv("DATABASE_DIRECT_URL", raising=False)
    return "acme"


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    """A plan that can run."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan_data()), "utf-8")
    return path


def outreach(*words: str | Path, input: str | None = None) -> Result:
    return runner.invoke(app, [str(word) for word in words], input=input)


def answer(*words: str | Path, input: str | None = None) -> Any:
    """The JSON of a command that must succeed."""
    result = outreach(*words, "--json", input=input)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def create(tenant: str, plan: Path, name: str = "Spring") -> Any:
    words = ("--tenant", tenant, "--name", name, "--plan", plan, "--sender", SENDER)
    return answer("campaigns", "create", *words)


def test_a_campaign_says_what_becomes_of_mails_that_nobody_knows_of(
    tenant: str, plan_file: Path, conninfo: str
) -> None:
    words = ("campaigns", "create", "--tenant", tenant, "--plan", plan_file, "--sender", SENDER)
    answer(*words, "--name", "Spring")
    answer(*words, "--name", "Summer", "--unknown", "resend_after")
    assert outreach(*words, "--name", "Autumn", "--unknown", "maybe").exit_code == 2
    with psycopg.connect(conninfo) as owner:
        query = "select name, unknown_policy::text from campaigns order by name"
        found = owner.execute(query).fetchall()
    assert found == [("Spring", "at_most_once"), ("Summer", "resend_after")]


def test_a_campaign_from_its_plan_to_its_end(tenant: str, plan_file: Path) -> None:
    made = create(tenant, plan_file)
    assert UUID(made.pop("id"))
    assert made == {"name": "Spring", "state": "draft", "plan_version": 1}
    of = ("--tenant", tenant)
    enrolled = answer("campaigns", "enroll", "Spring", *of, "--where", "country = 'US'")
    assert enrolled == {"enrolled": 2, "skipped": {}}
    enrolled = answer("campaigns", "enroll", "Spring", *of, "--all")
    assert enrolled == {"enrolled": 2, "skipped": {"already_enrolled": 2}}
    for act, state in (
        ("launch", "active"),
        ("launch", "active"),
        ("pause", "paused"),
        ("resume", "active"),
        ("stop", "stopped"),
    ):
        assert answer("campaigns", act, "Spring", *of, "--reason", "why") == {"state": state}
    status = answer("campaigns", "status", "Spring", *of)
    assert status["enrollments"] == {
        **dict.fromkeys(("draft", "active", "paused", "completed", "failed"), 0),
        "total": 4,
        "stopped": 4,
    }
    assert status["actions"] == {"due": 0, "pending": 0, "next_due_at": None}
    assert set(status) == {"state", "plan_version", "enrollments", "messages", "actions"}


def test_addresses_come_from_a_file_or_standard_input(
    tenant: str, plan_file: Path, tmp_path: Path
) -> None:
    create(tenant, plan_file)
    file = tmp_path / "emails.txt"
    file.write_bytes("\ufeffc1@example.com\r\nnobody@example.com\r\n\r\n".encode())
    words = ("campaigns", "enroll", "Spring", "--tenant", tenant, "--emails")
    assert answer(*words, file) == {"enrolled": 1, "skipped": {"unknown_contact": 1}}
    assert answer(*words, "-", input="c2@example.com\n") == {"enrolled": 1, "skipped": {}}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "Give one of --all, --emails FILE and --where EXPR."),
        (("--all", "--where", "country = 'US'"), "Give one of"),
        (("--where", "country like 'U%'"), "expected =, !=, in or not in"),
        (("--emails", "missing.txt"), "cannot be read: No such file"),
    ],
)
def test_an_audience_that_is_none_is_wrong_usage(
    tenant: str, plan_file: Path, options: tuple[str, ...], said: str
) -> None:
    create(tenant, plan_file)
    result = outreach("campaigns", "enroll", "Spring", "--tenant", tenant, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_a_file_that_is_no_text_is_wrong_usage(
    tenant: str, plan_file: Path, tmp_path: Path
) -> None:
    create(tenant, plan_file)
    file = tmp_path / "emails.bin"
    file.write_bytes(b"\xff\xfe\x00c1@example.com")
    result = outreach("campaigns", "enroll", "Spring", "--tenant", tenant, "--emails", file)
    assert result.exit_code == 2
    assert "is not UTF-8 text" in result.stderr


def test_each_refusal_has_its_exit_code(tenant: str, plan_file: Path) -> None:
    create(tenant, plan_file)
    of = ("--tenant", tenant)
    for words, code, said in (
        (("launch", "Autumn", *of), 2, "There is no campaign Autumn."),
        (("launch", "Spring", "--tenant", "nobody"), 2, "There is no tenant nobody."),
        (("pause", "Spring", *of), 1, "is draft; this needs it to be active."),
        (("create", *of, "--name", "Spring", "--plan", plan_file, "--sender", SENDER), 1, "new"),
        (
            ("create", *of, "--name", "X", "--plan", plan_file, "--sender", "a@b.example"),
            2,
            "sender",
        ),
        (("create", *of, "--name", "X", "--plan", "none.json", "--sender", SENDER), 2, "be read"),
    ):
        result = outreach("campaigns", *words)
        assert (result.exit_code, result.stdout) == (code, ""), words
        assert said in result.stderr, words


def test_a_plan_is_checked_without_a_database(
    plan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    assert answer("plans", "validate", plan_file) == {"valid": True, "problems": []}
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(plan_data(timezone="Nowhere", start_node_id="none")), "utf-8")
    result = outreach("plans", "validate", bad, "--json")
    assert result.exit_code == 2
    found = json.loads(result.stdout)
    assert not found["valid"]
    assert {problem["path"] for problem in found["problems"]} == {"$.timezone", "$.start_node_id"}
    assert "$.timezone" in outreach("plans", "validate", bad).stdout
    assert outreach("plans", "validate", "none.json").exit_code == 2
    broken = outreach("plans", "validate", "-", "--json", input="{")
    assert broken.exit_code == 2
    assert [problem["path"] for problem in json.loads(broken.stdout)["problems"]] == ["$"]


def test_a_contacts_story_is_told(tenant: str, plan_file: Path) -> None:
    create(tenant, plan_file)
    of = ("--tenant", tenant)
    answer("campaigns", "enroll", "Spring", *of, "--all")
    answer("campaigns", "launch", "Spring", *of)
    told = answer("explain", *of, "--contact", "C1@example.com")["data"]
    assert [entry["code"] for entry in told] == ["imported", "enrolled", "entered", "send_due"]
    assert set(told[0]) == {"at", "kind", "code", "summary", "detail"}
    assert told[1]["summary"] == "Person 1 was enrolled in Spring."
    human = outreach("explain", *of, "--contact", "c1@example.com")
    assert human.stdout.startswith("Person 1 <c1@example.com>, in UTC\n")
    assert outreach("explain", *of, "--contact", "x@example.com").exit_code == 2
