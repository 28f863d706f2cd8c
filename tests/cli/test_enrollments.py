"""The enrollment commands as scripts and people see them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.commands import answer, outreach, refusal
from tests.support.campaigns import SENDER, plan_data

OF_ANN = ("--tenant", "acme", "--contact", "ann@cust.example")


@pytest.fixture(autouse=True)
def running(conninfo: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A tenant whose campaign Spring runs with one contact."""
    monkeypatch.setenv("DATABASE_URL", conninfo)
    monkeypatch.delenv("DATABASE_DIRECT_URL", raising=False)
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(plan_data()), "utf-8")
    of = ("--tenant", "acme")
    answer("tenants", "create", "--slug", "acme", "--name", "Acme", "--postal-address", "1 Main St")
    answer("senders", "add", *of, "--email", SENDER, "--name", "Ana")
    answer("senders", "verify", *of, "--email", SENDER, "--force")
    answer("contacts", "import", "-", *of, input="email\nann@cust.example\nbob@cust.example\n")
    answer(
        *("campaigns", "create", *of, "--name", "Spring", "--plan", plan, "--sender", SENDER),
    )
    answer("campaigns", "enroll", "Spring", *of, "--emails", "-", input="ann@cust.example\n")
    answer("campaigns", "launch", "Spring", *of)


def test_a_contact_is_paused_resumed_and_stopped() -> None:
    [paused] = answer("enrollments", "pause", *OF_ANN, "--reason", "on leave")["data"]
    assert set(paused) == {"id", "campaign", "state"}
    assert (paused["campaign"], paused["state"]) == ("Spring", "paused")
    story = outreach("explain", *OF_ANN).stdout
    assert ': "on leave".' in story
    [resumed] = answer("enrollments", "resume", *OF_ANN, "--campaign", "Spring")["data"]
    assert resumed == {**paused, "state": "active"}
    [stopped] = answer("enrollments", "stop", *OF_ANN, "--reason", "wrong person")["data"]
    assert stopped == {**paused, "state": "stopped"}
    assert "stopped it: wrong person." in outreach("explain", *OF_ANN).stdout
    assert "stopped" in refusal("enrollments", "resume", *OF_ANN, code=1)


def test_people_get_a_table_and_a_sentence_for_what_is_wrong() -> None:
    shown = outreach("enrollments", "pause", *OF_ANN, "--reason", "on leave")
    assert shown.stdout == "campaign\tstate\nSpring\tpaused\n"
    of_bob = ("--tenant", "acme", "--contact", "bob@cust.example")
    said = refusal("enrollments", "pause", *of_bob, "--reason", "r", code=2)
    assert said == "There is no enrollment of bob@cust.example.\n"
    assert "reason" in refusal("enrollments", "stop", *OF_ANN, "--reason", " ", code=2)
    assert outreach("enrollments", "pause", *OF_ANN).exit_code == 2
    other = (*OF_ANN, "--campaign", "Autumn")
    assert "Autumn" in refusal("enrollments", "resume", *other, code=2)


def test_where_a_contact_stands_is_shown_with_its_reason() -> None:
    [here] = answer("enrollments", "show", *OF_ANN)["data"]
    assert (here["campaign"], here["state"], here["visit"]) == ("Spring", "active", 1)
    assert (here["because"]["code"], here["mails"], here["held_by"]) == ("entered", [], [])
    [action] = here["pending"]
    assert (action["kind"], action["node"]) == ("send", here["node"])
    told = outreach("enrollments", "show", *OF_ANN).stdout
    assert told.startswith("Spring, ")
    assert f": active at {here['node']}, visit 1\n" in told
    assert f"mail of {here['node']}" in told
    assert outreach("enrollments", "show", *OF_ANN, "--at", "soon").exit_code == 2
    assert "ann@cust.example" in refusal(
        "enrollments", "show", *OF_ANN, "--at", "2001-01-01", code=2
    )
