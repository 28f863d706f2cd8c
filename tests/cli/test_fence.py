"""The commands for after a restore, as a script uses them."""

from __future__ import annotations

import json

import psycopg
import pytest

from tests.cli.commands import answer, outreach, refusal


@pytest.fixture(autouse=True)
def on_a_database(conninfo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", conninfo)


def hold(conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(
            "update installation set data_loss_held_at = now(), data_loss_reason = 'sends_missing',"
            ' data_loss_detail = \'{"missing": ["pulse 7 of worker x"]}\''
        )


def test_a_hold_is_told_of_and_approved(conninfo: str) -> None:
    assert answer("fence", "status")["state"] == "open"
    hold(conninfo)

    status = answer("fence", "status")
    assert (status["state"], status["reason"]) == ("held", "sends_missing")
    told = outreach("fence", "status").stdout
    assert "ALL SENDING IS HELD" in told
    assert "Missing: pulse 7 of worker x." in told

    found = answer("reconcile")
    assert found.pop("lost_until") == status["held_at"]
    assert found == {
        "lost_from": None,
        "messages": 0,
        "events": 0,
        "first_at": None,
        "last_at": None,
        "unproven": [],
        "doubted": 0,
    }
    approved = answer("fence", "approve", "--reason", "looked at it")
    assert approved["state"] == "open"
    assert approved["approved"] == approved["present"]


def test_doctor_fails_while_it_is_held(conninfo: str) -> None:
    hold(conninfo)

    result = outreach("doctor", "--json")

    assert result.exit_code == 1
    checks = {one["name"]: one for one in json.loads(result.stdout)["checks"]}
    assert checks["data loss"]["status"] == "fail"


def test_an_approval_needs_a_reason_and_something_to_approve(conninfo: str) -> None:
    assert "Nothing is held" in refusal("fence", "approve", "--reason", "so", code=1)
    hold(conninfo)
    assert "reason" in refusal("fence", "approve", "--reason", " ", code=2)
    assert answer("fence", "status")["state"] == "held"


def test_a_failover_is_announced() -> None:
    assert answer("fence", "expect-failover", "--minutes", "5")["until"].endswith("Z")
    assert "A promotion before" in outreach("fence", "expect-failover").stdout
    refusal("fence", "expect-failover", "--minutes", "0", code=2)


def test_what_is_due_is_doubted_only_while_it_is_held(conninfo: str) -> None:
    assert "Nothing is held" in refusal("reconcile", "--doubt-due", code=1)
    hold(conninfo)
    assert answer("reconcile", "--doubt-due")["doubted"] == 0


def test_what_was_reconciled_is_shown_to_people() -> None:
    assert "mails put back" in outreach("reconcile").stdout
