"""Everything running on this machine, for `demo` and `dev`: web, stand-in SendGrid and worker.

Each is the real command in a process of its own, with an environment that knows nothing of the
user's: what is exported for production must not reach a stand-in, nor the other way round.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from outreach.config import Settings, environment_name
from outreach.dev.processes import Crew
from outreach.dev.sandbox import public_key_of

WEB_READY = "ready on http"
SANDBOX_READY = '"ready":true'
WORKER_READY = "worker_started"
API_KEY = "stand-in"

Tell = Callable[[str, Sequence[str]], None]
"""Told what happened, and the command that does the same."""


@dataclass(frozen=True, slots=True)
class Order:
    """How the three are to run."""

    conninfo: str
    secret_key: str
    logs: Path
    seed: int = 1
    pace: float = 1.0
    web_port: int = 0
    sandbox_port: int = 0


@dataclass(frozen=True, slots=True)
class Local:
    """What runs, and the environment of a command that is to work with it."""

    crew: Crew
    web_url: str
    sandbox_url: str
    environment: Mapping[str, str]


@contextmanager
def running(order: Order, tell: Tell) -> Iterator[Local]:
    """The three, ready; they end with the block. Raises Unavailable when one does not start."""
    web_port, sandbox_port = order.web_port or free_port(), order.sandbox_port or free_port()
    web_url, sandbox_url = f"http://127.0.0.1:{web_port}", f"http://127.0.0.1:{sandbox_port}"
    environment = {
        **without_settings(os.environ),
        "DATABASE_URL": order.conninfo,
        "PUBLIC_URL": web_url,
        "SECRET_KEY": order.secret_key,
        "SENDGRID_API_KEY": API_KEY,
        "SENDGRID_BASE_URL": sandbox_url,
        "SENDGRID_WEBHOOK_PUBLIC_KEY": public_key_of(order.seed),
    }
    serve = ["serve", "--port", f"{web_port}"]
    sandbox = ["sandbox", "--port", f"{sandbox_port}", "--seed", f"{order.seed}"]
    sandbox += ["--webhook-url", f"{web_url}/webhooks/sendgrid", "--pace", f"{order.pace:g}"]
    with Crew(order.logs) as crew:
        # At once, since most of a start is reading modules.
        children = {
            words[0]: crew.start(words[0], leashed(words), environment)
            for words in (serve, sandbox, ["worker"])
        }
        crew.wait_for(children["serve"], WEB_READY)
        tell(f"The web takes webhooks and unsubscribes at {web_url}.", serve)
        crew.wait_for(children["sandbox"], SANDBOX_READY)
        tell(f"The stand-in for SendGrid takes mail at {sandbox_url}.", sandbox)
        crew.wait_for(children["worker"], WORKER_READY)
        tell("A worker waits for mail to send, webhooks to apply and timers to fire.", ["worker"])
        yield Local(crew, web_url, sandbox_url, environment)


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def leashed(command: Sequence[str]) -> list[str]:
    """Our own command, in a process that ends when we do."""
    return [sys.executable, "-m", "outreach.cli.leash", *command]


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without a single setting of ours."""
    settings = {environment_name(field) for field in Settings.model_fields}
    return {name: value for name, value in environment.items() if name not in settings}
