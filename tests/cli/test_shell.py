"""Results and failures as a script and as a person see them."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import typer

from outreach.cli import shell
from outreach.cli.ground import SchemaBehind, ground
from outreach.core.errors import Conflict, Invalid, NotFound, Problem, Refused, Unavailable
from tests.cli.commands import outreach

REFUSED_PORT = "postgresql://nobody@127.0.0.1:1/nothing"

FAILURES = [
    (
        Invalid([Problem("$.a", "is odd."), Problem("$.b", "is even.")]),
        2,
        "$.a: is odd.\n$.b: is even.",
    ),
    (NotFound("tenant", "acme"), 2, "There is no tenant acme."),
    (Refused("sender_unverified", "The sender is not verified."), 1, "The sender is not verified."),
    (Conflict("campaign", "x", expected="draft", actual="active"), 1, "active"),
    (Unavailable("The database does not answer."), 3, "The database does not answer."),
    (psycopg.OperationalError("connection\nrefused"), 3, "connection refused"),
    (SchemaBehind("Run `outreach migrate`."), 4, "outreach migrate"),
    (UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "surrogates not allowed"), 2, r"'a\udcff'"),
    (KeyboardInterrupt(), 130, "Interrupted."),
]


@pytest.mark.parametrize(("error", "code", "said"), FAILURES, ids=lambda v: type(v).__name__)
def test_a_failure_is_a_sentence_and_a_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended, shell.failures_as_exits():
        raise error
    assert ended.value.exit_code == code
    written = capsys.readouterr()
    assert said in written.err
    assert written.out == ""


def test_a_bug_stays_a_traceback() -> None:
    with pytest.raises(psycopg.errors.SyntaxError), shell.failures_as_exits():
        raise psycopg.errors.SyntaxError("ours")


def test_json_is_one_object_with_our_forms(capsys: pytest.CaptureFixture[str]) -> None:
    at = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    shell.emit(True, {"id": UUID(int=7), "at": at, "none": None}, "for people")
    assert json.loads(capsys.readouterr().out) == {
        "id": "00000000-0000-0000-0000-000000000007",
        "at": "2026-03-01T12:30:00Z",
        "none": None,
    }


def test_a_piped_table_is_tab_separated_and_cannot_steer_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shell.emit(False, {}, shell.Table(["name", "off"], [["a\x1b[31m\tb", True], [None, 3]]))
    assert capsys.readouterr().out == "name\toff\na\ufffd[31m\ufffdb\tyes\n\t3\n"


def test_without_a_server_a_command_ends_with_three(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", REFUSED_PORT)
    with pytest.raises(typer.Exit) as ended, shell.failures_as_exits(), ground():
        pytest.fail("there is no such server")
    assert ended.value.exit_code == 3
    assert "Connection refused" in capsys.readouterr().err


def test_a_command_of_a_server_says_which_setting_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("DATABASE_DIRECT_URL", raising=False)
    with pytest.raises(typer.Exit) as ended, shell.failures_as_exits(), ground(embedded=False):
        pytest.fail("it must not start one")
    assert ended.value.exit_code == 2
    assert "DATABASE_URL" in capsys.readouterr().err


def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OUTREACH_POOL_SIZE", "many")
    with pytest.raises(typer.Exit) as ended, shell.failures_as_exits(), ground():
        pytest.fail("the settings are wrong")
    assert ended.value.exit_code == 2
    assert "OUTREACH_POOL_SIZE" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["postgresql://u:secret%@/x", "secret"])
def test_an_address_of_no_database_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(typer.Exit) as ended, shell.failures_as_exits(), ground():
        pytest.fail("there is no such address")
    assert ended.value.exit_code == 2
    said = capsys.readouterr().err
    assert "DATABASE_URL" in said
    assert "secret" not in said


@pytest.mark.parametrize("command", ["tenants", "migrate", "contacts import", "doctor"])
def test_help_is_plain_and_offers_what_is_there(command: str) -> None:
    shown = outreach(*command.split(), "--help")
    assert shown.exit_code == 0
    assert shown.stdout.startswith("Usage: ")
    assert "completion" not in shown.stdout
    assert shown.stdout.isascii()


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        ("", 0, ""),
        ("<&-", 2, ""),
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        ("> /dev/full", 1, "Standard output cannot be written: No space left on device.\n"),
        ("| true", 0, ""),
    ],
)
def test_streams_that_are_closed_or_full(redirection: str, code: int, said: str) -> None:
    command = f"{sys.executable} -m outreach plans validate - --json {redirection}"
    plan = '{"version":"1.0","timezone":"UTC","start_node_id":"a","nodes":[{"id":"a",' + (
        '"channel":"email","action":"send","subject":"s","body":"b"}]}'
    )
    words = ["bash", "-o", "pipefail", "-c", command]
    done = subprocess.run(words, input=plan, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, said)


def test_an_empty_database_is_refused_and_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], empty_conninfo: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_conninfo)
    with pytest.raises(typer.Exit) as ended, shell.failures_as_exits(), ground():
        pytest.fail("the schema is behind")
    assert ended.value.exit_code == 4
    assert "outreach migrate" in capsys.readouterr().err
    with psycopg.connect(empty_conninfo) as connection:
        assert connection.execute("select to_regclass('tenants')").fetchone() == (None,)


def test_the_embedded_server_is_made_migrated_and_shared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("DATABASE_DIRECT_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    with ground() as settings, ground() as again:
        assert settings.dsn is not None
        assert settings.dsn == again.dsn
        with psycopg.connect(settings.dsn) as connection:
            assert connection.execute("select count(*) from tenants").fetchone() == (0,)
    assert (tmp_path / ".outreach" / "postgres").is_dir()
