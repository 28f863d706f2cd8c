"""Running the application on uvicorn until a signal, and ending requests before the process."""

from __future__ import annotations

import signal
import socket
import sys
from types import FrameType

import uvicorn

from outreach.config import Settings
from outreach.core.errors import Unavailable
from outreach.db import Database
from outreach.web.app import create_app
from outreach.web.hooks.inbound import StreamVerifier
from outreach.web.hooks.sendgrid import Verifier

# Longer than a webhook may take, shorter than what supervisors wait before they kill.
GRACE_SECONDS = 20
# More at once are answered 503 before anything of them is read.
CONNECTIONS_MAX = 1000


class _Server(uvicorn.Server):
    """Says when it is ready, and takes a signal as an orderly end instead of raising it again."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            sys.stderr.write(f"outreach serve: ready on http://{shown}:{port}\n")
            sys.stderr.flush()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


async def serve(
    settings: Settings,
    db: Database,
    host: str,
    port: int,
    *,
    verifier: Verifier,
    inbound: StreamVerifier | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then let requests under way end; port 0 takes a free one.

    One line on standard error says when it is ready. Raises Unavailable if the port is taken.
    """
    config = uvicorn.Config(
        create_app(settings, db, verifier, inbound),
        host=host,
        port=port,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        limit_concurrency=CONNECTIONS_MAX,
    )
    try:
        await _Server(config).serve()
    except SystemExit as error:
        # uvicorn has logged why; as a rule the address is in use.
        raise Unavailable(f"The web server cannot listen on {host}:{port}.") from error
