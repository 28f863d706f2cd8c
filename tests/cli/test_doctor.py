"""`outreach doctor`: what it finds, what it hides, and how it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from outreach import config
from outreach.cli import doctor
from outreach.dev.sandbox import SandboxServer, SandboxSettings, public_key_of
from outreach.migrate import rollback
from outreach.services.doctor import Facts, Verdict, judge
from outreach.store.doctor import Alarm, Brakes, Queue, Server, Worker
from outreach.store.retention import Standing
from tests.support.folders import open_folder

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """None of our variables is set."""
    for field in config.Settings.model_fields:
        monkeypatch.delenv(config.environment_name(field), raising=False)
    yield monkeypatch


def examined(*options: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Exit code, the object, and each check's status."""
    result = CliRunner().invoke(doctor.app, ["--json", *options])
    data = json.loads(result.stdout)
    return result.exit_code, data, {check["name"]: check["status"] for check in data["checks"]}


def facts(**changes: Any) -> Facts:
    """Those of an installation in good health, but for the changes."""
    well: dict[str, Any] = {
        "server": Server("18.6", NOW),
        "skew_seconds": 0.0,
        "answer_ms": 1.0,
        "brakes": brakes(),
        "queues": [Queue("sends", 1, 1, 0.5)],
        "workers": [Worker(1, 2.0)],
        "alarms": [],
        "months": Standing(0, True),
    }
    return Facts(**{**well, **changes})


def brakes(**changes: Any) -> Brakes:
    free: dict[str, Any] = {
        "state": "active",
        "pause_reason": None,
        "provider_paused_at": None,
        "provider_pause_reason": None,
        "provider_later_until": None,
        "provider_failures": 0,
        "data_loss_reason": None,
        "webhooks_refused": 0,
    }
    return Brakes(**{**free, **changes})


def test_without_anything_set_it_warns_and_ends_well(
    environment: pytest.MonkeyPatch, conninfo: str
) -> None:
    environment.setenv("DATABASE_URL", conninfo)
    code, data, status = examined()
    assert code == 0
    assert data["schema"]["is_current"]
    assert data["clock_skew_seconds"] < 5
    assert data["settings"]["DATABASE_URL"] == "***"
    assert status == {
        "settings": "warn",
        "database": "ok",
        "schema": "ok",
        "clock": "ok",
        "queue": "warn",
        "installation": "ok",
        "data loss": "ok",
        "account": "ok",
        "alarms": "ok",
        "events": "ok",
        "provider": "warn",
        "webhooks": "warn",
    }


async def test_with_everything_set_the_provider_is_asked(
    environment: pytest.MonkeyPatch, conninfo: str
) -> None:
    async with SandboxServer(SandboxSettings(seed=3, api_key="good")) as sandbox:
        environment.setenv("DATABASE_URL", conninfo)
        environment.setenv("SECRET_KEY", "0123456789abcdef-secret")
        environment.setenv("SENDGRID_BASE_URL", sandbox.url)
        environment.setenv("SENDGRID_WEBHOOK_PUBLIC_KEY", public_key_of(3))
        environment.setenv("SENDGRID_API_KEY", "good")
        code, data, status = await asyncio.to_thread(examined)
        assert (code, status["provider"], status["webhooks"]) == (0, "ok", "ok")
        assert "good" not in json.dumps(data["settings"])
        assert "0123456789abcdef-secret" not in json.dumps(data)
        environment.setenv("SENDGRID_API_KEY", "bad")
        code, _, status = await asyncio.to_thread(examined)
        assert (code, status["provider"]) == (1, "fail")
    code, _, status = await asyncio.to_thread(examined)
    assert (code, status["provider"]) == (3, "fail")


