"""Structured logs without personal data.

One event a line: JSON when the output is piped, aligned text on a terminal. Loggers get ids,
counts and codes. As a second net, a processor blanks anything that looks like an address or a
provider key, and fields whose names say that they are secret.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_ADDRESS = re.compile(r"[^\s@<>\"']+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_KEY = re.compile(r"\b(SG\.[\w-]{8,}\.[\w-]{8,}|ok_(live|op)_[\w.-]{8,})")
_SECRET_FIELDS = frozenset(
    {"password", "secret", "key", "api_key", "token", "authorization", "conninfo", "dsn"}
)


def scrub(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Any:
    """Blank addresses, keys and secret fields, whoever put them there."""
    for field, value in event.items():
        if field.lower() in _SECRET_FIELDS:
            event[field] = "***"
        elif isinstance(value, str):
            event[field] = _KEY.sub("***", _ADDRESS.sub("<address>", value))
    return event


def configure(*, level: str = "INFO", is_json: bool | None = None) -> None:
    """Send our logs and those of the libraries to standard error in one form."""
    as_json = not sys.stderr.isatty() if is_json is None else is_json
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        scrub,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=_to_standard_error,
        cache_logger_on_first_use=False,
    )
    handler = _StandardError()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    # These print payloads, headers or job arguments at lower levels.
    for name in ("python_http_client", "procrastinate", "aiohttp", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _to_standard_error(*_: Any) -> structlog.PrintLogger:
    """A logger on the standard error of this moment: one that was replaced may be closed."""
    return structlog.PrintLogger(sys.stderr)


class _StandardError(logging.StreamHandler[Any]):
    """The same for the libraries' records."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def get(name: str) -> Any:
    """A logger; `name` is the module's noun."""
    return structlog.get_logger(component=name)
