"""The demo, whole, in processes of its own; and that nothing outlives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from outreach.cli.demo import SEED
from outreach.cli.demo_report import Books, Theirs
from outreach.core.plan import validate_plan
from outreach.dev import demo_data
from outreach.services.reconcile import Account, Progress
from outreach.store.reconcile import Bodies, Wave
from tests.support.folders import family, open_folder, until
from tests.support.simulate import (
    RATES_ERROR_MAX,
    STORY_ERROR_MAX,
    biggest_difference,
    by_rates,
    by_story,
    demo_addresses,
    shares_of,
    shares_of_report,
)

OUTREACH = (sys.executable, "-c", "import sys; from outreach.cli import main; sys.exit(main())")
DEMO_SECONDS_MAX = 110.0
PATIENCE_SECONDS = 60.0
MAILS = [uuid4() for _ in range(3)]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the demo runs."""
    with open_folder() as made:
        yield made
        until(lambda: family(made) == [], "something still runs there")


def started(folder: Path, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*OUTREACH, *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"},
    )


@pytest.mark.slow
def test_the_demo_ends_by_itself_with_everybody_accounted_for(folder: Path) -> None:
    process = started(folder, "demo", "--json")
    out, err = process.communicate(timeout=DEMO_SECONDS_MAX)
    assert process.returncode == 0, err
    report = json.loads(out)
    assert report["ok"]
    assert all(check["ok"] for check in report["checks"])
    assert len(report["checks"]) == 5
    ended = report["enrollments"]
    assert ended["total"] == ended["completed"] + ended["stopped"] + ended["failed"] == 1_000
    assert report["accepted"] == report["messages"]["sent"] > 1_800
    assert report["accepted_again"] == 0
    assert {"delivered", "opened", "clicked", "bounced", "unsubscribed"} <= set(report["events"])
    codes = {entry["code"] for entry in report["story"]["data"]}
    assert {"enrolled", "entered", "accepted", "delivered", "opened", "no_click"} <= codes
    assert "outreach contacts import" in err, "it prints what it does"
    rejected = (folder / ".outreach/demo/rejected.csv").read_text().splitlines()
    assert len(rejected) == 1 + demo_data.BAD_ROWS
    until(lambda: family(folder) == [], "it leaves processes behind")
    compare_with_the_simulation(report, demo_addresses(folder / "contacts.csv"))


def compare_with_the_simulation(report: dict[str, Any], addresses: list[str]) -> None:
    """What the engine did is what was foretold, within the error that docs/simulate.md states."""
    done, contacts = shares_of_report(report), len(addresses)
    assert contacts == report["enrollments"]["total"]
    told = shares_of(by_story(SEED, addresses), contacts)
    assert biggest_difference(done, told) <= STORY_ERROR_MAX, (done, told)
    guessed = shares_of(by_rates(1, contacts), contacts)
    assert biggest_difference(done, guessed) <= RATES_ERROR_MAX, (done, guessed)


@pytest.fixture
def halfway(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo whose processes are all up."""
    process = started(folder, "demo")
    try:
        log = folder / ".outreach/demo/worker.log"
        until(lambda: log.exists() and "worker_started" in log.read_text(), "no worker")
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_killed_demo_leaves_nothing_running(folder: Path, halfway: subprocess.Popen[str]) -> None:
    assert len(family(folder)) > 5, "the demo, its three, and PostgreSQL"
    halfway.kill()
    until(lambda: family(folder) == [], "a child outlives the demo")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_all_it_started(
    folder: Path, halfway: subprocess.Popen[str], number: signal.Signals, code: int
) -> None:
    second = started(folder, "demo")
    _, err = second.communicate(timeout=PATIENCE_SECONDS)
    assert (second.returncode, err.count("Another demo is running")) == (1, 1)
    halfway.send_signal(number)
    _, err = halfway.communicate(timeout=PATIENCE_SECONDS)
    assert halfway.returncode == code
    assert "Traceback" not in err
    until(lambda: family(folder) == [], "a child outlives the demo")


def test_the_plan_and_the_people_are_what_the_demo_says(tmp_path: Path) -> None:
    plan, contacts = tmp_path / "plan.json", tmp_path / "contacts.csv"
    demo_data.write_plan(plan)
    demo_data.write_contacts(contacts)
    written = json.loads(plan.read_text())
    assert validate_plan(written) == []
    assert tuple(node["id"] for node in written["nodes"]) == demo_data.NODES
    addresses = [line.partition(",")[0] for line in contacts.read_text().splitlines()[1:]]
    wanted = demo_data.CONTACTS + demo_data.BAD_ROWS + demo_data.DUPLICATES
    assert len(addresses) == wanted
    assert all(address.endswith(".example") for address in addresses if address)


def books(
    *,
    sent: list[UUID] = MAILS,
    accepted: list[UUID] = MAILS,
    after_suppression: int = 0,
    unknown: int = 0,
    active: int = 0,
    unmatched: int = 0,
) -> Books:
    """Books that agree, but for what is given."""
    enrollments = Counter(completed=2, stopped=1, active=active)
    return Books(
        Progress(enrollments, Counter(), Counter(sent=3, unknown=unknown), Counter(opened=2), 1),
        Account([], after_suppression, Wave(3, 1.0), Bodies(0, 1, 0, unmatched), None),
        sent,
        Theirs(
            {"accepted": len(accepted), "events": {"open": 4}, "webhook": {"given_up": 0}},
            Counter(map(str, accepted)),
        ),
    )


def failed(found: Books) -> list[str]:
    return [check.name for check in found.checks() if not check.is_ok]


def test_books_that_agree_pass_every_check() -> None:
    assert failed(books()) == []


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (books(active=1), "everybody_ended"),
        (books(accepted=MAILS[:2]), "sent_is_accepted"),
        (books(sent=MAILS[:2]), "sent_is_accepted"),
        (books(accepted=[*MAILS[:2], MAILS[0]]), "sent_is_accepted"),
        (books(unknown=1), "nothing_unsettled"),
        (books(after_suppression=1), "nobody_after_suppression"),
        (books(unmatched=1), "every_webhook_applied"),
    ],
)
def test_books_that_differ_fail_their_check(found: Books, name: str) -> None:
    assert failed(found) == [name]