def test_a_database_that_is_away_is_exit_3_and_the_rest_is_still_told(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("DATABASE_URL", NOWHERE)
    code, data, status = examined()
    assert (code, status["database"]) == (3, "fail")
    assert data["server_version"] is None
    assert "provider" in status


def test_a_schema_that_is_behind_is_exit_4(environment: pytest.MonkeyPatch, conninfo: str) -> None:
    environment.setenv("DATABASE_URL", conninfo)
    rollback(conninfo, to="0006")
    code, data, status = examined()
    assert (code, status["schema"]) == (4, "fail")
    assert data["schema"]["pending"] == [
        "0007.procrastinate",
        "0008.lanes",
        "0009.replies",
        "0010.retention",
    ]
    assert data["queue"] is None


def test_a_wrong_environment_is_exit_2(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PUBLIC_URL", "http://example.com")
    environment.setenv("SECRET_KEY", "short")
    code, data, status = examined()
    assert (code, status) == (2, {"settings": "fail"})
    assert "PUBLIC_URL" in data["checks"][0]["sentence"]
    assert "SECRET_KEY" in data["checks"][0]["sentence"]


def test_a_key_that_is_none_is_exit_2(environment: pytest.MonkeyPatch, conninfo: str) -> None:
    environment.setenv("DATABASE_URL", conninfo)
    environment.setenv("SENDGRID_WEBHOOK_PUBLIC_KEY", "nonsense")
    code, _, status = examined()
    assert (code, status["webhooks"]) == (2, "fail")


def test_a_paused_installation_is_a_warning(environment: pytest.MonkeyPatch, conninfo: str) -> None:
    environment.setenv("DATABASE_URL", conninfo)
    with psycopg.connect(conninfo) as connection:
        connection.execute(
            "update installation set state = 'paused', paused_at = now(), pause_reason = 'flood'"
        )
    code, data, status = examined()
    assert (code, status["installation"]) == (0, "warn")
    assert data["installation"]["pause_reason"] == "flood"


def test_people_get_a_table(environment: pytest.MonkeyPatch, conninfo: str) -> None:
    environment.setenv("DATABASE_URL", conninfo)
    result = CliRunner().invoke(doctor.app, [])
    assert "ok\tdatabase\tPostgreSQL" in result.stdout


def test_a_healthy_installation_has_no_complaints() -> None:
    assert {check.verdict for check in judge(facts())} == {Verdict.OK}


@pytest.mark.parametrize(
    ("changed", "name", "verdict", "word"),
    [
        ({"skew_seconds": 9.0}, "clock", Verdict.FAIL, "9.0 s"),
        ({"workers": []}, "queue", Verdict.WARN, "No worker"),
        ({"workers": [Worker(1, 500.0)]}, "queue", Verdict.WARN, "No worker"),
        ({"queues": [Queue("sends", 4, 0, 90.0)]}, "queue", Verdict.WARN, "90 s"),
        ({"alarms": [Alarm("double_send", 2)]}, "alarms", Verdict.WARN, "2 double_send"),
        ({"alarms": [Alarm("outcome_unknown", 3)]}, "alarms", Verdict.OK, "outcome: 3"),
        (
            {"brakes": brakes(state="paused", pause_reason="flood")},
            "installation",
            Verdict.WARN,
            "flood",
        ),
        (
            {"brakes": brakes(provider_paused_at=NOW, provider_pause_reason="unauthorized")},
            "account",
            Verdict.FAIL,
            "unauthorized",
        ),
        (
            {"brakes": brakes(provider_later_until=datetime.now(UTC) + timedelta(hours=1))},
            "account",
            Verdict.WARN,
            "asked for patience",
        ),
        (
            {
                "brakes": brakes(
                    provider_later_until=datetime.now(UTC) + timedelta(hours=1),
                    provider_failures=2,
                )
            },
            "account",
            Verdict.WARN,
            "does not answer",
        ),
    ],
)
def test_each_trouble_is_named(
    changed: dict[str, Any], name: str, verdict: Verdict, word: str
) -> None:
    (check,) = [check for check in judge(facts(**changed)) if check.name == name]
    assert check.verdict is verdict
    assert word in check.sentence


def test_the_embedded_server_serves_where_nothing_is_set(
    environment: pytest.MonkeyPatch,
) -> None:
    with open_folder() as folder:
        environment.chdir(folder)
        code, data, status = examined()
        assert (code, status["database"], status["schema"]) == (0, "ok", "ok")
        assert data["server_version"]
        assert (folder / ".outreach" / "postgres").is_dir()
        environment.undo()


def test_a_queue_that_nobody_serves_is_named() -> None:
    """A tenant's own queue needs a worker of its own, and nothing else says that it has none."""
    queues = [Queue("sends", 3, 0, 5.0), Queue("sends.acme", 1, 0, 90.0), Queue("x", 0, 1, 900.0)]
    (check,) = [one for one in judge(facts(queues=queues)) if one.name == "queue"]
    assert check.verdict is Verdict.WARN
    assert "serve sends.acme?" in check.sentence
