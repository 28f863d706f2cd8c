"""Tenants, keys, senders, limits, suppressions, contacts: the commands as scripts see them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import answer, outreach, refusal

ADDRESS = "1 Main St, Springfield"


@pytest.fixture(autouse=True)
def database(conninfo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands' database is the test's own."""
    monkeypatch.setenv("DATABASE_URL", conninfo)
    for name in ("DATABASE_DIRECT_URL", "SENDGRID_API_KEY", "SENDGRID_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def acme() -> str:
    """A tenant; its slug."""
    answer("tenants", "create", "--slug", "acme", "--name", "Acme", "--postal-address", ADDRESS)
    return "acme"


def rows_of(path: Path) -> list[list[str]]:
    """A CSV file's rows."""
    return list(csv.reader(path.read_text("utf-8").splitlines()))


def test_tenants_are_made_once_listed_paused_and_resumed(acme: str) -> None:
    again = answer("tenants", "create", "--slug", acme, "--name", "Other")
    assert {"id", "slug", "state"} <= set(again)
    assert (again["slug"], again["state"], again["name"]) == (acme, "active", "Acme")
    paused = answer("tenants", "pause", acme, "--reason", "too many")
    assert (paused["state"], paused["pause_reason"]) == ("paused", "too many")
    assert [t["state"] for t in answer("tenants", "list")["data"]] == ["paused"]
    assert answer("tenants", "resume", acme)["state"] == "active"
    assert "nobody" in refusal("tenants", "pause", "nobody", "--reason", "r", code=2)
    assert "$.slug" in refusal("tenants", "create", "--slug", "A!", "--name", "A", code=2)


def test_a_tenants_share_of_the_workers_is_set(acme: str) -> None:
    changed = answer("tenants", "update", acme, "--weight", "3", "--own-queue")
    assert (changed["weight"], changed["has_own_queue"]) == (3, True)
    changed = answer("tenants", "update", acme, "--no-own-queue")
    assert (changed["weight"], changed["has_own_queue"]) == (3, False)
    create = ("tenants", "create", "--slug", "big", "--name", "Big", "--weight", "2", "--own-queue")
    assert (answer(*create)["weight"], answer(*create)["has_own_queue"]) == (2, True)
    assert "$.weight" in refusal("tenants", "update", acme, "--weight", "0", code=2)
    assert "nobody" in refusal("tenants", "update", "nobody", "--weight", "2", code=2)


def test_a_tenant_gets_the_postal_address_that_it_lacks_and_keeps_the_one_it_has() -> None:
    create = ("tenants", "create", "--slug", "acme", "--name", "Acme")
    assert answer(*create)["postal_address"] is None
    assert answer(*create, "--postal-address", ADDRESS)["postal_address"] == ADDRESS
    assert answer(*create, "--postal-address", "2 Side St")["postal_address"] == ADDRESS
    assert answer(*create)["postal_address"] == ADDRESS


def test_the_installation_is_paused_and_resumed(acme: str) -> None:
    assert answer("pause", "--reason", "quota") == {"state": "paused"}
    assert answer("resume") == {"state": "active"}
    assert "reason" in refusal("pause", "--reason", " ", code=2)
    assert outreach("pause").exit_code == 2


def test_a_key_is_printed_once(acme: str) -> None:
    made = answer("keys", "create", "--tenant", acme, "--scopes", "read,write")
    assert made["scopes"] == ["read", "write"]
    assert made["key"].startswith("ok_live_")
    listed = answer("keys", "list", "--tenant", acme)
    assert [key["id"] for key in listed["data"]] == [made["id"]]
    # A secret may hold an underscore itself, so it is what follows the prefix, not the last part.
    secret = made["key"].removeprefix(f"ok_live_{made['id']}_")
    assert len(secret) >= 43
    assert secret not in json.dumps(listed)
    assert answer("keys", "create", "--operator")["scopes"] == ["operator"]
    assert answer("keys", "revoke", made["id"])["revoked_at"]
    assert "scopes" in refusal("keys", "create", "--tenant", acme, "--scopes", "all", code=2)
    assert "--operator" in refusal("keys", "create", code=2)


def test_a_sender_is_added_and_vouched_for(acme: str) -> None:
    of_ann = ("--tenant", acme, "--email", "Ann@Acme.example")
    added = answer("senders", "add", *of_ann, "--name", "Ann")
    assert (added["from_email"], added["state"]) == ("Ann@acme.example", "unverified")
    assert "SENDGRID_API_KEY" in refusal("senders", "verify", *of_ann, code=2)
    assert answer("senders", "verify", *of_ann, "--force")["state"] == "verified"
    [listed] = answer("senders", "list", "--tenant", acme)["data"]
    assert (listed["id"], listed["state"]) == (added["id"], "verified")
    wrong = ("--tenant", acme, "--email", "bob@acme.example")
    assert "bob@acme.example" in refusal("senders", "verify", *wrong, "--force", code=2)


def test_a_sender_is_paused_and_resumed(acme: str) -> None:
    of_ann = ("--tenant", acme, "--email", "ann@acme.example")
    answer("senders", "add", *of_ann, "--name", "Ann")
    paused = answer("senders", "pause", *of_ann, "--reason", "left us")
    assert (paused["pause_reason"], bool(paused["paused_at"])) == ("left us", True)
    assert paused["paused_by"].startswith("cli:")
    assert "left us" in outreach("senders", "list", "--tenant", acme).stdout
    resumed = answer("senders", "resume", *of_ann)
    assert (resumed["paused_at"], resumed["paused_by"]) == (None, None)
    assert "may send again" in outreach("senders", "resume", *of_ann).stdout
    assert "reason" in refusal("senders", "pause", *of_ann, "--reason", " ", code=2)
    assert outreach("senders", "pause", *of_ann).exit_code == 2
    wrong = ("--tenant", acme, "--email", "bob@acme.example")
    assert "bob@acme.example" in refusal("senders", "pause", *wrong, "--reason", "r", code=2)


def test_a_provider_that_is_away_is_three(acme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENDGRID_API_KEY", "SG.test")
    monkeypatch.setenv("SENDGRID_BASE_URL", "http://127.0.0.1:1")
    of_ann = ("--tenant", acme, "--email", "ann@acme.example")
    answer("senders", "add", *of_ann, "--name", "Ann")
    assert "SendGrid" in refusal("senders", "verify", *of_ann, code=3)


def test_limits_are_set_and_shown(acme: str) -> None:
    answer("senders", "add", "--tenant", acme, "--email", "a@acme.example", "--name", "A")
    of_a = ("--tenant", acme, "--sender", "a@acme.example")
    [row] = answer("limits", "set", *of_a, "--per-minute", "5")["data"]
    assert (row["scope"], row["key"], row["per_minute"]) == ("sender", "a@acme.example", 5)
    answer("limits", "set", "--tenant", acme, "--scope", "domain", "--off")
    answer("limits", "set", "--scope", "installation", "--per-hour", "9")
    shown = answer("limits", "show", "--tenant", acme)["data"]
    always = {"scope", "key", "window_seconds", "limit", "used", "resets_at"}
    assert set(shown[0]) == always | {"frees_at", "warm_up_day", "reputation"}
    limits = {(u["scope"], u["key"], u["window_seconds"]): u["limit"] for u in shown}
    assert limits["sender", "a@acme.example", 60] == 5
    assert limits["installation", "", 3600] == 9
    assert answer("limits", "unset", *of_a)["was"]["per_minute"] == 5
    assert answer("limits", "unset", *of_a)["was"] is None
    assert "nothing changed" in outreach("limits", "unset", *of_a).stdout
    assert answer("limits", "unset", "--scope", "installation")["was"]["per_hour"] == 9
    refusal("limits", "unset", "--tenant", acme, "--sender", "b@acme.example", code=2)
    refusal("limits", "unset", code=2)


def test_a_sender_warms_up_shares_a_pool_and_is_forgiven(acme: str) -> None:
    answer("senders", "add", "--tenant", acme, "--email", "a@acme.example", "--name", "A")
    of_a = ("--tenant", acme, "--sender", "a@acme.example")
    more = ("--warm-up", "50", "--bounce-percent", "2.5", "--complaint-percent", "0.2")
    [row] = answer("limits", "set", *of_a, *more)["data"]
    assert (row["warm_up"], row["bounce_percent"], row["complaint_percent"]) == (50, 2.5, 0.2)
    assert "complaints %" in outreach("limits", "set", *of_a, *more).stdout
    assert answer("limits", "pool", *of_a, "--pool", "cold")["pool"] == "cold"
    assert answer("senders", "list", "--tenant", acme)["data"][0]["ip_pool"] == "cold"
    assert "cold" in outreach("senders", "list", "--tenant", acme).stdout
    answer("limits", "set", "--tenant", acme, "--pool", "cold", "--per-day", "70")
    answer("limits", "set", *of_a, "--max-concurrent", "3")
    shown = answer("limits", "show", "--tenant", acme)["data"]
    rows = {(u["scope"], u["window_seconds"]): (u["limit"], u["warm_up_day"]) for u in shown}
    assert rows["sender", 86_400] == (50, 1)
    assert rows["sender", 0] == (3, None)
    assert rows["pool", 86_400] == (70, None), "its warm-up begins at 200"
    assert "day 1 of its warm-up" in outreach("limits", "show", "--tenant", acme).stdout
    assert answer("limits", "pool", *of_a, "--none")["pool"] is None
    assert answer("limits", "forgive", *of_a, "--reason", "a bad list")["reputation"] == "good"
    refusal("limits", "pool", *of_a, code=2)
    refusal("limits", "pool", *of_a, "--pool", "x", code=2)
    unknown = ("--tenant", acme, "--sender", "b@acme.example")
    refusal("limits", "forgive", *unknown, code=2)
    refusal("limits", "set", "--tenant", acme, "--pool", "no", "--per-day", "1", code=2)


@pytest.mark.parametrize(
    "words",
    [
        ("--tenant", "acme"),
        ("--tenant", "acme", "--warm-up", "5"),
        ("--tenant", "acme", "--scope", "domain", "--max-concurrent", "5"),
        ("--tenant", "acme", "--scope", "tenant", "--bounce-percent", "5"),
        ("--tenant", "acme", "--scope", "sender", "--bounce-percent", "101"),
        ("--tenant", "acme", "--scope", "sender", "--pool", "cold", "--per-day", "1"),
        ("--tenant", "acme", "--per-hour", "-1"),
        ("--per-hour", "1"),
        ("--scope", "installation", "--tenant", "acme", "--per-hour", "1"),
        ("--tenant", "acme", "--scope", "tenant", "--domain", "x.com", "--per-hour", "1"),
        ("--tenant", "acme", "--sender", "a@x.com", "--domain", "x.com", "--per-hour", "1"),
        ("--tenant", "acme", "--sender", "nobody@x.com", "--per-hour", "1"),
    ],
)
def test_limits_that_mean_nothing_are_refused(acme: str, words: tuple[str, ...]) -> None:
    assert refusal("limits", "set", *words, code=2)


def test_a_quote_that_nothing_closes_loses_no_suppression(acme: str) -> None:
    plain = 'value,note\na@x.com,"said so\nb@x.com,\nc@x.com,\n'
    got = answer("suppressions", "import", "-", "--tenant", acme, input=plain)
    assert got == {"rows": 3, "added": 2, "rejected": 1}


def test_suppressions_come_go_and_travel(acme: str, tmp_path: Path) -> None:
    of = ("--tenant", acme)
    ann = ("--value", "Ann@x.com", "--reason", "unsubscribe")
    assert answer("suppressions", "add", *of, *ann)["added"] is True
    assert answer("suppressions", "add", *of, *ann)["added"] is False
    answer("suppressions", "add", *of, "--value", "@spam.example", "--reason", "legal")
    data = answer("suppressions", "list", *of)["data"]
    assert [(s["value"], s["reason"]) for s in data] == [
        ("@spam.example", "legal"),
        ("Ann@x.com", "unsubscribe"),
    ]
    file, errors = tmp_path / "list.csv", tmp_path / "errors.csv"
    assert answer("suppressions", "export", file, *of) == {"rows": 2}
    answer("tenants", "create", "--slug", "other", "--name", "Other")
    assert answer("suppressions", "import", file, "--tenant", "other") == {
        "rows": 2,
        "added": 2,
        "rejected": 0,
    }
    assert "'@spam.example,legal" in file.read_text()
    plain = "bob@x.com\n\nnobody\n@y.example\nbob@x.com\n"
    got = answer("suppressions", "import", "-", *of, "--errors", errors, input=plain)
    assert got == {"rows": 4, "added": 2, "rejected": 1}
    assert rows_of(errors)[1][:2] == ["2", "value"]
    removed = answer("suppressions", "remove", *of, "--value", "ann@x.com", "--why", "asked")
    assert removed == {"value": "ann@x.com", "lifted": ["unsubscribe"]}
    assert "ann@x.com" in refusal("suppressions", "remove", *of, "--value", "ann@x.com", code=2)
    assert refusal("suppressions", "add", *of, "--value", "x", "--reason", "manual", code=2)
    assert refusal("suppressions", "import", "-", *of, code=2, input="")


def test_contacts_come_from_a_file_and_go_into_one(acme: str, tmp_path: Path) -> None:
    file, errors, out = (tmp_path / name for name in ("in.csv", "errors.csv", "out.csv"))
    file.write_text("Mail;first_name;plan\nann@x.com;Ann;pro\nnobody;;\n", "utf-8")
    words = ("contacts", "import", file, "--tenant", acme, "--map", "Mail=email")
    report = answer(*words, "--errors", errors, "--dry-run")
    assert set(report) == {
        *("rows", "created", "updated", "unchanged", "duplicates", "rejected", "seconds"),
    }
    assert answer(*words, "--errors", errors)["created"] == 1
    assert answer(*words)["unchanged"] == 1
    assert rows_of(errors) == [
        ["row", "column", "reason", "value"],
        ["2", "Mail", "is not an email address", "nobody"],
    ]
    assert answer("contacts", "export", out, "--tenant", acme) == {"rows": 1}
    header, ann = rows_of(out)
    assert [ann[header.index(name)] for name in ("email", "first_name", "attributes.plan")] == [
        "ann@x.com",
        "Ann",
        "pro",
    ]
    lines = '{"email": "bob@x.com"}\n'
    told = ("--format", "ndjson", "--tenant", acme)
    assert answer("contacts", "import", "-", *told, input=lines)["created"] == 1


def test_contact_files_that_cannot_be_read_are_two(acme: str, tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    words = ("contacts", "import", file, "--tenant", acme)
    assert str(file) in refusal(*words, code=2)
    file.write_bytes("email\nann@x.com\n".encode("utf-16"))
    assert "UTF-8" in refusal(*words, code=2)
    file.write_text("email,email\n")
    assert "email" in refusal(*words, code=2)
    file.write_text("email\nann@x.com\n")
    assert "--map" in refusal(*words, "--map", "nonsense", code=2)
    assert "is the file that is read" in refusal(*words, "--errors", file, code=2)
    assert file.read_text() == "email\nann@x.com\n"
    assert "nobody" in refusal("contacts", "import", file, "--tenant", "nobody", code=2)


def test_people_get_lines_and_scripts_get_json(acme: str) -> None:
    shown = outreach("tenants", "list")
    assert shown.stdout == "slug\tname\tstate\ttimezone\twhy\nacme\tAcme\tactive\tUTC\t\n"


def test_a_mistyped_command_is_wrong_usage() -> None:
    result = outreach("tenats")
    assert result.exit_code == 2
    assert "tenants" in result.stderr


def test_help_imports_no_family() -> None:
    code = (
        "import sys\n"
        "from outreach import cli\n"
        "try:\n    cli.app(['--help'], prog_name='outreach')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "loaded = [m for m in ('psycopg', 'pydantic', 'aiohttp', 'yoyo') if m in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "suppressions" in done.stdout


def test_the_module_is_the_command() -> None:
    words = [sys.executable, "-m", "outreach", "tenants", "list", "--json"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"data": []}
