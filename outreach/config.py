"""Settings: read from the environment once, checked together, described each.

A wrong environment is one error that names every wrong value. Secrets are `SecretStr`, so that
printing the settings shows none.

Source: the table of environment variables in the README.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal, cast
from urllib.parse import urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from outreach.core.errors import Invalid, Problem

Several = Annotated[tuple[str, ...], NoDecode]
SeveralSecrets = Annotated[tuple[SecretStr, ...], NoDecode]


def _name(env: str) -> Any:
    return Field(default=None, validation_alias=env)


class Settings(BaseSettings):
    """Everything that is set from outside; each field's variable stands above it."""

    # A variable that is set to nothing is not set: what starts containers passes empty ones on.
    model_config = SettingsConfigDict(
        env_prefix="OUTREACH_", extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    # DATABASE_URL: application connections; may go through a pooler.
    database_url: SecretStr | None = _name("DATABASE_URL")
    # DATABASE_DIRECT_URL: migrations and LISTEN; the same as DATABASE_URL when unset.
    database_direct_url: SecretStr | None = _name("DATABASE_DIRECT_URL")
    # SENDGRID_API_KEY: may send mail and nothing else.
    sendgrid_api_key: SecretStr | None = _name("SENDGRID_API_KEY")
    # SENDGRID_BASE_URL: the public API, the EU one, or a stand-in on this machine.
    sendgrid_base_url: str = Field(
        default="https://api.sendgrid.com", validation_alias="SENDGRID_BASE_URL"
    )
    # SENDGRID_WEBHOOK_PUBLIC_KEY: PEM or base64 DER, several separated by commas (rotation).
    sendgrid_webhook_public_keys: Several = Field(
        default=(), validation_alias="SENDGRID_WEBHOOK_PUBLIC_KEY"
    )
    # SENDGRID_INBOUND_PUBLIC_KEY: the same for Inbound Parse; without it a token is in the path.
    sendgrid_inbound_public_keys: Several = Field(
        default=(), validation_alias="SENDGRID_INBOUND_PUBLIC_KEY"
    )
    # PUBLIC_URL: where the unsubscribe links lead; http only on this machine.
    public_url: str = Field(default="http://127.0.0.1:8000", validation_alias="PUBLIC_URL")
    # SECRET_KEY: signs links; several separated by commas, newest first.
    secret_keys: SeveralSecrets = Field(default=(), validation_alias="SECRET_KEY")
    # OUTREACH_INBOUND_DOMAIN: where replies come in; without it Reply-To is the sender's.
    inbound_domain: str | None = None
    # OUTREACH_INBOUND_TOKEN: the end of the path of Inbound Parse; several separated by commas.
    inbound_tokens: SeveralSecrets = Field(default=(), validation_alias="OUTREACH_INBOUND_TOKEN")
    # OUTREACH_INBOUND_BODY_BYTES_MAX: larger is 413 and lost; SendGrid hands on mails up to 30 MB.
    inbound_body_bytes_max: int = Field(default=40 * 1024 * 1024, ge=64 * 1024)
    # OUTREACH_INBOUND_KEPT_BYTES_MAX: of a longer mail only so much is kept.
    inbound_kept_bytes_max: int = Field(default=2 * 1024 * 1024, ge=16 * 1024)
    # OUTREACH_SEND_DEADLINE_SECONDS: a request is given up after this, and its outcome is unknown.
    send_deadline_seconds: float = Field(default=10.0, ge=1.0, le=60.0)
    # OUTREACH_SEND_BATCH_MAX: messages claimed in one transaction (docs/performance.md).
    send_batch_max: int = Field(default=200, ge=1, le=500)
    # OUTREACH_SEND_BATCHES_IN_FLIGHT: batches that one worker has between claim and record.
    send_batches_in_flight: int = Field(default=3, ge=1, le=16)
    # OUTREACH_SEND_CONNECTIONS: connections to the provider that one worker opens.
    send_connections: int = Field(default=100, ge=1, le=2000)
    # OUTREACH_EMAIL_ACTIVITY: ask SendGrid's activity feed (a paid addition) about unknowns.
    email_activity: bool = False
    # OUTREACH_WEBHOOK_TOLERANCE_SECONDS: how old a signed body may be; SendGrid retries for 24 h.
    webhook_tolerance_seconds: int = Field(default=90_000, ge=60)
    # OUTREACH_WEBHOOK_BODY_BYTES_MAX: larger bodies are answered 413; SendGrid's end at 768 KB.
    webhook_body_bytes_max: int = Field(default=2 * 1024 * 1024, ge=1024)
    # OUTREACH_EVENT_RETENTION_MONTHS: whole months of events that stay; without it all. A plan may
    # look back a year (P365D), so no less than that.
    event_retention_months: int | None = Field(default=None, ge=13, le=240)
    # OUTREACH_EVENT_RETENTION: what becomes of an older month.
    event_retention: Literal["detach", "drop"] = "detach"
    # OUTREACH_DELIVERY_RETENTION_DAYS: webhook bodies that were applied; a replay goes as far back.
    delivery_retention_days: int = Field(default=90, ge=3, le=3650)
    # OUTREACH_QUARANTINE_RETENTION_DAYS: webhook bodies that could not be applied.
    quarantine_retention_days: int = Field(default=365, ge=3, le=3650)
    # OUTREACH_POOLED: DATABASE_URL is a transaction pooler's: no LISTEN, nothing prepared.
    pooled: bool = False
    # OUTREACH_POOL_SIZE: connections of one process.
    pool_size: int = Field(default=8, ge=2, le=100)
    # OUTREACH_POLL_SECONDS: how often a worker looks for jobs whose notification it missed.
    poll_seconds: float = Field(default=1.0, ge=0.05, le=60.0)
    # OUTREACH_LOCAL_DATABASE: of the embedded server, which serves where no DATABASE_URL is set.
    local_database: str = Field(default="outreach", pattern=r"^[a-z][a-z0-9_]{0,62}$")
    # OUTREACH_STATE_DIR: files of workers that outlive them, and the database (docs/data-loss.md).
    state_dir: str = ".outreach/state"
    # OUTREACH_LOG_LEVEL
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("database_url", "database_direct_url")
    @classmethod
    def _readable(cls, url: SecretStr | None) -> SecretStr | None:
        try:
            conninfo_to_dict("" if url is None else url.get_secret_value())
        except ProgrammingError:  # whose words may hold the password
            raise ValueError("is not like postgresql://user@host/database") from None
        return url

    @field_validator("sendgrid_webhook_public_keys", "sendgrid_inbound_public_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parts = (part.strip().replace("\\n", "\n") for part in value.split(","))
        return tuple(part for part in parts if part)

    @field_validator("secret_keys", "inbound_tokens", mode="before")
    @classmethod
    def _split_secrets(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(SecretStr(part.strip()) for part in value.split(",") if part.strip())

    @field_validator("secret_keys", "inbound_tokens")
    @classmethod
    def _long_enough(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(key.get_secret_value()) < 16 for key in keys):
            raise ValueError("each key needs at least 16 characters")
        return keys

    @field_validator("sendgrid_base_url", "public_url")
    @classmethod
    def _safe_url(cls, url: str) -> str:
        parts = urlsplit(url)
        local = parts.hostname in ("127.0.0.1", "localhost", "::1")
        if parts.scheme != "https" and not (parts.scheme == "http" and local):
            raise ValueError("must be https; http is for 127.0.0.1 only")
        if not parts.hostname:
            raise ValueError("has no host")
        return url.rstrip("/")

    @cached_property
    def dsn(self) -> str | None:
        """Where application connections go."""
        url = self.database_url or self.database_direct_url
        return None if url is None else url.get_secret_value()

    @cached_property
    def direct_dsn(self) -> str | None:
        """Where migrations and LISTEN go."""
        url = self.database_direct_url or self.database_url
        return None if url is None else url.get_secret_value()

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """The signing keys, newest first."""
        return tuple(key.get_secret_value() for key in self.secret_keys)


def environment_name(field: str) -> str:
    """The variable that sets a field."""
    alias = Settings.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return str(alias.choices[0])
    return alias if isinstance(alias, str) else f"OUTREACH_{field.upper()}"


def load(**given: object) -> Settings:
    """The settings of this process; raises Invalid with every wrong value named.

    `given` are field values that take precedence over the environment (embedded server, demo).
    """
    try:
        return Settings(**cast(dict[str, Any], given))
    except ValidationError as error:
        raise Invalid([_problem(detail) for detail in error.errors()]) from None


def _problem(detail: Any) -> Problem:
    where = str(detail["loc"][0])
    name = environment_name(where) if where in Settings.model_fields else where
    return Problem(name, detail["msg"].removeprefix("Value error, "))
