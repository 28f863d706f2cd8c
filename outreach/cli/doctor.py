"""`outreach doctor`: whether everything that sending needs is there, each with a sentence.

The exit code is that of the first thing that fails: 2 the settings, 3 the database or the provider
is away, 4 the schema is behind, 1 anything else. A warning fails nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import psycopg
import typer
from pydantic import SecretStr

from outreach import config, log
from outreach.cli.ground import embedded_database
from outreach.cli.shell import (
    FAILED,
    SCHEMA_BEHIND,
    UNAVAILABLE,
    WRONG_USAGE,
    JsonFlag,
    Table,
    emit,
    failures_as_exits,
)
from outreach.config import Settings, environment_name
from outreach.core.errors import Invalid, OutreachError, Refused, Unavailable
from outreach.db import Database
from outreach.migrate import status
from outreach.providers.sendgrid_management import SendGridManagement
from outreach.providers.sendgrid_webhook import WebhookVerifier
from outreach.services.doctor import Check, Facts, Verdict, examine, judge

app = typer.Typer()

PROVIDER_SECONDS = 3.0
DATABASE_SECONDS = 5.0
MAIL_SCOPE = "mail.send"


@dataclass(slots=True)
class Findings:
    """What was found so far, and the exit code of the first failure."""

    checks: list[Check] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    code: int = 0

    def add(self, check: Check, code: int = FAILED) -> None:
        self.checks.append(check)
        if check.verdict is Verdict.FAIL and not self.code:
            self.code = code


@app.command("doctor", help="Check settings, database, schema, clock, queue and provider.")
def doctor_command(as_json: JsonFlag = False) -> None:
    """Look at everything that sending needs."""
    with failures_as_exits():
        found = look()
    checks = [
        {"name": check.name, "status": check.verdict, "sentence": check.sentence}
        for check in found.checks
    ]
    rows = [(check.verdict, check.name, check.sentence) for check in found.checks]
    emit(as_json, {**found.data, "checks": checks}, Table(("", "check", "finding"), rows))
    if found.code:
        raise typer.Exit(found.code)


def look() -> Findings:
    """Every check, as far as the ones before it allow."""
    found = Findings(data=dict.fromkeys(("settings", "server_version", "schema"), None))
    found.data |= dict.fromkeys(("clock_skew_seconds", "pool", "queue", "provider"), None)
    try:
        settings = config.load()
        log.configure(level="ERROR")  # the pool's own words would repeat our sentence
    except Invalid as error:
        found.add(Check("settings", Verdict.FAIL, str(error)), WRONG_USAGE)
        return found
    found.data["settings"] = shown_settings(settings)
    found.add(_settings_check(settings))
    _look_at_database(settings, found)
    asyncio.run(_look_at_provider(settings, found))
    return found


def shown_settings(settings: Settings) -> dict[str, object]:
    """Every setting by its variable's name; secrets as stars."""
    return {
        environment_name(name): _shown(getattr(settings, name)) for name in Settings.model_fields
    }


def _shown(value: object) -> object:
    match value:
        case SecretStr():
            return "***"
        case tuple():
            return [_shown(part) for part in value]
        case _:
            return value


def _settings_check(settings: Settings) -> Check:
    if not settings.secret_keys:
        sentence = "SECRET_KEY is not set: unsubscribe links cannot be signed, and nothing is sent."
        return Check("settings", Verdict.WARN, sentence)
    return Check("settings", Verdict.OK, "Every setting is valid.")


def _look_at_database(settings: Settings, found: Findings) -> None:
    try:
        with _database(settings) as (dsn, direct_dsn, where):
            with psycopg.connect(direct_dsn, connect_timeout=round(DATABASE_SECONDS)) as session:
                version = session.info.parameter_status("server_version")
            found.data["server_version"] = version
            found.add(Check("database", Verdict.OK, f"PostgreSQL {version}, {where}."))
            schema = status(direct_dsn)
            found.data["schema"] = {"head": schema.head, "is_current": schema.is_current}
            found.data["schema"] |= {"pending": schema.pending, "edited": schema.edited}
            if not schema.is_current:
                found.add(Check("schema", Verdict.FAIL, schema.problem), SCHEMA_BEHIND)
                return
            found.add(Check("schema", Verdict.OK, f"The schema is at its head, {schema.head}."))
            _note(asyncio.run(_examined(settings, dsn)), settings, found)
    except (psycopg.OperationalError, Unavailable) as error:
        sentence = f"The database is unavailable: {' '.join(str(error).split())}"
        found.add(Check("database", Verdict.FAIL, sentence), UNAVAILABLE)


@contextmanager
def _database(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Where it is, for connections and for migrations, and in words."""
    if settings.dsn is None:
        with embedded_database(settings.local_database) as conninfo:
            yield conninfo, conninfo, "the embedded server of .outreach/ (DATABASE_URL is not set)"
        return
    assert settings.direct_dsn is not None
    yield settings.dsn, settings.direct_dsn, "that of DATABASE_URL"


async def _examined(settings: Settings, dsn: str) -> Facts:
    database = Database.at(
        dsn,
        size_max=2,
        is_pooled=settings.pooled,
        application="outreach-doctor",
        timeout_seconds=DATABASE_SECONDS,
    )
    async with database as db:
        return await examine(db)


def _note(facts: Facts, settings: Settings, found: Findings) -> None:
    found.data["clock_skew_seconds"] = facts.skew_seconds
    found.data["pool"] = {
        "size_max": settings.pool_size,
        "is_pooled": settings.pooled,
        "answer_ms": facts.answer_ms,
    }
    found.data["queue"] = {
        "queues": [asdict(queue) for queue in facts.queues],
        "workers": [asdict(worker) for worker in facts.workers],
    }
    found.data["installation"] = asdict(facts.brakes)
    found.data["events"] = asdict(facts.months)
    found.data["alarms"] = {alarm.code: alarm.many for alarm in facts.alarms}
    for check in judge(facts):
        found.add(check)


async def _look_at_provider(settings: Settings, found: Findings) -> None:
    found.data["provider"] = {
        "base_url": settings.sendgrid_base_url,
        "is_key_set": settings.sendgrid_api_key is not None,
        "webhook_keys": len(settings.sendgrid_webhook_public_keys),
    }
    try:
        found.add(await _provider_check(settings))
    except Unavailable as error:
        found.add(Check("provider", Verdict.FAIL, str(error)), UNAVAILABLE)
    except OutreachError as error:
        found.add(Check("provider", Verdict.FAIL, str(error)))
    found.add(_webhook_check(settings), WRONG_USAGE)


async def _provider_check(settings: Settings) -> Check:
    key = settings.sendgrid_api_key
    if key is None or not key.get_secret_value():
        return Check("provider", Verdict.WARN, "SENDGRID_API_KEY is not set: nothing can be sent.")
    url = settings.sendgrid_base_url
    management = SendGridManagement(key.get_secret_value(), url, timeout_seconds=PROVIDER_SECONDS)
    async with management as provider:
        scopes = await provider.scopes()
    if MAIL_SCOPE not in scopes:
        raise Refused("provider_refused", f"The key at {url} may not send mail ({MAIL_SCOPE}).")
    return Check("provider", Verdict.OK, f"{url} answers, and the key may send mail.")


def _webhook_check(settings: Settings) -> Check:
    keys = settings.sendgrid_webhook_public_keys
    try:
        WebhookVerifier(keys)
    except Invalid as error:
        return Check("webhooks", Verdict.FAIL, str(error))
    if not keys:
        sentence = "SENDGRID_WEBHOOK_PUBLIC_KEY is not set: every webhook is answered 401."
        return Check("webhooks", Verdict.WARN, sentence)
    return Check("webhooks", Verdict.OK, f"Webhooks are checked against {len(keys)} public keys.")
